package dev.paredown.core.chat;

import java.util.List;

/** What can be gone through and nothing else: results of filters, and of items() and the like. */
final class Lazy {
    final List<Object> items;

    /** Whether it knows its length, as keys(), values() and items() do. */
    final boolean sized;

    Lazy(List<Object> items, boolean sized) {
        this.items = items;
        this.sized = sized;
    }
}

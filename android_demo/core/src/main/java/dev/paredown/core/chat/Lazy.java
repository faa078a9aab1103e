package dev.paredown.core.chat;

import java.util.Collections;
import java.util.List;

/** What can be gone through and nothing else: results of filters, and of items() and the like. */
final class Lazy {
    /** Whether it knows its length and lasts, as keys(), values() and items() do. */
    final boolean sized;

    private final List<Object> items;
    private TemplateError failure;
    private boolean used;

    Lazy(List<Object> items, boolean sized) {
        this.items = items;
        this.sized = sized;
    }

    /** What fails once somebody goes through it, and not before. */
    static Lazy failing(TemplateError failure) {
        Lazy lazy = new Lazy(Collections.emptyList(), false);
        lazy.failure = failure;
        return lazy;
    }

    /** The elements; those of a filter's result can be had once. */
    List<Object> take() {
        if (failure != null) {
            throw failure;
        }
        if (used && !sized) {
            throw TemplateError.unsupported("the result of a filter twice");
        }
        used = true;
        return items;
    }

    /** Of what is {@link #sized}. */
    int size() {
        return items.size();
    }
}

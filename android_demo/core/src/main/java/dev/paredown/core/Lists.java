package dev.paredown.core;

import java.util.ArrayList;
import java.util.List;

/** Arrays as the lists that {@link Json} writes. */
final class Lists {
    private Lists() {}

    static List<Object> of(long[] values) {
        List<Object> list = new ArrayList<>(values.length);
        for (long value : values) {
            list.add(value);
        }
        return list;
    }
}

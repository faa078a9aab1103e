package dev.paredown.core.tokenizer;

import java.util.Arrays;

/** A growing row of token ids. */
final class Ids {
    private int[] ids = new int[16];
    private int size;

    void add(int id) {
        if (size == ids.length) {
            ids = Arrays.copyOf(ids, size * 2);
        }
        ids[size++] = id;
    }

    void addAll(int[] more) {
        for (int id : more) {
            add(id);
        }
    }

    /** The ids from a place on, as a copy. */
    int[] from(int start) {
        return Arrays.copyOfRange(ids, start, size);
    }

    int size() {
        return size;
    }

    int[] toArray() {
        return Arrays.copyOf(ids, size);
    }
}

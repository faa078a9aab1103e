package dev.paredown.core.chat;

import java.util.List;

/** The variable loop. */
final class Loop {
    private final List<Object> items;
    private int index;

    Loop(List<Object> items) {
        this.items = items;
    }

    /** Go on to an element. */
    void moveTo(int place) {
        index = place;
    }

    /** An attribute of Jinja's loop. */
    Object attribute(String name) {
        long size = items.size();
        switch (name) {
            case "index":
                return index + 1L;
            case "index0":
                return (long) index;
            case "revindex":
                return size - index;
            case "revindex0":
                return size - index - 1;
            case "first":
                return index == 0;
            case "last":
                return index == size - 1;
            case "length":
                return size;
            case "previtem":
                return index > 0 ? items.get(index - 1) : new Undefined("there is no previous item");
            case "nextitem":
                return index + 1 < size ? items.get(index + 1) : new Undefined("there is no next item");
            default:
                throw TemplateError.unsupported("loop." + name);
        }
    }
}

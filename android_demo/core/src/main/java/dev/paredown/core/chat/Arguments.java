package dev.paredown.core.chat;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Values given to a call: by place, then by name. */
final class Arguments {
    private final String callee;
    private final List<Object> values;
    private final Map<String, Object> named;

    /** @param callee for errors */
    Arguments(String callee, List<Object> values, Map<String, Object> named) {
        this.callee = callee;
        this.values = values;
        this.named = new LinkedHashMap<>(named);
    }

    int count() {
        return values.size();
    }

    /** By place only. */
    Object get(int place) {
        if (place >= values.size()) {
            throw new TemplateError("gives " + callee + " too few arguments");
        }
        return values.get(place);
    }

    /** Those from a place on, by name the same. */
    Arguments from(int place) {
        return new Arguments(callee, values.subList(place, values.size()), named);
    }

    /** Whether an argument is given by name. */
    boolean has(String name) {
        return named.containsKey(name);
    }

    /** By place or name, else {@code otherwise}. */
    Object get(int place, String name, Object otherwise) {
        if (place < values.size()) {
            return values.get(place);
        }
        return named.containsKey(name) ? named.get(name) : otherwise;
    }

    /** Those by name. */
    Map<String, Object> named() {
        return named;
    }

    /**
     * Refuse more than there is a meaning for.
     *
     * @param least how many by place or name
     * @param names of all, in order of place
     */
    Arguments check(int least, String... names) {
        Set<String> known = new java.util.HashSet<>(java.util.Arrays.asList(names));
        for (String name : named.keySet()) {
            if (!known.contains(name)) {
                throw new TemplateError("gives " + callee + " the argument " + name);
            }
        }
        int given = values.size() + named.size();
        if (values.size() > names.length || given < least) {
            throw new TemplateError("gives " + callee + " " + given + " arguments");
        }
        return this;
    }

    /** A text by place or name, else {@code otherwise}. */
    String text(int place, String name, String otherwise) {
        Object value = get(place, name, otherwise);
        if (value == null || value instanceof String) {
            return (String) value;
        }
        throw new TemplateError("gives " + callee + " " + Values.typeName(value) + ", not a str");
    }

    /** A text that must be there. */
    String text(int place, String name) {
        String text = text(place, name, null);
        if (text == null) {
            throw new TemplateError("gives " + callee + " None, not a str");
        }
        return text;
    }

    /** A whole number by place or name, else {@code otherwise}. */
    int number(int place, String name, int otherwise) {
        Object value = get(place, name, (long) otherwise);
        if (value instanceof Long && (Long) value == ((Long) value).intValue()) {
            return ((Long) value).intValue();
        }
        throw new TemplateError("gives " + callee + " " + Values.typeName(value) + ", not an int");
    }
}

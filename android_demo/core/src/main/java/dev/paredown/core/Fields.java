package dev.paredown.core;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/**
 * A JSON object that is read strictly: each getter names a key, {@link #end} refuses those that no
 * getter named. Getters with a default stand for keys that may be absent.
 */
public final class Fields {
    private final Map<String, Object> values;
    private final String where;
    private final Set<String> known = new LinkedHashSet<>();

    /**
     * @param value a parsed value
     * @param where what it is, for errors
     * @throws ParedownException it is no object
     */
    public Fields(Object value, String where) {
        this.values = Json.object(value, where);
        this.where = where;
    }

    /**
     * Check the key {@code schema}; to be called first, since another version has other keys.
     *
     * @throws ParedownException it is another one, or absent
     */
    public Fields schema(String expected) {
        known.add("schema");
        if (!expected.equals(values.get("schema"))) {
            String found = Json.describe(values.get("schema"));
            throw ParedownException.badRequest(
                    where + " has schema " + found + ", not \"" + expected + "\"",
                    "it was written by another version of paredown; make it again with this one");
        }
        return this;
    }

    /** Any value, null included. */
    public Object any(String key) {
        if (!values.containsKey(key)) {
            throw ParedownException.badRequest(where + " lacks the key \"" + key + "\"", "");
        }
        known.add(key);
        return values.get(key);
    }

    /** Whether the key is there; names it. */
    public boolean has(String key) {
        known.add(key);
        return values.containsKey(key);
    }

    /** A text. */
    public String string(String key) {
        return typed(key, any(key), String.class, "a text");
    }

    /** A text, {@code otherwise} where the key is absent. */
    public String string(String key, String otherwise) {
        return has(key) ? string(key) : otherwise;
    }

    /** A text or null; null also where the key is absent. */
    public String nullableString(String key) {
        return has(key) && any(key) != null ? string(key) : null;
    }

    /** A truth value. */
    public boolean bool(String key) {
        return typed(key, any(key), Boolean.class, "true or false");
    }

    /** A truth value, {@code otherwise} where the key is absent. */
    public boolean bool(String key, boolean otherwise) {
        return has(key) ? bool(key) : otherwise;
    }

    /** A whole number of 64 bits. */
    public long integer(String key) {
        return typed(key, any(key), Long.class, "a whole number");
    }

    /** A whole number, {@code otherwise} where the key is absent. */
    public long integer(String key, long otherwise) {
        return has(key) ? integer(key) : otherwise;
    }

    /** A whole number or null; null also where the key is absent. */
    public Long nullableInteger(String key) {
        return has(key) && any(key) != null ? Long.valueOf(integer(key)) : null;
    }

    /** A whole number of 32 bits. */
    public int int32(String key) {
        return narrow(key, integer(key));
    }

    /** A whole number of 32 bits, {@code otherwise} where the key is absent. */
    public int int32(String key, int otherwise) {
        return has(key) ? int32(key) : otherwise;
    }

    /** A whole number of 32 bits or null. */
    public Integer nullableInt32(String key) {
        Long value = nullableInteger(key);
        return value == null ? null : Integer.valueOf(narrow(key, value));
    }

    /** Any number. */
    public double number(String key) {
        return typed(key, any(key), Number.class, "a number").doubleValue();
    }

    /** Any number, {@code otherwise} where the key is absent. */
    public double number(String key, double otherwise) {
        return has(key) ? number(key) : otherwise;
    }

    /** Any number or null; null also where the key is absent. */
    public Double nullableNumber(String key) {
        return has(key) && any(key) != null ? Double.valueOf(number(key)) : null;
    }

    /** A {@code Double} or a {@code String}. */
    public Object numberOrText(String key) {
        return any(key) instanceof String ? string(key) : (Object) number(key);
    }

    /** An array. */
    public List<?> list(String key) {
        return typed(key, any(key), List.class, "an array");
    }

    /** An array of whole numbers of 32 bits. */
    public int[] ints(String key) {
        List<?> items = list(key);
        int[] ints = new int[items.size()];
        for (int i = 0; i < ints.length; i++) {
            String place = key + "[" + i + "]";
            ints[i] = narrow(place, typed(place, items.get(i), Long.class, "a whole number"));
        }
        return ints;
    }

    /** An array of whole numbers of 64 bits. */
    public long[] longs(String key) {
        List<?> items = list(key);
        long[] longs = new long[items.size()];
        for (int i = 0; i < longs.length; i++) {
            longs[i] = typed(key + "[" + i + "]", items.get(i), Long.class, "a whole number");
        }
        return longs;
    }

    /** An array of numbers. */
    public double[] numbers(String key) {
        List<?> items = list(key);
        double[] numbers = new double[items.size()];
        for (int i = 0; i < numbers.length; i++) {
            String place = key + "[" + i + "]";
            numbers[i] = typed(place, items.get(i), Number.class, "a number").doubleValue();
        }
        return numbers;
    }

    /** An array of objects. */
    public List<Fields> objects(String key) {
        List<Fields> objects = new ArrayList<>();
        for (Object item : list(key)) {
            objects.add(new Fields(item, where + "." + key + "[" + objects.size() + "]"));
        }
        return objects;
    }

    /** An object. */
    public Fields object(String key) {
        return new Fields(any(key), where + "." + key);
    }

    /** An object of texts. */
    public Map<String, String> strings(String key) {
        Map<String, String> strings = new LinkedHashMap<>();
        Fields inner = object(key);
        for (String name : inner.values.keySet()) {
            strings.put(name, inner.string(name));
        }
        return strings;
    }

    /** Keys in the order of the text. */
    public Set<String> keys() {
        return values.keySet();
    }

    /**
     * Refuse keys that no getter named.
     *
     * @throws ParedownException naming the first of them
     */
    public void end() {
        Set<String> unknown = new TreeSet<>(values.keySet());
        unknown.removeAll(known);
        for (String key : unknown) {
            String message = where + " has an unknown key " + Json.describe(key);
            throw ParedownException.badRequest(message, "");
        }
    }

    private int narrow(String key, long value) {
        if (value < Integer.MIN_VALUE || value > Integer.MAX_VALUE) {
            String message = where + "." + key + " is " + value + ", too large";
            throw ParedownException.badRequest(message, "");
        }
        return (int) value;
    }

    private <T> T typed(String key, Object value, Class<T> type, String words) {
        if (!type.isInstance(value)) {
            throw ParedownException.badRequest(
                    where + "." + key + " is " + Json.describe(value) + ", not " + words, "");
        }
        return type.cast(value);
    }
}

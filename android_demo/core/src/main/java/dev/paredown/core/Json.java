package dev.paredown.core;

import java.util.Map;

/**
 * Strict JSON (RFC 8259) to plain objects and back.
 *
 * <p>An object is a {@code Map<String, Object>} in the order of its text, an array a {@code
 * List<Object>}, a number without fraction and exponent that fits 64 bits a {@code Long}, every
 * other number a {@code Double}. NaN, Infinity, a key twice, text after the end and nesting deeper
 * than {@link #MAX_DEPTH} are refused.
 */
public final class Json {
    /** Objects and arrays within each other. */
    public static final int MAX_DEPTH = 200;

    private Json() {}

    /**
     * @param text all of a document
     * @param where what it is, for the error
     * @throws ParedownException it is not JSON; the message names line and column
     */
    public static Object parse(String text, String where) {
        return new JsonReader(text, where).document();
    }

    /**
     * As {@link #parse} for a document that must be an object.
     *
     * @throws ParedownException it is not JSON, or another kind of value
     */
    public static Map<String, Object> parseObject(String text, String where) {
        return object(parse(text, where), where);
    }

    /**
     * A value that must be an object.
     *
     * @throws ParedownException it is another kind of value
     */
    @SuppressWarnings("unchecked") // the reader makes no other maps
    public static Map<String, Object> object(Object value, String where) {
        if (value instanceof Map) {
            return (Map<String, Object>) value;
        }
        String message = where + " is " + describe(value) + ", not an object";
        throw ParedownException.badRequest(message, "");
    }

    /**
     * Readable text with an indent of two and a final newline.
     *
     * @param value maps with text keys, lists, texts, numbers, booleans and null
     * @throws IllegalArgumentException another class, NaN or Infinity
     */
    public static String write(Object value) {
        return new JsonWriter(2).document(value) + "\n";
    }

    /** The text on one line. */
    public static String writeCompact(Object value) {
        return new JsonWriter(0).document(value);
    }

    /** A short form of a value for an error. */
    static String describe(Object value) {
        String text = value instanceof Map || value instanceof java.util.List
                ? (value instanceof Map ? "an object" : "an array")
                : writeCompact(value);
        return text.length() <= 60 ? text : text.substring(0, 57) + "...";
    }
}

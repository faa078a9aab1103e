package dev.paredown.core.tokenizer;

import dev.paredown.core.tokenizer.regex.Unicode;

/** Ends of runs of white space; all of it lies in the Basic Multilingual Plane. */
final class Spaces {
    private Spaces() {}

    /** Where white space that begins at {@code from} ends. */
    static int atStart(String text, int from) {
        int at = from;
        while (at < text.length() && Unicode.isSpace(text.charAt(at))) {
            at++;
        }
        return at;
    }

    /** Where white space that ends at {@code to} begins. */
    static int atEnd(String text, int to) {
        int at = to;
        while (at > 0 && Unicode.isSpace(text.charAt(at - 1))) {
            at--;
        }
        return at;
    }
}

package dev.paredown.core.tokenizer;

import dev.paredown.core.Fields;
import dev.paredown.core.ParedownException;
import dev.paredown.core.tokenizer.regex.Regex;
import java.util.Arrays;

/** What a Split or a Replace looks for: a text or a regular expression. */
final class TextPattern {
    private final String literal;
    private final Regex regex;

    private TextPattern(String literal, Regex regex) {
        this.literal = literal;
        this.regex = regex;
    }

    /**
     * The pattern of a component.
     *
     * @throws ParedownException it is of another kind, or not supported
     */
    static TextPattern read(Fields component, String where) {
        Fields pattern = component.object("pattern");
        if (pattern.has("Regex")) {
            TextPattern read = new TextPattern(null, Regex.compile(pattern.string("Regex"), where));
            pattern.end();
            return read;
        }
        String literal = pattern.string("String");
        pattern.end();
        if (literal.isEmpty()) {
            throw ParedownException.badRequest(where + " looks for an empty text", "");
        }
        return new TextPattern(literal, null);
    }


    /** Start and end of each match, one after the other. */
    int[] matches(String text) {
        if (text.isEmpty()) {
            return new int[0];
        }
        if (regex != null) {
            return regex.matches(text);
        }
        int[] found = new int[8];
        int count = 0;
        for (int at = text.indexOf(literal); at >= 0; at = text.indexOf(literal, at)) {
            if (count + 2 > found.length) {
                found = Arrays.copyOf(found, count * 2);
            }
            found[count++] = at;
            at += literal.length();
            found[count++] = at;
        }
        return Arrays.copyOf(found, count);
    }

    /** The text with each match replaced. */
    String replace(String text, String content) {
        int[] matches = matches(text);
        if (matches.length == 0) {
            return text;
        }
        StringBuilder out = new StringBuilder(text.length());
        int from = 0;
        for (int i = 0; i < matches.length; i += 2) {
            out.append(text, from, matches[i]).append(content);
            from = matches[i + 1];
        }
        return out.append(text, from, text.length()).toString();
    }
}

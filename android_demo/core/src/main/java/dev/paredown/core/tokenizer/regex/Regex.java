package dev.paredown.core.tokenizer.regex;

import dev.paredown.core.ParedownException;
import java.util.Arrays;

/**
 * The patterns of tokenizer.json files: what of Oniguruma's Ruby syntax they use.
 *
 * <p>Not java.util.regex: on Android that is ICU, on a JVM it is another engine, each with the
 * Unicode tables of its platform, with other meanings of {@code \s}, {@code \w}, {@code $} and
 * {@code (?i)}. This one has one table (see {@link Unicode}), and no recursion per character, so
 * that long words do not overflow the small stack of an Android thread. What it does not know it
 * refuses by name.
 */
public final class Regex {
    private final Node start;

    private Regex(Node start) {
        this.start = start;
    }

    /**
     * Read a pattern.
     *
     * @param pattern its text
     * @param where what it belongs to, for the error
     * @throws ParedownException it uses a construct that is not supported; the message names it
     */
    public static Regex compile(String pattern, String where) {
        return new Regex(new RegexReader(pattern, where).read().before(Node.END));
    }

    /**
     * All matches from left to right.
     *
     * @return start and end of each, one after the other. A match without length is not reported
     *     directly after another match.
     */
    public int[] matches(String text) {
        int[] found = new int[16];
        int count = 0;
        int last = -1;
        int from = 0;
        while (from <= text.length()) {
            int end = start.match(text, from);
            if (end < 0 || (end == from && end == last)) {
                from += from < text.length() ? Character.charCount(text.codePointAt(from)) : 1;
                continue;
            }
            if (count + 2 > found.length) {
                found = Arrays.copyOf(found, count * 2);
            }
            found[count++] = from;
            found[count++] = end;
            last = end;
            from = end;
        }
        return Arrays.copyOf(found, count);
    }
}

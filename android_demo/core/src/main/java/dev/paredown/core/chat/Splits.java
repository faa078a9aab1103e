package dev.paredown.core.chat;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** Python's ways to split a text and to replace in it. */
final class Splits {
    private static final String LINE_ENDS = "\n\r\u000B\f\u001C\u001D\u001E\u0085\u2028\u2029";

    private Splits() {}

    /**
     * split and rsplit.
     *
     * @param separator null for runs of white space
     * @param most how many splits, negative for all
     */
    static List<Object> split(String text, String separator, int most, boolean fromRight) {
        if (separator != null && separator.isEmpty()) {
            throw new TemplateError("splits at an empty separator");
        }
        int left = most < 0 ? Integer.MAX_VALUE : most;
        if (!fromRight) {
            return separator == null ? words(text, left) : parts(text, separator, left);
        }
        List<Object> parts = separator == null
                ? wordsFromRight(text, left) : partsFromRight(text, separator, left);
        Collections.reverse(parts);
        return parts;
    }

    private static List<Object> parts(String text, String separator, int most) {
        List<Object> parts = new ArrayList<>();
        int from = 0;
        for (int left = most; left > 0; left--) {
            int at = text.indexOf(separator, from);
            if (at < 0) {
                break;
            }
            parts.add(text.substring(from, at));
            from = at + separator.length();
        }
        parts.add(text.substring(from));
        return parts;
    }

    private static List<Object> partsFromRight(String text, String separator, int most) {
        List<Object> parts = new ArrayList<>();
        int to = text.length();
        for (int left = most; left > 0; left--) {
            int at = text.lastIndexOf(separator, to - separator.length());
            if (at < 0) {
                break;
            }
            parts.add(text.substring(at + separator.length(), to));
            to = at;
        }
        parts.add(text.substring(0, to));
        return parts;
    }

    private static List<Object> words(String text, int most) {
        List<Object> words = new ArrayList<>();
        int from = skipSpaces(text, 0);
        for (int left = most; left > 0 && from < text.length(); left--) {
            int end = from;
            while (end < text.length() && !PyText.isSpace(text.charAt(end))) {
                end++;
            }
            words.add(text.substring(from, end));
            from = skipSpaces(text, end);
        }
        if (from < text.length()) {
            words.add(text.substring(from));
        }
        return words;
    }

    private static int skipSpaces(String text, int from) {
        int at = from;
        while (at < text.length() && PyText.isSpace(text.charAt(at))) {
            at++;
        }
        return at;
    }

    private static List<Object> wordsFromRight(String text, int most) {
        List<Object> words = new ArrayList<>();
        int to = skipSpacesBack(text, text.length());
        for (int left = most; left > 0 && to > 0; left--) {
            int start = to;
            while (start > 0 && !PyText.isSpace(text.charAt(start - 1))) {
                start--;
            }
            words.add(text.substring(start, to));
            to = skipSpacesBack(text, start);
        }
        if (to > 0) {
            words.add(text.substring(0, to));
        }
        return words;
    }

    private static int skipSpacesBack(String text, int to) {
        int at = to;
        while (at > 0 && PyText.isSpace(text.charAt(at - 1))) {
            at--;
        }
        return at;
    }

    /** splitlines. */
    static List<Object> lines(String text) {
        List<Object> lines = new ArrayList<>();
        int from = 0;
        for (int at = 0; at < text.length(); at++) {
            if (LINE_ENDS.indexOf(text.charAt(at)) >= 0) {
                lines.add(text.substring(from, at));
                at += text.startsWith("\r\n", at) ? 1 : 0;
                from = at + 1;
            }
        }
        if (from < text.length()) {
            lines.add(text.substring(from));
        }
        return lines;
    }

    /**
     * replace.
     *
     * @param most how many, negative for all
     */
    static String replace(String text, String old, String with, int most, Budget budget) {
        StringBuilder out = new StringBuilder();
        int left = most < 0 ? Integer.MAX_VALUE : most;
        int from = 0;
        int at = text.indexOf(old);
        while (left-- > 0 && at >= 0 && (!old.isEmpty() || at < text.length())) {
            out.append(text, from, at).append(with);
            budget.charge(at - from + with.length());
            int next = at + old.length();
            if (old.isEmpty()) {
                next = text.offsetByCodePoints(at, 1);
                out.append(text, at, next);
            }
            from = next;
            at = text.indexOf(old, next);
        }
        boolean atEnd = old.isEmpty() && from == text.length() && left >= 0;
        return out.append(text, from, text.length()).append(atEnd ? with : "").toString();
    }
}

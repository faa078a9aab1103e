package dev.paredown.core.tokenizer.regex;

import dev.paredown.core.ParedownException;
import java.util.ArrayList;
import java.util.List;

/** Reads a pattern into parts; see {@link Regex}. */
final class RegexReader {
    private static final int MAX_DEPTH = 100;
    private static final int MAX_COUNT = 1000;

    /** Pairs of letters that case folding makes one character, so that (?i) would match it. */
    private static final String LIGATURES = "ss ff fi fl st";

    private final String pattern;
    private final String where;
    private int at;
    private int depth;
    private boolean foldCase;
    private String lastFolded = "";

    RegexReader(String pattern, String where) {
        this.pattern = pattern;
        this.where = where;
    }

    Part read() {
        Part part = choice();
        if (at < pattern.length()) {
            throw refuse("an unmatched \")\"");
        }
        return part;
    }

    private Part choice() {
        if (++depth > MAX_DEPTH) {
            throw refuse("too many groups within each other");
        }
        List<Part> ways = new ArrayList<>();
        do {
            ways.add(row());
        } while (skip("|"));
        depth--;
        return ways.size() == 1 ? ways.get(0) : new Part.Choice(ways);
    }

    private Part row() {
        List<Part> parts = new ArrayList<>();
        lastFolded = "";
        while (at < pattern.length() && "|)".indexOf(pattern.charAt(at)) < 0) {
            parts.add(repeated(atom()));
        }
        return new Part.Row(parts);
    }

    private Part atom() {
        char c = pattern.charAt(at);
        if (c == '(') {
            at++;
            return group();
        }
        if (c == '^' || c == '$') {
            at++;
            return new Part.Place(c);
        }
        if ("*+?".indexOf(c) >= 0 || (c == '{' && isCount())) {
            throw refuse("a repetition of nothing");
        }
        if (c == '\\' && at + 1 < pattern.length() && "AzZbB".indexOf(pattern.charAt(at + 1)) >= 0) {
            at += 2;
            return new Part.Place(pattern.charAt(at - 1));
        }
        return new Part.One(set());
    }

    /** One code point, or a set of them. */
    private CharSet set() {
        CharSet.Builder set = new CharSet.Builder();
        char c = pattern.charAt(at);
        if (c == '[') {
            at++;
            lastFolded = "";
            new SetReader(this).members(set);
        } else if (c == '.') {
            at++;
            set.range('\n', '\n').negate();
        } else if (c != '\\' || !escapedKind(set)) {
            int code = character();
            set.range(code, code);
            if (foldCase) {
                checkLigature(code);
            }
        }
        return fold(set).build();
    }

    private CharSet.Builder fold(CharSet.Builder set) {
        if (!foldCase) {
            return set;
        }
        if (!set.isAscii()) {
            throw refuse("(?i) over other than ASCII characters");
        }
        return set.foldAscii();
    }

    private void checkLigature(int code) {
        String letter = new String(Character.toChars(code)).toLowerCase(java.util.Locale.ROOT);
        String pair = lastFolded + letter;
        if (pair.length() == 2 && LIGATURES.contains(pair)) {
            throw refuse("(?i) over \"" + pair + "\", which folds to one character");
        }
        lastFolded = letter;
    }

    private Part group() {
        boolean outer = foldCase;
        Part part;
        if (skip("?:")) {
            part = choice();
        } else if (skip("?i:")) {
            foldCase = true;
            part = choice();
        } else if (skip("?i)")) {
            if (at != "(?i)".length()) {
                throw refuse("(?i) that is not at the start");
            }
            foldCase = true;
            return choice();
        } else if (skip("?>")) {
            part = new Part.Atomic(choice());
        } else if (skip("?=") || skip("?!")) {
            boolean wanted = pattern.charAt(at - 1) == '=';
            part = new Part.Ahead(choice(), wanted);
        } else if (skip("?<=") || skip("?<!")) {
            part = behind(pattern.charAt(at - 1) == '=');
        } else if (pattern.startsWith("?", at)) {
            throw refuse("a group that begins with \"(" + excerpt() + "\"");
        } else {
            part = choice();
        }
        if (!skip(")")) {
            throw refuse("a group without end");
        }
        foldCase = outer;
        return part;
    }

    private Part behind(boolean wanted) {
        if (at >= pattern.length() || "()^$|".indexOf(pattern.charAt(at)) >= 0) {
            throw refuse("looking behind at other than one character");
        }
        CharSet set = set();
        if (!pattern.startsWith(")", at)) {
            throw refuse("looking behind at other than one character");
        }
        return new Part.Behind(set, wanted);
    }

    private Part repeated(Part part) {
        int min;
        int max;
        boolean counted = isCount();
        if (counted) {
            int end = pattern.indexOf('}', at);
            String[] bounds = pattern.substring(at + 1, end).split(",", -1);
            min = bounds[0].isEmpty() ? 0 : count(bounds[0]);
            String last = bounds[bounds.length - 1];
            max = last.isEmpty() ? Part.MANY : count(last);
            at = end + 1;
        } else if (at < pattern.length() && "*+?".indexOf(pattern.charAt(at)) >= 0) {
            char sign = pattern.charAt(at++);
            min = sign == '+' ? 1 : 0;
            max = sign == '?' ? 1 : Part.MANY;
        } else {
            return part;
        }
        lastFolded = "";
        Part.Mode mode = mode(counted);
        if (isCount() || (at < pattern.length() && "*+?".indexOf(pattern.charAt(at)) >= 0)) {
            throw refuse("a repetition of a repetition");
        }
        return repeat(part, min, max, mode);
    }

    private Part repeat(Part part, int min, int max, Part.Mode mode) {
        if (min > max) {
            throw refuse("a repetition whose least is more than its most");
        }
        if (part instanceof Part.One) {
            return new Part.Repeat(((Part.One) part).set, min, max, mode);
        }
        if (min == 0 && max == 1) {
            return new Part.Optional(part, mode);
        }
        throw refuse("a repeated group");
    }

    private Part.Mode mode(boolean counted) {
        if (counted && (pattern.startsWith("?", at) || pattern.startsWith("+", at))) {
            throw refuse("\"" + pattern.charAt(at) + "\" after a counted repetition");
        }
        if (skip("?")) {
            return Part.Mode.LAZY;
        }
        return skip("+") ? Part.Mode.POSSESSIVE : Part.Mode.GREEDY;
    }

    /** Whether a counted repetition begins here, as {2}, {2,}, {,3} or {2,3}. */
    private boolean isCount() {
        int end = pattern.startsWith("{", at) ? pattern.indexOf('}', at) : -1;
        if (end < 0) {
            return false;
        }
        int digits = 0;
        int commas = 0;
        for (int i = at + 1; i < end; i++) {
            char c = pattern.charAt(i);
            if (c != ',' && (c < '0' || c > '9')) {
                return false;
            }
            commas += c == ',' ? 1 : 0;
            digits += c == ',' ? 0 : 1;
        }
        return digits > 0 && commas <= 1;
    }

    private int count(String digits) {
        if (digits.length() > 4 || Integer.parseInt(digits) > MAX_COUNT) {
            throw refuse("a repetition of more than " + MAX_COUNT);
        }
        return Integer.parseInt(digits);
    }

    /** An escape that stands for a set; false, and nowhere further, where it is one character. */
    boolean escapedKind(CharSet.Builder set) {
        char c = at + 1 < pattern.length() ? pattern.charAt(at + 1) : 0;
        switch (c) {
            case 's':
                set.kind(CharSet.Kind.SPACE);
                break;
            case 'S':
                set.kind(CharSet.Kind.NOT_SPACE);
                break;
            case 'w':
                set.kind(CharSet.Kind.WORD);
                break;
            case 'W':
                set.kind(CharSet.Kind.NOT_WORD);
                break;
            case 'd':
                set.categories(Unicode.mask("Nd"));
                break;
            case 'D':
                set.categories(~Unicode.mask("Nd"));
                break;
            case 'p':
            case 'P':
                property(set, c == 'P');
                return true;
            default:
                return false;
        }
        at += 2;
        return true;
    }

    private void property(CharSet.Builder set, boolean capital) {
        int end = pattern.indexOf('}', at);
        if (!pattern.startsWith("{", at + 2) || end < 0) {
            throw refuse("\\p without {}");
        }
        String name = pattern.substring(at + 3, end);
        boolean not = name.startsWith("^");
        int mask = Unicode.mask(not ? name.substring(1) : name);
        if (mask == 0) {
            throw refuse("the property \\p{" + name + "}");
        }
        set.categories(not != capital ? ~mask : mask);
        at = end + 1;
    }

    /** One character, escaped or not. */
    int character() {
        if (!skip("\\")) {
            int c = pattern.codePointAt(at);
            at += Character.charCount(c);
            return c;
        }
        if (at >= pattern.length()) {
            throw refuse("a \\ at the end");
        }
        int c = pattern.codePointAt(at);
        at += Character.charCount(c);
        int place = "tnrfvae".indexOf(c);
        if (place >= 0) {
            return "\t\n\r\f\u000B\u0007\u001B".charAt(place);
        }
        if (c == 'x' && skip("{")) {
            int end = pattern.indexOf('}', at);
            return hexadecimal(end < 0 ? 0 : end - at, 1);
        }
        if (c == 'u') {
            return hexadecimal(4, 0);
        }
        if ((c < 0x80 && Character.isLetterOrDigit(c)) || c >= 0x80) {
            at -= Character.charCount(c);
            throw refuse("the escape \"\\" + new String(Character.toChars(c)) + "\"");
        }
        return c;
    }

    private int hexadecimal(int length, int extra) {
        int end = at + length;
        if (length < 1 || length > 6 || end > pattern.length()) {
            throw refuse("a hexadecimal escape of " + length + " digits");
        }
        int value = 0;
        for (; at < end; at++) {
            int digit = pattern.charAt(at) < 0x80 ? Character.digit(pattern.charAt(at), 16) : -1;
            if (digit < 0) {
                throw refuse("a hexadecimal escape with other than digits");
            }
            value = value * 16 + digit;
        }
        at += extra;
        if (!Character.isValidCodePoint(value)) {
            throw refuse("an escape beyond U+10FFFF");
        }
        return value;
    }

    /** Past a text if it is here. */
    boolean skip(String text) {
        boolean here = pattern.startsWith(text, at);
        at += here ? text.length() : 0;
        return here;
    }

    /** Whether a text is here. */
    boolean sees(String text) {
        return pattern.startsWith(text, at);
    }

    boolean isAtEnd() {
        return at >= pattern.length();
    }

    private String excerpt() {
        return pattern.substring(at, Math.min(pattern.length(), at + 4));
    }

    ParedownException refuse(String what) {
        return ParedownException.badRequest(
                where + " has a pattern with " + what + " (character " + (at + 1)
                        + "), which is not supported", "");
    }
}

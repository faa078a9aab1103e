package dev.paredown.core.chat;

/** Escapes of a string literal, as Python's. */
final class Escapes {
    private static final String NAMES = "ntrabfv\\'\"";
    private static final String VALUES = "\n\t\r\u0007\b\f\u000B\\'\"";

    private final String text;
    private final int offset;
    private final StringBuilder out = new StringBuilder();
    private int at;

    private Escapes(String text, int offset) {
        this.text = text;
        this.offset = offset;
    }

    /** @param offset of the literal, for errors */
    static String decode(String text, int offset) {
        return text.indexOf('\\') < 0 ? text : new Escapes(text, offset).run();
    }

    private String run() {
        while (at < text.length()) {
            char c = text.charAt(at++);
            if (c == '\\') {
                escape(text.charAt(at++));
            } else {
                out.append(c);
            }
        }
        return out.toString();
    }

    private void escape(char c) {
        int place = NAMES.indexOf(c);
        if (place >= 0) {
            out.append(VALUES.charAt(place));
        } else if (c == 'x') {
            code(2, 16);
        } else if (c == 'u') {
            code(4, 16);
        } else if (c == 'U') {
            code(8, 16);
        } else if (c >= '0' && c <= '7') {
            at--;
            int digits = 1;
            while (digits < 3 && at + digits < text.length()
                    && text.charAt(at + digits) >= '0' && text.charAt(at + digits) <= '7') {
                digits++;
            }
            code(digits, 8);
        } else if (c == 'N') {
            throw TemplateError.unsupported("\\N{...}", offset);
        } else if (c != '\n') { // a backslash before a line's end joins the lines
            out.append('\\').append(c);
        }
    }

    private void code(int digits, int base) {
        long value = 0;
        for (int i = 0; i < digits; i++, at++) {
            char c = at < text.length() ? text.charAt(at) : 0;
            int digit = c < 0x80 ? Character.digit(c, base) : -1;
            if (digit < 0) {
                throw new TemplateError("has an escape with too few digits", offset);
            }
            value = value * base + digit;
        }
        if (value > Character.MAX_CODE_POINT) {
            throw new TemplateError("has an escape beyond U+10FFFF", offset);
        }
        out.appendCodePoint((int) value);
    }
}

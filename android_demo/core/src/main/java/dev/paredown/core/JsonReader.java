package dev.paredown.core;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** JSON text to plain objects; see {@link Json}. */
final class JsonReader {
    private final String text;
    private final String where;
    private int at;
    private int depth;

    JsonReader(String text, String where) {
        this.text = text;
        this.where = where;
    }

    Object document() {
        Object value = value();
        blanks();
        if (at < text.length()) {
            throw error("there is more after the end");
        }
        return value;
    }

    private Object value() {
        blanks();
        switch (peek()) {
            case '{':
                return object();
            case '[':
                return array();
            case '"':
                return string();
            case 't':
                return word("true", Boolean.TRUE);
            case 'f':
                return word("false", Boolean.FALSE);
            case 'n':
                return word("null", null);
            default:
                return number();
        }
    }

    private Map<String, Object> object() {
        Map<String, Object> map = new LinkedHashMap<>();
        enter();
        if (closes('}')) {
            return map;
        }
        do {
            blanks();
            if (peek() != '"') {
                throw error("a key is expected");
            }
            String key = string();
            if (map.containsKey(key)) {
                throw error("the key " + Json.describe(key) + " is there twice");
            }
            blanks();
            expect(':');
            map.put(key, value());
        } while (goesOn('}'));
        return map;
    }

    private List<Object> array() {
        List<Object> list = new ArrayList<>();
        enter();
        if (closes(']')) {
            return list;
        }
        do {
            list.add(value());
        } while (goesOn(']'));
        return list;
    }

    /** Past an opening bracket. */
    private void enter() {
        at++;
        if (++depth > Json.MAX_DEPTH) {
            throw error("it is nested deeper than " + Json.MAX_DEPTH + " levels");
        }
    }

    private boolean closes(char bracket) {
        blanks();
        if (peek() != bracket) {
            return false;
        }
        at++;
        depth--;
        return true;
    }

    /** Whether a comma, and not the closing bracket, follows a member. */
    private boolean goesOn(char bracket) {
        if (closes(bracket)) {
            return false;
        }
        expect(',');
        return true;
    }

    private Object word(String word, Object value) {
        if (!text.startsWith(word, at)) {
            throw error("'" + peek() + "' begins no value");
        }
        at += word.length();
        return value;
    }

    private Object number() {
        int start = at;
        if (peek() == '-') {
            at++;
        }
        int digits = at;
        digits();
        if (text.charAt(digits) == '0' && at > digits + 1) {
            throw error("a number begins with 0");
        }
        boolean whole = fraction();
        String number = text.substring(start, at);
        if (whole && number.length() <= 20) {
            try {
                return Long.valueOf(number);
            } catch (NumberFormatException tooLarge) {
                whole = false;
            }
        }
        double value = Double.parseDouble(number);
        if (Double.isInfinite(value)) {
            throw error("the number is too large");
        }
        return value;
    }

    /** Past fraction and exponent; whether there was neither. */
    private boolean fraction() {
        boolean whole = true;
        if (peek() == '.') {
            at++;
            digits();
            whole = false;
        }
        if (peek() == 'e' || peek() == 'E') {
            at++;
            if (peek() == '+' || peek() == '-') {
                at++;
            }
            digits();
            whole = false;
        }
        return whole;
    }

    private void digits() {
        if (peek() < '0' || peek() > '9') {
            throw error(at < text.length() ? "'" + peek() + "' begins no value" : "it ends early");
        }
        while (peek() >= '0' && peek() <= '9') {
            at++;
        }
    }

    private String string() {
        at++;
        int start = at;
        while (at < text.length() && isPlain(text.charAt(at))) {
            at++;
        }
        if (peek() == '"') {
            return text.substring(start, at++);
        }
        StringBuilder out = new StringBuilder(text.substring(start, at));
        while (peek() != '"') {
            char c = peek();
            if (c < 0x20) {
                boolean ends = at == text.length();
                throw error(ends ? "it ends early" : "a text holds a control character");
            }
            at++;
            out.append(c == '\\' ? escape() : c);
        }
        at++;
        return out.toString();
    }

    private static boolean isPlain(char c) {
        return c != '"' && c != '\\' && c >= 0x20;
    }

    private char escape() {
        char c = peek();
        at++;
        switch (c) {
            case '"':
            case '\\':
            case '/':
                return c;
            case 'b':
                return '\b';
            case 'f':
                return '\f';
            case 'n':
                return '\n';
            case 'r':
                return '\r';
            case 't':
                return '\t';
            case 'u':
                return unicode();
            default:
                throw error("unknown escape");
        }
    }

    private char unicode() {
        int value = 0;
        for (int i = 0; i < 4; i++) {
            char c = peek();
            int digit = c < 128 ? Character.digit(c, 16) : -1;
            if (digit < 0) {
                throw error("\\u needs four hexadecimal digits");
            }
            value = value * 16 + digit;
            at++;
        }
        return (char) value;
    }

    private void blanks() {
        while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
    }

    private void expect(char c) {
        if (peek() != c) {
            throw error("'" + c + "' is expected");
        }
        at++;
    }

    /** The next character; 0, which is nowhere allowed, at the end. */
    private char peek() {
        return at < text.length() ? text.charAt(at) : 0;
    }

    private ParedownException error(String what) {
        int line = 1;
        int column = 1;
        for (int i = 0; i < Math.min(at, text.length()); i++) {
            boolean newline = text.charAt(i) == '\n';
            line += newline ? 1 : 0;
            column = newline ? 1 : column + 1;
        }
        String place = "line " + line + " column " + column;
        return ParedownException.badRequest(where + " is not JSON: " + what + ", " + place, "");
    }
}

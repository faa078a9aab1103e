package dev.paredown.core.chat;

import dev.paredown.core.tokenizer.regex.Unicode;
import java.math.BigDecimal;
import java.math.MathContext;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** Values as Python writes them. */
final class PyText {
    private PyText() {}

    /** What Python's str.isspace says: more than White_Space, the separators of ASCII. */
    static boolean isSpace(int c) {
        return Unicode.isSpace(c) || (c >= 0x1C && c <= 0x1F);
    }

    /** str() of a value. */
    static String str(Object value, Budget budget) {
        if (value instanceof String) {
            return (String) value;
        }
        if (value instanceof Safe) {
            return ((Safe) value).text;
        }
        if (value instanceof Undefined) {
            return "";
        }
        return repr(value, budget);
    }

    /** repr() of a value. */
    static String repr(Object value, Budget budget) {
        StringBuilder out = new StringBuilder();
        repr(value, out, budget);
        return out.toString();
    }

    private static void repr(Object value, StringBuilder out, Budget budget) {
        budget.enter();
        if (value == null) {
            out.append("None");
        } else if (value instanceof Boolean) {
            out.append((Boolean) value ? "True" : "False");
        } else if (value instanceof Long) {
            out.append(value);
        } else if (value instanceof Double) {
            out.append(floatText((Double) value));
        } else if (value instanceof String) {
            budget.charge(((String) value).length());
            quote((String) value, out);
        } else if (value instanceof Undefined) {
            out.append("Undefined");
        } else if (value instanceof Tuple) {
            items((Tuple) value, "(", ((Tuple) value).size() == 1 ? ",)" : ")", out, budget);
        } else if (value instanceof List) {
            items((List<?>) value, "[", "]", out, budget);
        } else if (value instanceof Map) {
            map((Map<?, ?>) value, out, budget);
        } else {
            throw TemplateError.unsupported("the text of " + Values.typeName(value));
        }
        budget.leave();
    }

    private static void items(
            List<?> items, String open, String close, StringBuilder out, Budget budget) {
        out.append(open);
        String separator = "";
        for (Object item : items) {
            out.append(separator);
            repr(item, out, budget);
            separator = ", ";
        }
        out.append(close);
    }

    private static void map(Map<?, ?> map, StringBuilder out, Budget budget) {
        out.append('{');
        String separator = "";
        for (Map.Entry<?, ?> entry : map.entrySet()) {
            out.append(separator);
            repr(entry.getKey(), out, budget);
            out.append(": ");
            repr(entry.getValue(), out, budget);
            separator = ", ";
        }
        out.append('}');
    }

    private static void quote(String text, StringBuilder out) {
        char quote = text.indexOf('\'') >= 0 && text.indexOf('"') < 0 ? '"' : '\'';
        out.append(quote);
        for (int i = 0; i < text.length(); ) {
            int c = text.codePointAt(i);
            i += Character.charCount(c);
            int place = "\n\r\t".indexOf(c);
            if (place >= 0) {
                out.append('\\').append("nrt".charAt(place));
            } else if (c == quote || c == '\\') {
                out.append('\\').append((char) c);
            } else if (Unicode.isPrintable(c)) {
                out.appendCodePoint(c);
            } else if (c < 0x100) {
                out.append(String.format(Locale.ROOT, "\\x%02x", c));
            } else {
                out.append(String.format(Locale.ROOT, c < 0x10000 ? "\\u%04x" : "\\U%08x", c));
            }
        }
        out.append(quote);
    }

    /** The shortest decimal that reads back as the same number, written as Python does. */
    static String floatText(double value) {
        if (Double.isNaN(value) || Double.isInfinite(value)) {
            return Double.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
        }
        if (value == 0) {
            return 1 / value < 0 ? "-0.0" : "0.0";
        }
        BigDecimal exact = new BigDecimal(value);
        BigDecimal shortest = exact;
        for (int digits = 1; digits <= 17; digits++) {
            shortest = exact.round(new MathContext(digits));
            if (shortest.doubleValue() == value) {
                break;
            }
        }
        String digits = shortest.unscaledValue().abs().toString();
        int exponent = digits.length() - shortest.scale() - 1;
        digits = withoutZeros(digits);
        return (value < 0 ? "-" : "") + layout(digits, exponent);
    }

    private static String withoutZeros(String digits) {
        int end = digits.length();
        while (end > 1 && digits.charAt(end - 1) == '0') {
            end--;
        }
        return digits.substring(0, end);
    }

    private static String layout(String digits, int exponent) {
        if (exponent < -4 || exponent >= 16) {
            String fraction = digits.length() > 1 ? "." + digits.substring(1) : "";
            String sign = exponent < 0 ? "-" : "+";
            int size = Math.abs(exponent);
            return digits.charAt(0) + fraction + "e" + sign + (size < 10 ? "0" : "") + size;
        }
        StringBuilder out = new StringBuilder();
        for (int i = exponent; i < 0; i++) {
            out.append('0');
        }
        out.append(digits);
        int point = Math.max(exponent, 0) + 1;
        while (out.length() < point) {
            out.append('0');
        }
        out.insert(point, '.');
        if (point == out.length() - 1) {
            out.append('0');
        }
        return out.toString();
    }

    /** Text without characters at its ends: white space, or those of {@code characters}. */
    static String strip(String text, String characters, boolean left, boolean right) {
        int start = 0;
        int end = text.length();
        while (left && start < end && strips(text.codePointAt(start), characters)) {
            start += Character.charCount(text.codePointAt(start));
        }
        while (right && end > start && strips(text.codePointBefore(end), characters)) {
            end -= Character.charCount(text.codePointBefore(end));
        }
        return text.substring(start, end);
    }

    private static boolean strips(int c, String characters) {
        return characters == null ? isSpace(c) : characters.indexOf(c) >= 0;
    }

    /** First letter large, others small. */
    static String capitalize(String text) {
        if (text.isEmpty()) {
            return text;
        }
        int first = text.offsetByCodePoints(0, 1);
        return title(text.substring(0, first)) + text.substring(first).toLowerCase(Locale.ROOT);
    }

    /** Each letter after something that is no letter large, others small. */
    static String titleWords(String text) {
        StringBuilder out = new StringBuilder();
        boolean inWord = false;
        for (int i = 0; i < text.length(); ) {
            int c = text.codePointAt(i);
            int next = i + Character.charCount(c);
            String letter = text.substring(i, next);
            out.append(inWord ? letter.toLowerCase(Locale.ROOT) : title(letter));
            inWord = Character.isUpperCase(c) || Character.isLowerCase(c) || Character.isTitleCase(c);
            i = next;
        }
        return out.toString();
    }

    private static String title(String letter) {
        int c = letter.codePointAt(0);
        int title = Character.toTitleCase(c);
        if (title != c) {
            return new String(Character.toChars(title));
        }
        String upper = letter.toUpperCase(Locale.ROOT);
        int first = upper.offsetByCodePoints(0, 1);
        return upper.substring(0, first) + upper.substring(first).toLowerCase(Locale.ROOT);
    }
}

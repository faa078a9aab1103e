package dev.paredown.core.chat;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/** What Python's operators and built-in functions say about values. */
final class Values {
    private Values() {}

    /** The name of a value's type, for errors. */
    static String typeName(Object value) {
        if (value == null) {
            return "None";
        }
        if (value instanceof Boolean) {
            return "a bool";
        }
        if (value instanceof Long) {
            return "an int";
        }
        if (value instanceof Double) {
            return "a float";
        }
        if (value instanceof String) {
            return "a str";
        }
        if (value instanceof Tuple) {
            return "a tuple";
        }
        if (value instanceof List) {
            return "a list";
        }
        if (value instanceof Map) {
            return "a dict";
        }
        return "a " + value.getClass().getSimpleName().toLowerCase(java.util.Locale.ROOT);
    }

    /** bool(value). */
    static boolean truth(Object value) {
        if (value instanceof Boolean) {
            return (Boolean) value;
        }
        if (value instanceof Number) {
            return ((Number) value).doubleValue() != 0;
        }
        if (value instanceof String) {
            return !((String) value).isEmpty();
        }
        if (value instanceof List) {
            return !((List<?>) value).isEmpty();
        }
        if (value instanceof Map) {
            return !((Map<?, ?>) value).isEmpty();
        }
        if (value instanceof Lazy) {
            return !((Lazy) value).sized || ((Lazy) value).size() > 0;
        }
        if (value instanceof Safe) {
            return !((Safe) value).text.isEmpty();
        }
        return value != null && !(value instanceof Undefined);
    }

    /** len(value). */
    static long length(Object value) {
        if (value instanceof String) {
            String text = (String) value;
            return text.codePointCount(0, text.length());
        }
        if (value instanceof List) {
            return ((List<?>) value).size();
        }
        if (value instanceof Map) {
            return ((Map<?, ?>) value).size();
        }
        if (value instanceof Lazy && ((Lazy) value).sized) {
            return ((Lazy) value).size();
        }
        if (value instanceof Undefined) {
            return 0;
        }
        throw new TemplateError("asks for the length of " + typeName(value));
    }

    /** The elements of what can be gone through. */
    @SuppressWarnings("unchecked") // all lists here are lists of objects
    static List<Object> elements(Object value, Budget budget) {
        if (value instanceof List) {
            return (List<Object>) value;
        }
        if (value instanceof Lazy) {
            return ((Lazy) value).take();
        }
        if (value instanceof Safe) {
            throw TemplateError.unsupported("the characters of a text marked as safe");
        }
        List<Object> items = new ArrayList<>();
        if (value instanceof Map) {
            items.addAll(((Map<?, ?>) value).keySet());
        } else if (value instanceof String) {
            String text = (String) value;
            for (int i = 0; i < text.length(); ) {
                int next = text.offsetByCodePoints(i, 1);
                items.add(text.substring(i, next));
                i = next;
            }
        } else if (!(value instanceof Undefined)) {
            throw new TemplateError("goes through " + typeName(value));
        }
        budget.charge(items.size());
        return items;
    }

    /** Whether {@link #elements} would work. */
    static boolean isIterable(Object value) {
        return value instanceof List || value instanceof Lazy || value instanceof Map
                || value instanceof String || value instanceof Undefined;
    }

    /** left == right. */
    static boolean equal(Object left, Object right, Budget budget) {
        budget.enter();
        boolean equal = compareEqual(plain(left), plain(right), budget);
        budget.leave();
        return equal;
    }

    private static boolean compareEqual(Object left, Object right, Budget budget) {
        if (isNumber(left) && isNumber(right)) {
            return compareNumbers(left, right) == 0 && !isNan(left) && !isNan(right);
        }
        if (left instanceof Undefined || right instanceof Undefined) {
            return left instanceof Undefined && right instanceof Undefined;
        }
        if (left instanceof List && right instanceof List) {
            return left instanceof Tuple == right instanceof Tuple
                    && equalLists((List<?>) left, (List<?>) right, budget);
        }
        if (left instanceof Map && right instanceof Map) {
            return equalMaps((Map<?, ?>) left, (Map<?, ?>) right, budget);
        }
        return Objects.equals(left, right);
    }

    private static Object plain(Object value) {
        return value instanceof Safe ? ((Safe) value).text : value;
    }

    private static boolean equalLists(List<?> left, List<?> right, Budget budget) {
        boolean equal = left.size() == right.size();
        for (int i = 0; equal && i < left.size(); i++) {
            equal = equal(left.get(i), right.get(i), budget);
        }
        return equal;
    }

    private static boolean equalMaps(Map<?, ?> left, Map<?, ?> right, Budget budget) {
        if (left.size() != right.size()) {
            return false;
        }
        for (Map.Entry<?, ?> entry : left.entrySet()) {
            if (!right.containsKey(entry.getKey())
                    || !equal(entry.getValue(), right.get(entry.getKey()), budget)) {
                return false;
            }
        }
        return true;
    }

    /** Negative, 0 or positive, as left is less than, equal to or greater than right. */
    static int order(Object left, Object right) {
        refuseUndefined(left, right);
        if (isNumber(left) && isNumber(right)) {
            if (isNan(left) || isNan(right)) {
                throw TemplateError.unsupported("the order of nan");
            }
            return compareNumbers(left, right);
        }
        if (left instanceof String && right instanceof String) {
            return compareTexts((String) left, (String) right);
        }
        if (left instanceof List && right instanceof List) {
            throw TemplateError.unsupported("the order of lists");
        }
        throw new TemplateError("orders " + typeName(left) + " and " + typeName(right));
    }

    /** By code points, not by the halves of surrogate pairs. */
    private static int compareTexts(String left, String right) {
        int end = Math.min(left.length(), right.length());
        for (int i = 0; i < end; i++) {
            char a = left.charAt(i);
            char b = right.charAt(i);
            if (a != b) {
                boolean mixed = Character.isSurrogate(a) != Character.isSurrogate(b);
                return mixed ? (Character.isSurrogate(a) ? 1 : -1) : a - b;
            }
        }
        return left.length() - right.length();
    }

    private static int compareNumbers(Object left, Object right) {
        if (left instanceof Double || right instanceof Double) {
            return Double.compare(Numbers.real(left) + 0.0, Numbers.real(right) + 0.0);
        }
        return Long.compare(Numbers.whole(left), Numbers.whole(right));
    }

    private static boolean isNan(Object value) {
        return value instanceof Double && ((Double) value).isNaN();
    }

    /** Whether Python counts it as a number, which bool is. */
    static boolean isNumber(Object value) {
        return value instanceof Number || value instanceof Boolean;
    }

    /** needle in haystack. */
    static boolean contains(Object haystack, Object needle, Budget budget) {
        if (haystack instanceof String) {
            if (!(needle instanceof String)) {
                throw new TemplateError("looks for " + typeName(needle) + " in a str");
            }
            budget.charge(((String) haystack).length());
            return ((String) haystack).contains((String) needle);
        }
        if (haystack instanceof Map) {
            return ((Map<?, ?>) haystack).containsKey(key(needle));
        }
        for (Object item : elements(haystack, budget)) {
            if (equal(item, needle, budget)) {
                return true;
            }
        }
        return false;
    }

    /** A value as the key of a dict. */
    static Object key(Object value) {
        if (value instanceof String || value instanceof Long) {
            return value;
        }
        throw TemplateError.unsupported(typeName(value) + " as the key of a dict");
    }

    /** Ends with an error where one of the values is undefined. */
    static void refuseUndefined(Object left, Object right) {
        if (left instanceof Undefined) {
            throw ((Undefined) left).error();
        }
        if (right instanceof Undefined) {
            throw ((Undefined) right).error();
        }
    }
}

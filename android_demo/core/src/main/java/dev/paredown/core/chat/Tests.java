package dev.paredown.core.chat;

import java.util.List;
import java.util.Map;

/** Jinja's tests: what follows {@code is}. */
final class Tests {
    private static final String KNOWN =
            " defined undefined none string mapping sequence iterable number integer float boolean "
                    + "true false odd even divisibleby in eq equalto ne lt lessthan le gt "
                    + "greaterthan ge ";

    private Tests() {}

    /** Whether there is a test of this name. */
    static boolean isKnown(String name) {
        return KNOWN.contains(" " + name + " ");
    }

    /** Whether a value passes a test. */
    static boolean holds(String name, Object value, Arguments given, Budget budget) {
        String operator = operator(name);
        if (operator != null) {
            return Expressions.Compared.holds(operator, value, given.check(1, "b").get(0), budget);
        }
        if (name.equals("divisibleby")) {
            Object other = given.check(1, "num").get(0);
            return Values.equal(Numbers.apply("%", value, other, budget), 0L, budget);
        }
        given.check(0);
        switch (name) {
            case "odd":
            case "even":
                Object rest = Numbers.apply("%", value, 2L, budget);
                return Values.equal(rest, name.equals("odd") ? 1L : 0L, budget);
            case "number":
                return Values.isNumber(value);
            case "sequence":
                return value instanceof String || value instanceof List || value instanceof Map
                        || value instanceof Undefined;
            case "iterable":
                return Values.isIterable(value);
            default:
                return isOfType(name, value);
        }
    }

    private static boolean isOfType(String name, Object value) {
        switch (name) {
            case "defined":
                return !(value instanceof Undefined);
            case "undefined":
                return value instanceof Undefined;
            case "none":
                return value == null;
            case "string":
                return value instanceof String || value instanceof Safe;
            case "mapping":
                return value instanceof Map;
            case "integer":
                return value instanceof Long;
            case "float":
                return value instanceof Double;
            case "boolean":
                return value instanceof Boolean;
            default:
                return value instanceof Boolean && (Boolean) value == name.equals("true");
        }
    }

    /** The operator that a test stands for, or null. */
    private static String operator(String name) {
        switch (name) {
            case "in":
                return "in";
            case "eq":
            case "equalto":
                return "==";
            case "ne":
                return "!=";
            case "lt":
            case "lessthan":
                return "<";
            case "le":
                return "<=";
            case "gt":
            case "greaterthan":
                return ">";
            case "ge":
                return ">=";
            default:
                return null;
        }
    }
}

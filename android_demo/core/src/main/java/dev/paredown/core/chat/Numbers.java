package dev.paredown.core.chat;

import java.util.ArrayList;
import java.util.List;

/** Python's arithmetic, and + and * of texts and lists. */
final class Numbers {
    private Numbers() {}

    /** The value of an operator. */
    static Object apply(String operator, Object left, Object right, Budget budget) {
        Values.refuseUndefined(left, right);
        if (left instanceof Safe || right instanceof Safe) {
            throw TemplateError.unsupported(operator + " of a text marked as safe");
        }
        if (Values.isNumber(left) && Values.isNumber(right)) {
            boolean reals = left instanceof Double || right instanceof Double;
            return reals || operator.equals("/")
                    ? (Object) reals(operator, real(left), real(right))
                    : wholes(operator, whole(left), whole(right));
        }
        if (operator.equals("+")) {
            return concatenate(left, right, budget);
        }
        if (operator.equals("*") && isWhole(left)) {
            return repeat(right, whole(left), budget);
        }
        if (operator.equals("*") && isWhole(right)) {
            return repeat(left, whole(right), budget);
        }
        if (operator.equals("%") && left instanceof String) {
            throw TemplateError.unsupported("the formatting of texts by %");
        }
        throw wrong(operator, left, right);
    }

    private static boolean isWhole(Object value) {
        return value instanceof Long || value instanceof Boolean;
    }

    private static TemplateError wrong(String operator, Object left, Object right) {
        String types = Values.typeName(left) + " and " + Values.typeName(right);
        return new TemplateError("applies " + operator + " to " + types);
    }

    /** A number as a float. */
    static double real(Object value) {
        return value instanceof Boolean ? whole(value) : ((Number) value).doubleValue();
    }

    /** An int or bool as an int. */
    static long whole(Object value) {
        if (value instanceof Boolean) {
            return (Boolean) value ? 1 : 0;
        }
        return (Long) value;
    }

    private static double reals(String operator, double left, double right) {
        if (right == 0 && "/ // %".contains(operator)) {
            throw new TemplateError("divides by zero");
        }
        switch (operator) {
            case "+":
                return left + right;
            case "-":
                return left - right;
            case "*":
                return left * right;
            case "/":
                return left / right;
            case "**":
                return Math.pow(left, right);
            case "%":
                return remainder(left, right);
            default:
                return Math.rint((left - remainder(left, right)) / right);
        }
    }

    /** With the sign of the divisor. */
    private static double remainder(double left, double right) {
        double rest = left % right;
        if (rest == 0) {
            return Math.copySign(0, right);
        }
        return rest < 0 != right < 0 ? rest + right : rest;
    }

    private static Object wholes(String operator, long left, long right) {
        if (right == 0 && (operator.equals("//") || operator.equals("%"))) {
            throw new TemplateError("divides by zero");
        }
        try {
            switch (operator) {
                case "+":
                    return Math.addExact(left, right);
                case "-":
                    return Math.subtractExact(left, right);
                case "*":
                    return Math.multiplyExact(left, right);
                case "//":
                    return Math.floorDiv(left, right);
                case "%":
                    return Math.floorMod(left, right);
                default:
                    return power(left, right);
            }
        } catch (ArithmeticException overflow) {
            throw TemplateError.unsupported("a number beyond 64 bits");
        }
    }

    private static Object power(long base, long exponent) {
        if (exponent < 0) {
            return Math.pow(base, exponent);
        }
        long result = 1;
        long square = base;
        for (long left = exponent; left > 0; left >>= 1) {
            result = (left & 1) == 1 ? Math.multiplyExact(result, square) : result;
            square = left > 1 ? Math.multiplyExact(square, square) : square;
        }
        return result;
    }

    private static Object concatenate(Object left, Object right, Budget budget) {
        if (left instanceof String && right instanceof String) {
            budget.charge(((String) left).length() + ((String) right).length());
            return (String) left + right;
        }
        boolean tuples = left instanceof Tuple;
        if (left instanceof List && right instanceof List && tuples == right instanceof Tuple) {
            List<Object> joined = new ArrayList<>((List<?>) left);
            joined.addAll((List<?>) right);
            budget.charge(joined.size());
            return tuples ? new Tuple(joined) : joined;
        }
        throw wrong("+", left, right);
    }

    private static Object repeat(Object value, long times, Budget budget) {
        if (value instanceof String) {
            String text = (String) value;
            long count = text.isEmpty() ? 0 : Math.max(times, 0);
            budget.charge(product(text.length(), count));
            StringBuilder out = new StringBuilder();
            for (long i = 0; i < count; i++) {
                out.append(text);
            }
            return out.toString();
        }
        if (value instanceof List) {
            List<?> list = (List<?>) value;
            long count = list.isEmpty() ? 0 : Math.max(times, 0);
            budget.charge(product(list.size(), count));
            List<Object> out = new ArrayList<>();
            for (long i = 0; i < count; i++) {
                out.addAll(list);
            }
            return value instanceof Tuple ? new Tuple(out) : out;
        }
        throw wrong("*", value, times);
    }

    private static long product(long size, long count) {
        return count > Budget.MOST ? Budget.MOST + 1 : size * count;
    }
}

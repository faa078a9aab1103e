package dev.paredown.core.chat;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The kinds of expressions. */
final class Expressions {
    private Expressions() {}

    /** A literal. */
    static final class Constant extends Expression {
        private final Object value;

        Constant(int offset, Object value) {
            super(offset);
            this.value = value;
        }

        @Override
        Object eval(Renderer renderer) {
            return value;
        }
    }

    /** A variable. */
    static final class Name extends Expression {
        final String name;

        Name(int offset, String name) {
            super(offset);
            this.name = name;
        }

        @Override
        Object eval(Renderer renderer) {
            return renderer.scope().get(name);
        }
    }

    /** [a, b] or (a, b). */
    static final class Items extends Expression {
        final List<Expression> items;
        private final boolean isTuple;

        Items(int offset, List<Expression> items, boolean isTuple) {
            super(offset);
            this.items = items;
            this.isTuple = isTuple;
        }

        @Override
        Object eval(Renderer renderer) {
            List<Object> values = values(items, renderer);
            return isTuple ? new Tuple(values) : values;
        }
    }

    /** {a: b}. */
    static final class Dict extends Expression {
        private final List<Expression> keys;
        private final List<Expression> values;

        Dict(int offset, List<Expression> keys, List<Expression> values) {
            super(offset);
            this.keys = keys;
            this.values = values;
        }

        @Override
        Object eval(Renderer renderer) {
            Map<Object, Object> map = new LinkedHashMap<>();
            for (int i = 0; i < keys.size(); i++) {
                map.put(Values.key(keys.get(i).value(renderer)), values.get(i).value(renderer));
            }
            return map;
        }
    }

    /** a if b else c. */
    static final class Conditional extends Expression {
        private final Expression condition;
        private final Expression then;
        private final Expression otherwise;

        /** @param otherwise may be null */
        Conditional(int offset, Expression condition, Expression then, Expression otherwise) {
            super(offset);
            this.condition = condition;
            this.then = then;
            this.otherwise = otherwise;
        }

        @Override
        Object eval(Renderer renderer) {
            if (Values.truth(condition.value(renderer))) {
                return then.value(renderer);
            }
            return otherwise == null
                    ? new Undefined("an inline if without else was false")
                    : otherwise.value(renderer);
        }
    }

    /** a and b, a or b. */
    static final class Both extends Expression {
        private final boolean isAnd;
        private final Expression left;
        private final Expression right;

        Both(int offset, boolean isAnd, Expression left, Expression right) {
            super(offset);
            this.isAnd = isAnd;
            this.left = left;
            this.right = right;
        }

        @Override
        Object eval(Renderer renderer) {
            Object value = left.value(renderer);
            return Values.truth(value) == isAnd ? right.value(renderer) : value;
        }
    }

    /** not a, -a, +a. */
    static final class Unary extends Expression {
        private final String operator;
        private final Expression operand;

        Unary(int offset, String operator, Expression operand) {
            super(offset);
            this.operator = operator;
            this.operand = operand;
        }

        @Override
        Object eval(Renderer renderer) {
            Object value = operand.value(renderer);
            if (operator.equals("not")) {
                return !Values.truth(value);
            }
            boolean negates = operator.equals("-");
            if (value instanceof Double) {
                return negates ? -(Double) value : value;
            }
            return Numbers.apply(negates ? "-" : "+", 0L, value, renderer.budget);
        }
    }

    /** Arithmetic. */
    static final class Binary extends Expression {
        private final String operator;
        private final Expression left;
        private final Expression right;

        Binary(int offset, String operator, Expression left, Expression right) {
            super(offset);
            this.operator = operator;
            this.left = left;
            this.right = right;
        }

        @Override
        Object eval(Renderer renderer) {
            Object first = left.value(renderer);
            return Numbers.apply(operator, first, right.value(renderer), renderer.budget);
        }
    }

    /** a ~ b: as texts. */
    static final class Joined extends Expression {
        private final List<Expression> parts;

        Joined(int offset, List<Expression> parts) {
            super(offset);
            this.parts = parts;
        }

        @Override
        Object eval(Renderer renderer) {
            StringBuilder out = new StringBuilder();
            for (Expression part : parts) {
                out.append(PyText.str(part.value(renderer), renderer.budget));
            }
            renderer.budget.charge(out.length());
            return out.toString();
        }
    }

    /** a < b <= c, a in b. */
    static final class Compared extends Expression {
        private final Expression first;
        private final List<String> operators;
        private final List<Expression> others;

        Compared(int offset, Expression first, List<String> operators, List<Expression> others) {
            super(offset);
            this.first = first;
            this.operators = operators;
            this.others = others;
        }

        @Override
        Object eval(Renderer renderer) {
            Object left = first.value(renderer);
            for (int i = 0; i < others.size(); i++) {
                Object right = others.get(i).value(renderer);
                if (!holds(operators.get(i), left, right, renderer.budget)) {
                    return false;
                }
                left = right;
            }
            return true;
        }

        /** Whether a comparison is true. */
        static boolean holds(String operator, Object left, Object right, Budget budget) {
            switch (operator) {
                case "==":
                    return Values.equal(left, right, budget);
                case "!=":
                    return !Values.equal(left, right, budget);
                case "in":
                    return Values.contains(right, left, budget);
                case "not in":
                    return !Values.contains(right, left, budget);
                case "<":
                    return Values.order(left, right) < 0;
                case "<=":
                    return Values.order(left, right) <= 0;
                case ">":
                    return Values.order(left, right) > 0;
                default:
                    return Values.order(left, right) >= 0;
            }
        }
    }

    /** a.b: a method or attribute, else an element. */
    static final class Attribute extends Expression {
        final Expression object;
        final String name;

        Attribute(int offset, Expression object, String name) {
            super(offset);
            this.object = object;
            this.name = name;
        }

        @Override
        Object eval(Renderer renderer) {
            return Elements.attribute(object.value(renderer), name);
        }
    }

    /** a[b]: an element, else a method or attribute. */
    static final class Element extends Expression {
        private final Expression object;
        private final Expression index;

        Element(int offset, Expression object, Expression index) {
            super(offset);
            this.object = object;
            this.index = index;
        }

        @Override
        Object eval(Renderer renderer) {
            Object owner = object.value(renderer);
            return Elements.element(owner, index.value(renderer));
        }
    }

    /** a[b:c:d]. */
    static final class Slice extends Expression {
        private final Expression object;
        private final Expression[] bounds;

        /** @param bounds start, stop and step, each null where it is not given */
        Slice(int offset, Expression object, Expression[] bounds) {
            super(offset);
            this.object = object;
            this.bounds = bounds;
        }

        @Override
        Object eval(Renderer renderer) {
            Object owner = object.value(renderer);
            Object[] values = new Object[bounds.length];
            for (int i = 0; i < bounds.length; i++) {
                values[i] = bounds[i] == null ? null : bounds[i].value(renderer);
            }
            return Elements.slice(owner, values, renderer.budget);
        }
    }

    /** a(b, c=d). */
    static final class Call extends Expression {
        private final Expression callee;
        private final ArgumentList arguments;

        Call(int offset, Expression callee, ArgumentList arguments) {
            super(offset);
            this.callee = callee;
            this.arguments = arguments;
        }

        @Override
        Object eval(Renderer renderer) {
            Object function = callee.value(renderer);
            if (function instanceof Undefined) {
                throw ((Undefined) function).error();
            }
            if (!(function instanceof Function)) {
                throw new TemplateError("calls " + Values.typeName(function));
            }
            Arguments given = arguments.values(name(), renderer);
            return ((Function) function).call(given, renderer);
        }

        private String name() {
            if (callee instanceof Attribute) {
                return ((Attribute) callee).name;
            }
            return callee instanceof Name ? ((Name) callee).name : "a function";
        }
    }

    /** a | b(c). */
    static final class Filtered extends Expression {
        private final Expression object;
        private final String name;
        private final ArgumentList arguments;

        Filtered(int offset, Expression object, String name, ArgumentList arguments) {
            super(offset);
            this.object = object;
            this.name = name;
            this.arguments = arguments;
        }

        @Override
        Object eval(Renderer renderer) {
            Object value = object.value(renderer);
            return Filters.apply(name, value, arguments.values(name, renderer), renderer);
        }
    }

    /** a is b(c). */
    static final class Tested extends Expression {
        private final Expression object;
        private final String name;
        private final ArgumentList arguments;

        Tested(int offset, Expression object, String name, ArgumentList arguments) {
            super(offset);
            this.object = object;
            this.name = name;
            this.arguments = arguments;
        }

        @Override
        Object eval(Renderer renderer) {
            Object value = object.value(renderer);
            return Tests.holds(name, value, arguments.values(name, renderer), renderer.budget);
        }
    }

    /** What stands between the parentheses of a call. */
    static final class ArgumentList {
        final List<Expression> values = new ArrayList<>();
        final Map<String, Expression> named = new LinkedHashMap<>();

        Arguments values(String callee, Renderer renderer) {
            Map<String, Object> byName = new LinkedHashMap<>();
            List<Object> byPlace = Expressions.values(values, renderer);
            for (Map.Entry<String, Expression> entry : named.entrySet()) {
                byName.put(entry.getKey(), entry.getValue().value(renderer));
            }
            return new Arguments(callee, byPlace, byName);
        }
    }

    private static List<Object> values(List<Expression> expressions, Renderer renderer) {
        List<Object> values = new ArrayList<>();
        for (Expression expression : expressions) {
            values.add(expression.value(renderer));
        }
        return values;
    }
}

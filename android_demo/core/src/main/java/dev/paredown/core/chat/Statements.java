package dev.paredown.core.chat;

import java.util.ArrayList;
import java.util.List;

/** The kinds of statements. */
final class Statements {
    private Statements() {}

    /** Text between tags. */
    static final class Data extends Statement {
        private final String text;

        Data(int offset, String text) {
            super(offset);
            this.text = text;
        }

        @Override
        void run(Renderer renderer) {
            renderer.write(text);
        }
    }

    /** {{ a }}. */
    static final class Output extends Statement {
        private final Expression expression;

        Output(int offset, Expression expression) {
            super(offset);
            this.expression = expression;
        }

        @Override
        void run(Renderer renderer) {
            renderer.write(PyText.str(expression.value(renderer), renderer.budget));
        }
    }

    /** {% if %} with its elif and else. */
    static final class If extends Statement {
        private final List<Expression> conditions = new ArrayList<>();
        private final List<List<Statement>> bodies = new ArrayList<>();

        If(int offset) {
            super(offset);
        }

        /** @param condition null for else */
        void add(Expression condition, List<Statement> body) {
            conditions.add(condition);
            bodies.add(body);
        }

        @Override
        void run(Renderer renderer) {
            for (int i = 0; i < bodies.size(); i++) {
                Expression condition = conditions.get(i);
                if (condition == null || Values.truth(condition.value(renderer))) {
                    renderer.run(bodies.get(i));
                    return;
                }
            }
        }
    }

    /** {% for %}. */
    static final class For extends Statement {
        private final Target target;
        private final Expression iterable;
        private final Expression filter;
        private final List<Statement> body;
        private final List<Statement> otherwise;

        /** @param filter null where there is no if */
        For(int offset, Target target, Expression iterable, Expression filter,
                List<Statement> body, List<Statement> otherwise) {
            super(offset);
            this.target = target;
            this.iterable = iterable;
            this.filter = filter;
            this.body = body;
            this.otherwise = otherwise;
        }

        @Override
        void run(Renderer renderer) {
            List<Object> items = items(renderer);
            if (items.isEmpty()) {
                renderer.runIn(new Scope(renderer.scope()), otherwise);
                return;
            }
            Loop loop = new Loop(items);
            for (int i = 0; i < items.size(); i++) {
                loop.moveTo(i);
                Scope inner = new Scope(renderer.scope());
                inner.set("loop", loop);
                target.assign(items.get(i), inner, renderer.budget);
                try {
                    renderer.runIn(inner, body);
                } catch (Flow flow) {
                    if (flow == Flow.BREAK) {
                        return;
                    }
                }
            }
        }

        private List<Object> items(Renderer renderer) {
            List<Object> all = Values.elements(iterable.value(renderer), renderer.budget);
            if (filter == null) {
                return new ArrayList<>(all);
            }
            List<Object> kept = new ArrayList<>();
            for (Object item : all) {
                Scope inner = new Scope(renderer.scope());
                target.assign(item, inner, renderer.budget);
                if (Values.truth(renderer.valueIn(inner, filter))) {
                    kept.add(item);
                }
            }
            return kept;
        }
    }

    /** {% set a = b %}. */
    static final class Assign extends Statement {
        private final Target target;
        private final Expression value;

        Assign(int offset, Target target, Expression value) {
            super(offset);
            this.target = target;
            this.value = value;
        }

        @Override
        void run(Renderer renderer) {
            target.assign(value.value(renderer), renderer.scope(), renderer.budget);
        }
    }

    /** {% set a %}...{% endset %}. */
    static final class Capture extends Statement {
        private final Target target;
        private final List<Statement> body;

        Capture(int offset, Target target, List<Statement> body) {
            super(offset);
            this.target = target;
            this.body = body;
        }

        @Override
        void run(Renderer renderer) {
            String text = renderer.capture(new Scope(renderer.scope()), body);
            target.assign(text, renderer.scope(), renderer.budget);
        }
    }

    /** {% generation %}: marks the model's words for training; here it only has its own names. */
    static final class Generation extends Statement {
        private final List<Statement> body;

        Generation(int offset, List<Statement> body) {
            super(offset);
            this.body = body;
        }

        @Override
        void run(Renderer renderer) {
            renderer.runIn(new Scope(renderer.scope()), body);
        }
    }

    /** {% break %} and {% continue %}. */
    static final class Leave extends Statement {
        private final Flow flow;

        Leave(int offset, Flow flow) {
            super(offset);
            this.flow = flow;
        }

        @Override
        void run(Renderer renderer) {
            throw flow;
        }
    }

    /** {% macro a(b, c=d) %}. */
    static final class Macro extends Statement {
        private final String name;
        private final List<String> parameters;
        private final List<Expression> defaults;
        private final List<Statement> body;

        /** @param defaults by place, null where a parameter has none */
        Macro(int offset, String name, List<String> parameters, List<Expression> defaults,
                List<Statement> body) {
            super(offset);
            this.name = name;
            this.parameters = parameters;
            this.defaults = defaults;
            this.body = body;
        }

        @Override
        void run(Renderer renderer) {
            Scope home = renderer.scope();
            renderer.scope().set(name, (Function) (given, caller) -> call(given, caller, home));
        }

        private Object call(Arguments given, Renderer renderer, Scope home) {
            given.check(0, parameters.toArray(new String[0]));
            Scope inner = new Scope(home);
            for (int i = 0; i < parameters.size(); i++) {
                String parameter = parameters.get(i);
                Object value = given.get(i, parameter, this);
                if (value == this) {
                    Expression otherwise = defaults.get(i);
                    value = otherwise == null
                            ? new Undefined("parameter '" + parameter + "' was not provided")
                            : otherwise.value(renderer);
                }
                inner.set(parameter, value);
            }
            return renderer.capture(inner, body);
        }
    }
}

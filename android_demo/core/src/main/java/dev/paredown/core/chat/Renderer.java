package dev.paredown.core.chat;

import java.util.List;

/** The state of one rendering. */
final class Renderer {
    final Budget budget = new Budget();

    private Scope scope;
    private StringBuilder out = new StringBuilder();

    Renderer(Scope scope) {
        this.scope = scope;
    }

    Scope scope() {
        return scope;
    }

    /** Put out text. */
    void write(String text) {
        budget.charge(text.length());
        out.append(text);
    }

    /** Run statements one after the other. */
    void run(List<Statement> body) {
        for (Statement statement : body) {
            budget.charge(1);
            try {
                statement.run(this);
            } catch (TemplateError error) {
                throw error.at(statement.offset);
            }
        }
    }

    /** As {@link #run} with names of its own. */
    void runIn(Scope inner, List<Statement> body) {
        Scope before = scope;
        scope = inner;
        budget.enter();
        try {
            run(body);
        } finally {
            budget.leave();
            scope = before;
        }
    }

    /** As {@link #runIn}; what it puts out is the result. */
    String capture(Scope inner, List<Statement> body) {
        StringBuilder before = out;
        out = new StringBuilder();
        try {
            runIn(inner, body);
            return out.toString();
        } finally {
            out = before;
        }
    }

    /** The value of an expression with names of its own. */
    Object valueIn(Scope inner, Expression expression) {
        Scope before = scope;
        scope = inner;
        try {
            return expression.value(this);
        } finally {
            scope = before;
        }
    }

    String text() {
        return out.toString();
    }
}

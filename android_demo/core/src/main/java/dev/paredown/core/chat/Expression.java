package dev.paredown.core.chat;

/** A part of a template that has a value. */
abstract class Expression {
    /** Where it is in the source. */
    final int offset;

    Expression(int offset) {
        this.offset = offset;
    }

    /** The value: see {@link PyText} for the Java classes of Python's types. */
    abstract Object eval(Renderer renderer);

    /** As {@link #eval}, counted, and errors get this place. */
    final Object value(Renderer renderer) {
        renderer.budget.charge(1);
        try {
            return eval(renderer);
        } catch (TemplateError error) {
            throw error.at(offset);
        }
    }
}

package dev.paredown.core.chat;

/** A part of a template that does something. */
abstract class Statement {
    /** Where it is in the source. */
    final int offset;

    Statement(int offset) {
        this.offset = offset;
    }

    abstract void run(Renderer renderer);
}

package dev.paredown.core.chat;

/** Something that a template can call. */
interface Function {
    /** The value of a call. */
    Object call(Arguments arguments, Renderer renderer);
}

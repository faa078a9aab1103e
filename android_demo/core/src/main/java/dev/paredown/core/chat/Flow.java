package dev.paredown.core.chat;

/** How {@code break} and {@code continue} leave the body of a loop. */
final class Flow extends RuntimeException {
    /** Leaves the loop. */
    static final Flow BREAK = new Flow();

    /** Goes on with the next element. */
    static final Flow CONTINUE = new Flow();

    private static final long serialVersionUID = 1L;

    private Flow() {
        super(null, null, false, false);
    }
}

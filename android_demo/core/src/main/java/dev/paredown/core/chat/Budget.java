package dev.paredown.core.chat;

/** What a template may use up: a hostile one must not hang the phone. */
final class Budget {
    /** Steps and characters: far more than any conversation needs, seconds of work. */
    static final long MOST = 5_000_000;

    /** Lists, maps, macros and expressions within each other. */
    static final int MOST_DEPTH = 60;

    private long left = MOST;
    private int depth;

    /**
     * Use up some.
     *
     * @param amount steps taken or characters and elements made, at least 0
     */
    void charge(long amount) {
        left -= amount;
        if (left < 0) {
            throw new TemplateError("runs too long or makes too much text");
        }
    }

    /** Go one level deeper. */
    void enter() {
        charge(1);
        if (++depth > MOST_DEPTH) {
            throw new TemplateError("nests deeper than " + MOST_DEPTH + " levels");
        }
    }

    /** Come back from {@link #enter}. */
    void leave() {
        depth--;
    }
}

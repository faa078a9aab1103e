package dev.paredown.core;

/** What time it is; a test gives its own. */
public interface Clock {
    /** Nanoseconds of a clock that never goes back; its zero means nothing. */
    long monotonicNs();

    /** Nanoseconds since 1970, UTC; this one may be set while a launch runs. */
    long wallNs();
}

package dev.paredown.core;

/** What a run tells while it works, on the working thread. */
public interface Events {
    /** A repetition is over; {@code total} is 0 where the time decides. */
    void repetition(int done, int total);

    /** A piece of the answer in a chat. */
    void text(String piece);
}

package dev.paredown.core;

/** Text of tokens that come one by one; never half a character. */
public interface TextStream {
    /** Append a token; the text that became certain, perhaps none. */
    String push(int id);

    /** What is still held back. */
    String finish();
}

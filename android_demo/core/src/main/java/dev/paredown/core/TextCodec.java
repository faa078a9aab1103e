package dev.paredown.core;

/** A bundle's tokenizer and chat template. */
public interface TextCodec {
    /**
     * Token ids of a first question: through the chat template where the bundle has one, else the
     * plain text with the special tokens that the tokenizer puts around it.
     *
     * @throws ParedownException the template or the text cannot be handled
     */
    int[] promptIds(String text);

    /** The text of an answer, special tokens left out; its first token follows the prompt. */
    TextStream stream(int[] promptIds);
}

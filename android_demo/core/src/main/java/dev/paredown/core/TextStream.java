package dev.paredown.core;

import java.util.Arrays;

/**
 * Turns a stream of token ids into text that never splits a character.
 *
 * <p>Byte-level tokenizers spread one character over several tokens; the decoder then ends in
 * U+FFFD, and the text is held back until the character is whole. Each piece is decoded after a few
 * earlier tokens, because many decoders treat the first token of a text differently.
 */
public final class TextStream {
    private static final int CONTEXT_TOKENS = 8;
    private static final char REPLACEMENT = '\ufffd';

    private final TextCodec codec;
    private int[] pending;
    private int shown;

    /** @param promptIds what precedes the stream */
    public TextStream(TextCodec codec, int[] promptIds) {
        this.codec = codec;
        int from = Math.max(0, promptIds.length - CONTEXT_TOKENS);
        this.pending = Arrays.copyOfRange(promptIds, from, promptIds.length);
        this.shown = pending.length;
    }

    /** Append a token; the text that became certain, perhaps none. */
    public String push(int tokenId) {
        pending = Arrays.copyOf(pending, pending.length + 1);
        pending[pending.length - 1] = tokenId;
        String text = newText();
        if (text.isEmpty() || text.charAt(text.length() - 1) == REPLACEMENT) {
            return "";
        }
        pending = Arrays.copyOfRange(pending, shown, pending.length);
        shown = pending.length;
        return text;
    }

    /** What is still held back, as the decoder renders it. */
    public String flush() {
        String text = newText();
        shown = pending.length;
        return text;
    }

    private String newText() {
        String before = codec.decode(Arrays.copyOf(pending, shown));
        String all = codec.decode(pending);
        return all.substring(Math.min(before.length(), all.length()));
    }
}

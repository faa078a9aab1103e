package dev.paredown.core.tokenizer;

import dev.paredown.core.TextStream;

/**
 * Text of tokens that come one by one: never half a character, and all pieces together are what
 * {@link Tokenizer#decode} says of all tokens (but see {@link Stage.ByteFallback} for bytes that are
 * no UTF-8).
 */
public final class TokenStream implements TextStream {
    private final Tokenizer tokenizer;
    private final Stage.Collector collector = new Stage.Collector();
    private final Stage stage;

    /** @param promptIds what precedes the stream */
    TokenStream(Tokenizer tokenizer, int[] promptIds) {
        this.tokenizer = tokenizer;
        stage = tokenizer.openStream(collector);
        for (int id : promptIds) {
            tokenizer.take(id, true, stage);
        }
        collector.drain();
    }

    @Override
    public String push(int id) {
        tokenizer.take(id, true, stage);
        return collector.drain();
    }

    /** What is still held back: U+FFFD for a character that was never finished. */
    @Override
    public String finish() {
        stage.finish();
        return collector.drain();
    }
}

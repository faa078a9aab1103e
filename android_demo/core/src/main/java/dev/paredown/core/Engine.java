package dev.paredown.core;

import java.util.Map;

/**
 * A loaded decoder with a KV cache, batch 1, used by one thread at a time.
 *
 * <p>Logits are before softmax, one float per entry of the vocabulary. An array that a call returns
 * belongs to the engine and holds until its next call.
 */
public interface Engine extends AutoCloseable {
    /** The runtime: {@code onnxruntime-java} or {@code executorch-java}. */
    String name();

    /** Version of every library that takes part, by name. */
    Map<String, String> versions();

    /** Tokens in the KV cache. */
    int position();

    /**
     * Append tokens at the current position; prompts longer than the model takes run in chunks.
     *
     * @param ids at least one token
     * @return logits after the last of them
     * @throws ParedownException no tokens, one outside of the vocabulary, no room for them, or a
     *     model that the runtime cannot run
     */
    float[] prefill(int[] ids);

    /**
     * Append one token.
     *
     * @return logits after it
     * @throws ParedownException as {@link #prefill}
     */
    float[] step(int id);

    /** Empty the KV cache. */
    void reset();

    /** Give the model's memory back; the engine cannot be used afterwards. */
    @Override
    void close();
}

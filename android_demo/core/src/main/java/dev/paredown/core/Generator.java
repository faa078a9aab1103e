package dev.paredown.core;

/** Greedy generation over any engine, plain and with a clock. */
public final class Generator {
    /** What happens after each token of a plain generation. */
    public interface OnToken {
        /**
         * @param tokenId the token
         * @param atNs when it was chosen, from the start of the prompt
         * @return false to stop here
         */
        boolean token(int tokenId, long atNs);
    }

    /** What happens between two tokens of a timed repetition. */
    interface AfterToken {
        /**
         * @param nowNs time stamp of the token
         * @return the stamp from which the next token's time counts
         */
        long after(long nowNs);
    }

    private final Clock clock;
    private final Cancellation cancel;

    /** @param cancel looked at before each token */
    public Generator(Clock clock, Cancellation cancel) {
        this.clock = clock;
        this.cancel = cancel;
    }

    /**
     * The greedy continuation of a prompt, from an empty KV cache.
     *
     * @param maxNewTokens most tokens; fewer where one of the manifest's end tokens, which is told
     *     too, comes first
     * @throws ParedownException prompt and continuation do not fit the context, or cancelled
     */
    public void generate(
            Engine engine, Manifest manifest, int[] promptIds, int maxNewTokens, OnToken onToken) {
        requireDecoder(manifest);
        requireContext(manifest.contextLength, promptIds.length, maxNewTokens);
        cancel.check();
        engine.reset();
        long start = clock.monotonicNs();
        float[] row = engine.prefill(promptIds);
        for (int count = 1; count <= maxNewTokens; count++) {
            int token = argmax(row);
            boolean goesOn = onToken.token(token, clock.monotonicNs() - start);
            if (!goesOn || manifest.isEos(token) || count == maxNewTokens) {
                return;
            }
            cancel.check();
            row = engine.step(token);
        }
    }

    /**
     * One repetition: the prompt from an empty or filled cache, then greedy decode steps. End
     * tokens are ignored. A token's time is from the stamp after the one before to its own: engine,
     * choice of the token and one reading of the clock.
     */
    Sample timed(Engine engine, Workload work, int steps, long originNs, AfterToken between) {
        engine.reset();
        if (work.depthIds.length > 0) {
            engine.prefill(work.depthIds);
        }
        cancel.check();
        long start = clock.monotonicNs();
        float[] row = engine.prefill(work.promptIds);
        long prefilled = clock.monotonicNs();
        int token = argmax(row);
        long first = clock.monotonicNs();
        long last = first;
        long[] tokenNs = new long[steps];
        for (int i = 0; i < steps; i++) {
            cancel.check();
            token = argmax(engine.step(token));
            long now = clock.monotonicNs();
            tokenNs[i] = now - last;
            last = between == null ? now : between.after(now);
        }
        return new Sample(prefilled - start, first - start, tokenNs, start - originNs);
    }

    /** Index of the first largest value. */
    public static int argmax(float[] row) {
        int best = 0;
        for (int i = 1; i < row.length; i++) {
            if (row[i] > row[best]) {
                best = i;
            }
        }
        return best;
    }

    /**
     * Refuse tokens that cannot be appended at {@code position}; for engines.
     *
     * @throws ParedownException no tokens, one outside of the vocabulary, or no room for them
     */
    public static void checkTokens(int[] ids, int position, Manifest manifest) {
        if (ids.length == 0) {
            throw ParedownException.badRequest("there are no tokens to run", "give at least one");
        }
        for (int id : ids) {
            if (id < 0 || id >= manifest.vocabSize) {
                throw ParedownException.badRequest(
                        "token " + id + " is not in the vocabulary of " + manifest.vocabSize, "");
            }
        }
        long total = (long) position + ids.length;
        if (total > manifest.contextLength) {
            throw ParedownException.badRequest(
                    total + " tokens do not fit the context of " + manifest.contextLength,
                    "use a shorter prompt, fewer new tokens, or export with a larger --context");
        }
    }

    /**
     * Refuse a prompt and new tokens that together exceed the context.
     *
     * @throws ParedownException naming the three numbers
     */
    static void requireContext(int contextLength, long promptTokens, long newTokens) {
        if (promptTokens + newTokens > contextLength) {
            String tokens = promptTokens + " prompt tokens and " + newTokens + " new ones";
            throw ParedownException.badRequest(
                    tokens + " exceed the context of " + contextLength,
                    "ask for fewer tokens or export with a larger --context");
        }
    }

    /**
     * Refuse the bundle of an encoder, which generates nothing.
     *
     * @throws ParedownException it is one
     */
    static void requireDecoder(Manifest manifest) {
        if (!manifest.kind.equals("decoder")) {
            throw ParedownException.badRequest(
                    manifest.name + " is an " + manifest.kind + ", which generates no text",
                    "use the bundle of a language model");
        }
    }
}

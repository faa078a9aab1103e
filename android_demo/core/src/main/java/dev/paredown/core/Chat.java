package dev.paredown.core;

/** One question to a bundle, its answer in pieces. */
public final class Chat {
    /** What happens after each token, on the working thread. */
    public interface Listener {
        /**
         * @param piece text that became certain, perhaps none
         * @param generatedTokens so far, this one included
         * @param atNs when the token was chosen, from the start of the prompt
         */
        void token(String piece, int generatedTokens, long atNs);
    }

    private static final double NS_PER_MS = 1e6;

    private final Generator generator;

    /** @param cancel looked at before each token */
    public Chat(Clock clock, Cancellation cancel) {
        this.generator = new Generator(clock, cancel);
    }

    /**
     * Answer a prompt.
     *
     * @param promptIds of {@link TextCodec#promptIds}
     * @param maxNewTokens most tokens, fewer where the context is full
     * @throws ParedownException the prompt alone fills the context, or cancelled
     */
    public ChatAnswer answer(
            Engine engine,
            Manifest manifest,
            TextCodec codec,
            int[] promptIds,
            int maxNewTokens,
            Listener listener) {
        int room = manifest.contextLength - promptIds.length;
        if (room < 1) {
            throw ParedownException.badRequest(
                    "the prompt has " + promptIds.length + " tokens, the context holds "
                            + manifest.contextLength,
                    "say less, start anew, or export with a larger --context");
        }
        Collector collector = new Collector(manifest, codec.stream(promptIds), listener);
        generator.generate(
                engine, manifest, promptIds, Math.min(maxNewTokens, room), collector);
        collector.finish();
        return new ChatAnswer(
                collector.text.toString(),
                promptIds.length,
                collector.count,
                collector.firstNs / NS_PER_MS);
    }

    /** Tokens to text; end tokens are counted and not shown. */
    private static final class Collector implements Generator.OnToken {
        private final StringBuilder text = new StringBuilder();
        private final Manifest manifest;
        private final TextStream stream;
        private final Listener listener;
        private int count;
        private long firstNs;
        private long lastNs;

        Collector(Manifest manifest, TextStream stream, Listener listener) {
            this.manifest = manifest;
            this.stream = stream;
            this.listener = listener;
        }

        @Override
        public boolean token(int tokenId, long atNs) {
            count++;
            firstNs = count == 1 ? atNs : firstNs;
            lastNs = atNs;
            tell(manifest.isEos(tokenId) ? "" : stream.push(tokenId));
            return true;
        }

        private void finish() {
            String rest = stream.finish();
            if (!rest.isEmpty()) {
                tell(rest);
            }
        }

        private void tell(String piece) {
            text.append(piece);
            listener.token(piece, count, lastNs);
        }
    }
}

package dev.paredown.core;

import java.io.File;
import java.util.HashSet;
import java.util.Set;

/** The tokens that every repetition of a launch feeds. */
public final class Workload {
    /** Every launch of every bundle with the same vocabulary measures the same prompt. */
    static final int PROMPT_SEED = 20240;

    /** In the KV cache before the measured part: the prompt, as often as it takes. */
    public final int[] depthIds;
    /** The measured prompt. */
    public final int[] promptIds;

    private Workload(int[] depthIds, int[] promptIds) {
        this.depthIds = depthIds;
        this.promptIds = promptIds;
    }

    /**
     * What a protocol asks for.
     *
     * @param chosen the measured prompt, or null for the bundle's own: pseudo-random ordinary
     *     tokens, the same ones on every machine
     * @throws ParedownException the protocol is impossible, the vocabulary has only special
     *     tokens, or there are not as many tokens as the protocol says
     */
    public static Workload of(Bundle bundle, Protocol protocol, int[] chosen) {
        protocol.check(bundle.manifest());
        int[] promptIds = chosen == null ? ownPrompt(bundle, protocol.promptTokens) : chosen;
        if (promptIds.length != protocol.promptTokens) {
            throw ParedownException.badRequest(
                    "there are " + promptIds.length + " prompt tokens, the protocol says "
                            + protocol.promptTokens,
                    "");
        }
        int[] depthIds = new int[protocol.depth];
        for (int i = 0; i < depthIds.length; i++) {
            depthIds[i] = promptIds[i % promptIds.length];
        }
        return new Workload(depthIds, promptIds);
    }

    private static int[] ownPrompt(Bundle bundle, int count) {
        return randomTokens(bundle.manifest().vocabSize, specialTokenIds(bundle), count);
    }

    /** Ordinary token ids, uniformly; more of them begin with the same ones. */
    static int[] randomTokens(int vocabSize, Set<Integer> special, int count) {
        int[] ordinary = new int[vocabSize];
        int size = 0;
        for (int id = 0; id < vocabSize; id++) {
            if (!special.contains(id)) {
                ordinary[size++] = id;
            }
        }
        if (size == 0) {
            throw ParedownException.badRequest(
                    "all " + vocabSize + " tokens of the vocabulary are special", "");
        }
        MersenneTwister random = new MersenneTwister(PROMPT_SEED);
        int[] ids = new int[count];
        for (int i = 0; i < count; i++) {
            ids[i] = ordinary[(int) (random.nextDouble() * size)];
        }
        return ids;
    }

    /** BOS, EOS and the tokens that the bundle's tokenizer.json, if any, calls special. */
    private static Set<Integer> specialTokenIds(Bundle bundle) {
        Set<Integer> ids = new HashSet<>();
        for (int id : bundle.manifest().eosTokenIds) {
            ids.add(id);
        }
        if (bundle.manifest().bosTokenId != null) {
            ids.add(bundle.manifest().bosTokenId);
        }
        File file = bundle.file("tokenizer.json");
        if (file.isFile()) {
            Fields tokenizer = new Fields(Json.parse(TextFiles.read(file), "" + file), "" + file);
            if (tokenizer.has("added_tokens") && tokenizer.any("added_tokens") != null) {
                for (Fields token : tokenizer.objects("added_tokens")) {
                    if (token.bool("special", false)) {
                        ids.add(token.int32("id"));
                    }
                }
            }
        }
        return ids;
    }
}

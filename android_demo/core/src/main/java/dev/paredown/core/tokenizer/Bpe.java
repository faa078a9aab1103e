package dev.paredown.core.tokenizer;

import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;

/** Byte-pair encoding of one word after the other. Not for several threads at once. */
final class Bpe {
    private static final int NONE = -1;
    private static final int CACHED_WORDS = 10_000;
    private static final int CACHED_LENGTH = 256;

    private final Vocabulary vocabulary;
    private final MergeTable merges;
    private final boolean fusesUnknown;
    private final boolean ignoresMerges;

    /** Id of the unknown token, or -1: what is unknown is left out. */
    private final int unknown;

    /** Ids of the tokens for single bytes, or null. */
    private final int[] byteIds;

    private final Map<String, int[]> cache = new LinkedHashMap<String, int[]>(64, 0.75f, true) {
        private static final long serialVersionUID = 1L;

        @Override
        protected boolean removeEldestEntry(Map.Entry<String, int[]> eldest) {
            return size() > CACHED_WORDS;
        }
    };

    Bpe(BpeReader read) {
        vocabulary = read.vocabulary;
        merges = read.merges;
        fusesUnknown = read.fusesUnknown;
        ignoresMerges = read.ignoresMerges;
        unknown = read.unknown;
        byteIds = read.byteFallback ? byteIds(read.vocabulary) : null;
    }

    private static int[] byteIds(Vocabulary vocabulary) {
        int[] ids = new int[256];
        for (int b = 0; b < ids.length; b++) {
            ids[b] = vocabulary.id(String.format(java.util.Locale.ROOT, "<0x%02X>", b));
        }
        return ids;
    }

    Vocabulary vocabulary() {
        return vocabulary;
    }

    /** Append the ids of a word. */
    void encode(String word, Ids ids) {
        int whole = ignoresMerges ? vocabulary.id(word) : NONE;
        if (whole != NONE) {
            ids.add(whole);
            return;
        }
        int[] merged = cache.get(word);
        if (merged == null) {
            merged = Merger.merge(merges, symbols(word));
            if (word.length() < CACHED_LENGTH) {
                cache.put(word, merged);
            }
        }
        ids.addAll(merged);
    }

    /**
     * One id for each character, or for each of its bytes, or the unknown token's.
     *
     * <p>An unknown token waits for the next known character, so that neighbours can be fused;
     * bytes do not end the wait and come before it, as in tokenizers.
     */
    private int[] symbols(String word) {
        Ids ids = new Ids();
        boolean waiting = false;
        for (int at = 0; at < word.length(); ) {
            int end = at + Character.charCount(word.codePointAt(at));
            String character = word.substring(at, end);
            at = end;
            int id = vocabulary.id(character);
            if (id != NONE) {
                if (waiting) {
                    ids.add(unknown);
                }
                waiting = false;
                ids.add(id);
            } else if (!addBytes(character, ids) && unknown != NONE) {
                if (waiting && !fusesUnknown) {
                    ids.add(unknown);
                }
                waiting = true;
            }
        }
        if (waiting) {
            ids.add(unknown);
        }
        return ids.toArray();
    }

    /** Append the tokens of a character's bytes; false, and none, where one of them has no token. */
    private boolean addBytes(String character, Ids ids) {
        if (byteIds == null) {
            return false;
        }
        byte[] bytes = character.getBytes(StandardCharsets.UTF_8);
        for (byte b : bytes) {
            if (byteIds[b & 0xFF] == NONE) {
                return false;
            }
        }
        for (byte b : bytes) {
            ids.add(byteIds[b & 0xFF]);
        }
        return true;
    }
}

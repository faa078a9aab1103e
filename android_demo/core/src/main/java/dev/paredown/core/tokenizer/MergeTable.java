package dev.paredown.core.tokenizer;

/** Ranks and results of merges by pairs of ids; open addressing, no object per merge. */
final class MergeTable {
    private static final long EMPTY = -1;

    private final long[] keys;
    private final int[] ranks;
    private final int[] results;
    private final int mask;

    /** @param count merges that will be put at most */
    MergeTable(int count) {
        int size = Math.max(16, Integer.highestOneBit(Math.max(count, 1)) * 4);
        keys = new long[size];
        java.util.Arrays.fill(keys, EMPTY);
        ranks = new int[size];
        results = new int[count];
        mask = size - 1;
    }

    /** Add a merge; of a pair that is there twice the later rank counts. */
    void put(int left, int right, int rank, int result) {
        long key = key(left, right);
        int slot = slot(key);
        keys[slot] = key;
        ranks[slot] = rank;
        results[rank] = result;
    }

    /** Rank of a pair, or -1. */
    int rank(int left, int right) {
        long key = key(left, right);
        int slot = slot(key);
        return keys[slot] == key ? ranks[slot] : -1;
    }

    /** What the merge of a rank makes. */
    int result(int rank) {
        return results[rank];
    }

    private static long key(int left, int right) {
        return (long) left << 32 | right;
    }

    /** Where a key is, or would be. */
    private int slot(long key) {
        long mixed = key * 0x9E3779B97F4A7C15L;
        int slot = (int) (mixed >>> 32) & mask;
        while (keys[slot] != EMPTY && keys[slot] != key) {
            slot = slot + 1 & mask;
        }
        return slot;
    }
}

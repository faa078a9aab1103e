package dev.paredown.core.tokenizer;

import java.util.Arrays;

/**
 * Merges the symbols of one word: always the pair of least rank, of equal ones the leftmost.
 *
 * <p>Symbols are a linked list in arrays, candidates a binary heap of rank and place: O(n log n),
 * also where a whole text is one word.
 */
final class Merger {
    private static final int GONE = -1;

    private final MergeTable merges;
    private final int[] symbols;
    private final int[] previous;
    private final int[] next;
    private long[] heap;
    private int heapSize;

    private Merger(MergeTable merges, int[] symbols) {
        this.merges = merges;
        this.symbols = symbols;
        int count = symbols.length;
        previous = new int[count];
        next = new int[count];
        heap = new long[Math.max(16, count)];
        for (int i = 0; i < count; i++) {
            previous[i] = i - 1;
            next[i] = i + 1 < count ? i + 1 : GONE;
        }
    }

    /** The symbols after all merges. */
    static int[] merge(MergeTable merges, int[] symbols) {
        return symbols.length < 2 ? symbols : new Merger(merges, symbols).run();
    }

    private int[] run() {
        for (int i = 0; i + 1 < symbols.length; i++) {
            offer(i);
        }
        while (heapSize > 0) {
            long top = pop();
            apply((int) (top >>> 32), (int) top);
        }
        int count = 0;
        for (int at = 0; at != GONE; at = next[at]) {
            symbols[count++] = symbols[at];
        }
        return Arrays.copyOf(symbols, count);
    }

    /** A candidate is stale if its left side is gone, or the pair now makes another token. */
    private void apply(int rank, int at) {
        if (symbols[at] == GONE || next[at] == GONE) {
            return;
        }
        int right = next[at];
        int now = merges.rank(symbols[at], symbols[right]);
        if (now < 0 || merges.result(now) != merges.result(rank)) {
            return;
        }
        symbols[at] = merges.result(rank);
        symbols[right] = GONE;
        next[at] = next[right];
        if (next[at] != GONE) {
            previous[next[at]] = at;
            offer(at);
        }
        if (previous[at] != GONE) {
            offer(previous[at]);
        }
    }

    /** Put the pair that begins at a place on the heap if it has a merge. */
    private void offer(int at) {
        int rank = merges.rank(symbols[at], symbols[next[at]]);
        if (rank < 0) {
            return;
        }
        if (heapSize == heap.length) {
            heap = Arrays.copyOf(heap, heapSize * 2);
        }
        long item = (long) rank << 32 | at;
        int hole = heapSize++;
        while (hole > 0 && heap[(hole - 1) / 2] > item) {
            heap[hole] = heap[(hole - 1) / 2];
            hole = (hole - 1) / 2;
        }
        heap[hole] = item;
    }

    private long pop() {
        long top = heap[0];
        long item = heap[--heapSize];
        int hole = 0;
        for (int child = 1; child < heapSize; child = hole * 2 + 1) {
            if (child + 1 < heapSize && heap[child + 1] < heap[child]) {
                child++;
            }
            if (heap[child] >= item) {
                break;
            }
            heap[hole] = heap[child];
            hole = child;
        }
        heap[hole] = item;
        return top;
    }
}

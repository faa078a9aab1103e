package dev.paredown.core;

import java.util.Collections;
import java.util.Map;

/**
 * After token t at position p the largest logit is at (31 t + 7 p) mod vocabulary; the logit of
 * token v is minus its cyclic distance to that one, so that the margin is 1.
 */
class FakeEngine implements Engine {
    static final long PREFILL_NS = 1000;
    static final long STEP_NS = 500;

    final int vocabSize;
    int position;
    int resets;
    boolean closed;
    long stepNs = STEP_NS;
    private final FakeClock clock;

    FakeEngine(int vocabSize, FakeClock clock) {
        this.vocabSize = vocabSize;
        this.clock = clock;
    }

    @Override
    public String name() {
        return "fake";
    }

    @Override
    public Map<String, String> versions() {
        return Collections.singletonMap("fake", "1");
    }

    @Override
    public int position() {
        return position;
    }

    @Override
    public float[] prefill(int[] ids) {
        clock.nowNs += PREFILL_NS * ids.length;
        position += ids.length;
        return row(ids[ids.length - 1], position - 1);
    }

    @Override
    public float[] step(int id) {
        clock.nowNs += stepNs + position;
        position++;
        return row(id, position - 1);
    }

    @Override
    public void reset() {
        position = 0;
        resets++;
    }

    @Override
    public void close() {
        closed = true;
    }

    float[] row(int token, int at) {
        int best = (31 * token + 7 * at) % vocabSize;
        float[] row = new float[vocabSize];
        for (int v = 0; v < vocabSize; v++) {
            row[v] = -Math.floorMod(best - v, vocabSize);
        }
        return row;
    }
}

package dev.paredown.core;

import java.util.ArrayList;
import java.util.List;

/** A bundle checks itself, without a tokenizer and without a network. */
public final class GoldenCheck {
    private final Cancellation cancel;

    /** @param cancel looked at before each token */
    public GoldenCheck(Cancellation cancel) {
        this.cancel = cancel;
    }

    /**
     * Run every golden case.
     *
     * @throws ParedownException the bundle is an encoder's, or the engine computed NaN or infinity
     */
    public CheckReport run(Engine engine, Manifest manifest) {
        Generator.requireDecoder(manifest);
        List<CaseResult> results = new ArrayList<>();
        for (GoldenCase golden : manifest.goldenCases) {
            results.add(runCase(engine, golden));
        }
        return new CheckReport(manifest.name, engine.name(), results);
    }

    /**
     * Compare the top logits after the prompt, then the greedy continuation.
     *
     * <p>The case passes when no listed logit differs by more than its tolerance and the
     * continuation is the expected one, or leaves it first at a near-tie: where this engine's gap
     * between its own token and the expected one is at most the tolerance. What follows a
     * divergence is not compared.
     */
    CaseResult runCase(Engine engine, GoldenCase golden) {
        cancel.check();
        engine.reset();
        float[] row = engine.prefill(golden.promptIds);
        double largest = largestDifference(engine, golden, row);
        int[] expected = golden.continuationIds;
        int matching = 0;
        boolean nearTie = false;
        while (matching < expected.length) {
            int predicted = Generator.argmax(row);
            if (predicted != expected[matching]) {
                double gap = (double) row[predicted] - row[entry(row, expected[matching])];
                nearTie = gap <= golden.tolerance;
                break;
            }
            matching++;
            if (matching < expected.length) {
                cancel.check();
                row = engine.step(expected[matching - 1]);
            }
        }
        return new CaseResult(golden, largest, matching, nearTie);
    }

    private static double largestDifference(Engine engine, GoldenCase golden, float[] row) {
        double largest = 0;
        for (int i = 0; i < golden.topTokenIds.length; i++) {
            double found = row[entry(row, golden.topTokenIds[i])];
            double difference = Math.abs(found - golden.topLogits[i]);
            if (Double.isNaN(difference) || Double.isInfinite(difference)) {
                String which = "golden case '" + golden.name + "': ";
                throw new ParedownException(
                        which + engine.name() + " computed NaN or infinity",
                        "",
                        ParedownException.HOLD);
            }
            largest = Math.max(largest, difference);
        }
        return largest;
    }

    /** An index that is in the vocabulary. */
    private static int entry(float[] row, int tokenId) {
        if (tokenId < 0 || tokenId >= row.length) {
            throw ParedownException.brokenBundle(
                    "a golden case names token " + tokenId + ", outside of the vocabulary");
        }
        return tokenId;
    }
}

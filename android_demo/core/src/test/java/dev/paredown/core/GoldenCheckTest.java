package dev.paredown.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.util.Map;
import org.junit.Test;

public class GoldenCheckTest {
    private static final double TOLERANCE = 0.25;

    private final Cancellation cancel = new Cancellation();

    private CaseResult run(Engine engine, Map<String, Object> golden) {
        Manifest manifest = Made.manifestWith("golden_cases", Made.list(golden));
        return new GoldenCheck(cancel).run(engine, manifest).cases.get(0);
    }

    private static FakeEngine engine() {
        return new FakeEngine(Made.VOCAB_SIZE, new FakeClock());
    }

    /** After the prompt's continuation begins, token 5 wins over token 10 by so much. */
    private static FakeEngine engineWithGap(float gap) {
        return new FakeEngine(Made.VOCAB_SIZE, new FakeClock()) {
            @Override
            public float[] step(int id) {
                float[] row = super.step(id);
                if (position == 4) {
                    row[5] = row[10] + gap;
                }
                return row;
            }
        };
    }

    @Test
    public void theSameEnginePasses() {
        CaseResult result = run(engine(), Made.golden());
        assertTrue(result.passed);
        assertEquals(0, result.maxAbsLogitDifference, 0);
        assertEquals(3, result.matchingTokens);
        assertEquals(3, result.expectedTokens);
        assertFalse(result.nearTie);
    }

    @Test
    public void aDivergenceWithinTheToleranceIsANearTie() {
        CaseResult result = run(engineWithGap((float) TOLERANCE), Made.golden());
        assertTrue(result.nearTie);
        assertTrue(result.passed);
        assertEquals(1, result.matchingTokens);
    }

    @Test
    public void aDivergenceBeyondTheToleranceFails() {
        CaseResult result = run(engineWithGap(Math.nextUp((float) TOLERANCE)), Made.golden());
        assertFalse(result.nearTie);
        assertFalse(result.passed);
        assertEquals(1, result.matchingTokens);
    }

    @Test
    public void logitsMayDifferByTheToleranceAndNoMore() {
        Map<String, Object> golden = Made.golden();
        golden.put("top_logits", Made.list(Made.map("token_id", 11, "logit", TOLERANCE)));
        assertTrue(run(engine(), golden).passed);
        golden.put("top_logits", Made.list(Made.map("token_id", 11, "logit", -0.2500001)));
        CaseResult result = run(engine(), golden);
        assertFalse(result.passed);
        assertEquals(3, result.matchingTokens);
        assertEquals(0.2500001, result.maxAbsLogitDifference, 1e-12);
    }

    @Test
    public void theLastExpectedTokenNeedsNoStepAfterIt() {
        FakeEngine engine = engine();
        run(engine, Made.golden());
        assertEquals(5, engine.position); // a prompt of 3, then 11 and 10 but not 2
    }

    @Test
    public void notANumberIsAnErrorAndNoResult() {
        FakeEngine engine = new FakeEngine(Made.VOCAB_SIZE, new FakeClock()) {
            @Override
            float[] row(int token, int at) {
                float[] row = super.row(token, at);
                row[10] = Float.NaN;
                return row;
            }
        };
        ParedownException error =
                assertThrows(ParedownException.class, () -> run(engine, Made.golden()));
        assertEquals("golden case 'case': fake computed NaN or infinity", error.getMessage());
        assertEquals(ParedownException.HOLD, error.exitCode());
    }

    @Test
    public void aCaseOutsideOfTheVocabularyIsABrokenBundle() {
        Map<String, Object> golden = Made.golden();
        golden.put("continuation_ids", Made.list(16));
        ParedownException error =
                assertThrows(ParedownException.class, () -> run(engine(), golden));
        assertEquals("a golden case names token 16, outside of the vocabulary", error.getMessage());
    }

    @Test
    public void noCasesAreNoPass() {
        Manifest manifest = Made.manifestWith("golden_cases", Made.list());
        CheckReport report = new GoldenCheck(cancel).run(engine(), manifest);
        assertFalse(report.passed);
        assertEquals("the bundle has no golden cases to check itself with", report.sentence());
    }

    @Test
    public void aFailureHasASentence() {
        Manifest manifest = Made.manifestWith("golden_cases", Made.list(Made.golden()));
        CheckReport report = new GoldenCheck(cancel).run(engineWithGap(1), manifest);
        assertEquals("golden case 'case' failed on fake: 1 of 3 tokens, logits off by 0.00",
                report.sentence());
    }

    @Test
    public void anEncoderIsRefused() {
        Manifest manifest = Made.manifestWith("kind", "encoder");
        GoldenCheck check = new GoldenCheck(cancel);
        assertThrows(ParedownException.class, () -> check.run(engine(), manifest));
    }

    @Test
    public void itCanBeStopped() {
        cancel.cancel();
        ParedownException error =
                assertThrows(ParedownException.class, () -> run(engine(), Made.golden()));
        assertEquals(ParedownException.INTERRUPTED, error.exitCode());
    }
}

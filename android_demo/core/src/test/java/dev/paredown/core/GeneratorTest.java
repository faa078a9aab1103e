package dev.paredown.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.Test;

public class GeneratorTest {
    private final FakeClock clock = new FakeClock();
    private final Cancellation cancel = new Cancellation();
    private final Generator generator = new Generator(clock, cancel);
    private final FakeEngine engine = new FakeEngine(Made.VOCAB_SIZE, clock);
    private final List<Integer> tokens = new ArrayList<>();
    private final List<Long> times = new ArrayList<>();

    private void generate(Manifest manifest, int count) {
        generator.generate(engine, manifest, new int[] {1, 2, 3}, count, (token, atNs) -> {
            tokens.add(token);
            times.add(atNs);
            return tokens.size() < 4;
        });
    }

    @Test
    public void greedyTokensAndWhenTheyWereChosen() {
        generate(Made.manifestWith("eos_token_ids", Made.list()), 3);
        assertEquals(Arrays.asList(11, 10, 2), tokens);
        assertEquals(Arrays.asList(3010L, 3523L, 4037L), times);
        assertEquals(5, engine.position);
    }

    @Test
    public void theEndTokenIsToldAndEnds() {
        generate(Made.manifestWith("eos_token_ids", Made.list(10)), 20);
        assertEquals(Arrays.asList(11, 10), tokens);
    }

    @Test
    public void theListenerCanEnd() {
        generate(Made.manifestWith("eos_token_ids", Made.list()), 20);
        assertEquals(4, tokens.size());
    }

    @Test
    public void whatDoesNotFitIsRefusedBeforeTheFirstToken() {
        Manifest manifest = Made.manifestWith("eos_token_ids", Made.list());
        ParedownException error =
                assertThrows(ParedownException.class, () -> generate(manifest, 30));
        assertEquals("3 prompt tokens and 30 new ones exceed the context of 32",
                error.getMessage());
        assertEquals(0, engine.position);
    }

    @Test
    public void theFirstOfEqualValuesIsTheLargest() {
        assertEquals(1, Generator.argmax(new float[] {-2, 3, 3, 1}));
        assertEquals(0, Generator.argmax(new float[] {-1}));
    }

    @Test
    public void tokensThatNoEngineTakes() {
        Manifest manifest = Made.manifestWith("name", "toy");
        refused(new int[0], 0, manifest, "there are no tokens to run");
        refused(new int[] {3, 16}, 0, manifest, "token 16 is not in the vocabulary of 16");
        refused(new int[] {-1}, 0, manifest, "token -1 is not in the vocabulary of 16");
        refused(new int[] {1, 2}, 31, manifest, "33 tokens do not fit the context of 32");
        Generator.checkTokens(new int[] {1, 2}, 30, manifest);
    }

    private static void refused(int[] ids, int position, Manifest manifest, String message) {
        ParedownException error = assertThrows(
                ParedownException.class, () -> Generator.checkTokens(ids, position, manifest));
        assertEquals(message, error.getMessage());
    }
}

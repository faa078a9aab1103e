package dev.paredown.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import dev.paredown.core.LaunchRecord;
import dev.paredown.core.Sample;
import java.io.File;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.junit.Test;

/** What the screen shows of launches whose figures can be worked out by hand. */
public final class BenchmarkResultTest {
    private static final long MS = 1_000_000;

    @Test
    public void rowsOfTimeThenOfMemory() {
        // 128 tokens in 64 and 128 ms; 64 tokens of 5 and 10 ms.
        LaunchRecord one = launch("time", sample(64, 5));
        LaunchRecord two = launch("time", sample(128, 10));
        List<String> alone = texts(result(false, one));
        assertEquals("pp128 = 2,000 tok/s", alone.get(0));
        assertEquals("tg64 = 200 tok/s", alone.get(1));
        assertEquals("load, warm cache = 250 ms", alone.get(3));
        List<String> both = texts(result(false, one, two, launch("memory", sample(64, 5))));
        assertTrue(both.get(0), both.get(0).startsWith("pp128 = 1,500 tok/s\n("));
        assertTrue(both.toString(), both.contains("peak RSS = 123 MB"));
        assertTrue(both.toString(), both.contains("peak PSS = 61.5 MB"));
        assertTrue(both.toString(), both.contains("of it files = not available"));
    }

    @Test
    public void oneLaunchIsSuspect() {
        BenchmarkResult result = result(false, launch("time", sample(64, 5)));
        assertEquals("suspect", result.verdict());
        assertTrue(result.reasons(), result.reasons().contains("a single launch"));
    }

    @Test
    public void anEmulatorHasNoNumbers() {
        List<String> texts = texts(result(true, launch("time", sample(64, 5))));
        assertEquals("pp128 = emulated", texts.get(0));
        for (String text : texts) {
            assertTrue(text, text.matches(".* = (emulated|not available)"));
        }
    }

    private static BenchmarkResult result(boolean emulated, LaunchRecord... launches) {
        BenchmarkPlan plan =
                new BenchmarkPlan(new File("."), BenchmarkPlanTest.manifest(2048), 2, emulated);
        return new BenchmarkResult(plan, Arrays.asList(launches));
    }

    private static List<String> texts(BenchmarkResult result) {
        List<String> texts = new ArrayList<>();
        for (BenchmarkResult.Line line : result.lines()) {
            texts.add(line.label + " = " + line.value);
        }
        return texts;
    }

    private static Sample sample(long prefillMs, long tokenMs) {
        long[] tokens = new long[64];
        Arrays.fill(tokens, tokenMs * MS);
        return new Sample(prefillMs * MS, (prefillMs + 1) * MS, tokens, 0);
    }

    private static LaunchRecord launch(String phase, Sample sample) {
        LaunchRecord record = new LaunchRecord();
        record.phase = phase;
        record.loadNs = 250 * MS;
        record.samples = Collections.singletonList(sample);
        record.peakRssBytes = 123_000_000L;
        if (phase.equals("memory")) {
            record.pssBytes = 61_500_000L;
            record.anonBytes = 40_000_000L;
        }
        return record;
    }
}

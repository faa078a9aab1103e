package dev.paredown.core;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.io.File;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.Before;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;

/** Every nanosecond of a launch, on a clock that moves 10 ns with each reading. */
public class BenchmarkTest {
    private static final int[] PROMPT = {1, 2, 3, 4};

    @Rule public final TemporaryFolder folder = new TemporaryFolder();

    private final FakeClock clock = new FakeClock();
    private final FakeSensors sensors = new FakeSensors(clock);
    private final FakeEvents events = new FakeEvents();
    private final Cancellation cancel = new Cancellation();
    private Bundle bundle;
    private File root;

    @Before
    public void makeBundle() throws Exception {
        bundle = Bundle.open(Made.bundle(folder.newFolder("bundle"), Made.manifest()), cancel);
        root = folder.newFolder("root");
        status(1000, 0);
    }

    private void status(int rssKib, int anonKib) throws Exception {
        String text = "VmHWM:\t  9000 kB\nVmRSS:\t  " + rssKib + " kB\nRssAnon:\t " + anonKib
                + " kB\nRssFile:\t 77 kB\n";
        Made.text(new File(root, "proc/self/status"), text);
        Made.text(new File(root, "proc/self/smaps_rollup"), "0-1 ---p\nRss: 5 kB\nPss:  321 kB\n");
    }

    private LaunchRecord run(EngineFactory factory, Protocol protocol) {
        Benchmark benchmark =
                new Benchmark(clock, sensors, new ProcReader(root), cancel, events);
        return benchmark.run(bundle, factory, protocol, Workload.of(bundle, protocol, PROMPT));
    }

    @Test
    public void everyNumberOfATimedLaunch() {
        FakeFactory factory = new FakeFactory(clock);
        LaunchRecord record = run(factory, Made.protocol());

        // Drift probe: 30 readings. Load: 5000 and a reading. Steps: 500 + position and a reading.
        Map<String, Object> sample1 = sample(3710);
        Map<String, Object> sample2 = sample(12485);
        Map<String, Object> expected = Made.map(
                "load_ns", 5010L,
                "samples", Made.list(sample1, sample2),
                "peak_rss_bytes", 9000L * 1024,
                "engine", "fake",
                "engine_versions", Made.map("fake", "1"),
                "device", device(),
                "phase", "time",
                "pss_bytes", null,
                "anon_bytes", null,
                "file_bytes", null,
                "base_rss_bytes", null,
                "trace", Made.list(snapshot(0, 40), snapshot(8775, 41), snapshot(17550, 42)),
                "drift_ns", Made.list(10L, 10L),
                "clock_jump_ns", FakeSensors.WALL_JUMP_NS,
                "schema", "paredown.launch/2");
        assertEquals(Json.write(expected), Json.write(record.toJson()));
        assertEquals(Arrays.asList("1/2", "2/2"), events.told);
        assertTrue(factory.engine.closed);
        assertEquals(3, factory.engine.resets); // one warm-up and two repetitions
    }

    private static Map<String, Object> sample(long startNs) {
        return Made.map(
                "prefill_ns", 4010L, "ttft_ns", 4020L, "token_ns", Made.list(517L, 518L),
                "start_ns", startNs);
    }

    private static Map<String, Object> snapshot(long atNs, double celsius) {
        return Made.map(
                "at_ns", atNs,
                "readings", Made.map("temperature_celsius", celsius, "power_watts", 2.0));
    }

    private static Map<String, Object> device() {
        return Made.map(
                "cpu_model", value("a fake", ""),
                "governor", value(null, "no cpufreq"),
                "temperature_celsius", value(43.0, ""),
                "power_watts", value(2.0, ""),
                "launch_energy_joules", value((8775e-9) * 2 + (8775e-9) * 2, ""),
                "other_work_cores", value(null, "/proc/stat cannot be read"),
                "timer_overhead_ns", value(10.0, ""),
                "cpu_affinity", value("0-3", "not bound"));
    }

    private static Map<String, Object> value(Object value, String reason) {
        return Made.map("value", value, "reason", reason);
    }

    @Test
    public void aColdLaunchDropsTheModelAndOnlyLoads() {
        LaunchRecord record = run(new FakeFactory(clock), Made.protocol("phase", "cold"));
        List<File> model = Arrays.asList(bundle.file("model.onnx"), bundle.file("model.onnx.data"));
        assertEquals(model, sensors.dropped);
        assertEquals(0.0, record.device.get("page_cache_resident").number(), 0);
        assertEquals(5010, record.loadNs);
        assertTrue(record.samples.isEmpty());
        assertEquals(0, record.driftNs.length);
    }

    @Test
    public void memoryCountsFromAfterTheLibrariesAndBeforeTheModel() {
        FakeFactory factory = new FakeFactory(clock) {
            @Override
            public void prepare() {
                rewrite(2000, 0);
            }

            @Override
            public Engine open(Bundle bundle, int threads) {
                rewrite(3000, 0);
                return new FakeEngine(Made.VOCAB_SIZE, clock) {
                    @Override
                    public float[] step(int id) {
                        rewrite(4000, 555);
                        return super.step(id);
                    }
                };
            }
        };
        LaunchRecord record = run(factory, Made.protocol("phase", "memory"));
        assertEquals(1, record.samples.size());
        assertEquals(Long.valueOf(2000 * 1024), record.baseRssBytes);
        assertEquals(Long.valueOf(555 * 1024), record.anonBytes);
        assertEquals(Long.valueOf(77 * 1024), record.fileBytes);
        assertEquals(Long.valueOf(321 * 1024), record.pssBytes);
        assertEquals(Long.valueOf(9000 * 1024), record.peakRssBytes);
    }

    private void rewrite(int rssKib, int anonKib) {
        try {
            status(rssKib, anonKib);
        } catch (Exception error) {
            throw new AssertionError(error);
        }
    }

    @Test
    public void aSustainedLaunchLooksBetweenTokensEveryTwoSeconds() {
        FakeFactory factory = new FakeFactory(clock) {
            @Override
            public Engine open(Bundle bundle, int threads) {
                FakeEngine slow = new FakeEngine(Made.VOCAB_SIZE, clock);
                slow.stepNs = 1_500_000_000L;
                return slow;
            }
        };
        Protocol protocol = Made.protocol("phase", "sustained", "sustained_s", 4);
        LaunchRecord record = run(factory, protocol);
        // Two repetitions of two steps of 1.5 s; a look is due after 3.0 s and again after 6.0 s.
        assertEquals(2, record.samples.size());
        assertEquals(3, record.trace.size());
        assertArrayEquals(
                new long[] {1_500_000_017L, 1_500_000_018L}, record.samples.get(1).tokenNs);
        long first = record.samples.get(0).startNs + 4020 + 3_000_000_035L;
        assertEquals(first, record.trace.get(1).atNs);
        assertEquals(Arrays.asList("1/0", "2/0"), events.told);
    }

    @Test
    public void theTimeOfALookIsNoTokensTime() {
        FakeFactory factory = new FakeFactory(clock) {
            @Override
            public Engine open(Bundle bundle, int threads) {
                FakeEngine slow = new FakeEngine(Made.VOCAB_SIZE, clock);
                slow.stepNs = 2_100_000_000L;
                return slow;
            }
        };
        Protocol protocol = Made.protocol("phase", "sustained", "sustained_s", 1);
        Sample sample = run(factory, protocol).samples.get(0);
        // The look after the first token moved the clock by 700 ns, which the second has not.
        assertArrayEquals(new long[] {2_100_000_517L - 500, 2_100_000_518L - 500}, sample.tokenNs);
    }

    @Test
    public void aCancelledLaunchEndsBetweenTwoTokensAndClosesTheEngine() {
        FakeFactory factory = new FakeFactory(clock) {
            @Override
            public Engine open(Bundle bundle, int threads) {
                engine = new FakeEngine(Made.VOCAB_SIZE, clock) {
                    @Override
                    public float[] step(int id) {
                        cancel.cancel();
                        return super.step(id);
                    }
                };
                return engine;
            }
        };
        ParedownException error =
                assertThrows(ParedownException.class, () -> run(factory, Made.protocol()));
        assertEquals(ParedownException.INTERRUPTED, error.exitCode());
        assertEquals(8, factory.engine.position); // depth 3, prompt 4 and the one step
        assertTrue(factory.engine.closed);
    }

    @Test
    public void impossibleProtocolsAreRefusedBeforeAnythingIsOpened() {
        FakeFactory factory = new FakeFactory(clock);
        refused(factory, Made.protocol("repetitions", 0), "protocol: repetitions is 0");
        refused(factory, Made.protocol("depth", -1), "protocol: depth is -1");
        refused(factory, Made.protocol("sustained_s", -0.5), "protocol: sustained_s is -0.5");
        refused(factory, Made.protocol("phase", "warm"), "protocol: phase is 'warm'");
        refused(factory, Made.protocol("affinity", "some"), "protocol: affinity is 'some'");
        refused(factory, Made.protocol("engine", "native"), "the app has no native runner");
        refused(factory, Made.protocol("generated_tokens", 26),
                "7 prompt tokens and 26 new ones exceed the context of 32");
        assertEquals(0, factory.prepared);
    }

    private void refused(EngineFactory factory, Protocol protocol, String message) {
        ParedownException error =
                assertThrows(ParedownException.class, () -> run(factory, protocol));
        assertEquals(message, error.getMessage());
        assertEquals(ParedownException.BAD_REQUEST, error.exitCode());
    }
}

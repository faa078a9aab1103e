package dev.paredown.core.report;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNull;

import dev.paredown.core.LaunchRecord;
import dev.paredown.core.Protocol;
import dev.paredown.core.Reading;
import dev.paredown.core.Sample;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.Test;

/** Rows of launches whose numbers are round. */
public class SummaryTest {
    private static final long MS = 1_000_000;

    /** Steps of {@code stepMs} each, after a prompt of 10 ms. */
    private static LaunchRecord launch(String phase, long loadMs, long... stepMs) {
        LaunchRecord launch = new LaunchRecord();
        launch.phase = phase;
        launch.loadNs = loadMs * MS;
        launch.samples = new ArrayList<>();
        long start = 0;
        for (long step : stepMs) {
            long[] tokens = {step * MS, step * MS};
            launch.samples.add(new Sample(10 * MS, 12 * MS, tokens, start));
            start += (12 + 2 * step) * MS;
        }
        return launch;
    }

    private static Map<String, Reading> device(String name, Reading reading) {
        return new LinkedHashMap<>(Collections.singletonMap(name, reading));
    }

    private static double median(Summary summary, String key) {
        return summary.rows.get(key).median;
    }

    @Test
    public void timesOfTwoLaunches() {
        List<LaunchRecord> launches =
                Arrays.asList(launch("time", 30, 1, 2), launch("time", 50, 4, 4));
        Summary summary = Summary.of(launches, 20);
        assertEquals(40, median(summary, "load_warm_ms"), 0);
        assertEquals(12, median(summary, "ttft_ms"), 0);
        assertEquals(2000, median(summary, "prefill_tok_s"), 0);
        assertEquals(375, median(summary, "decode_tok_s"), 1e-9); // of 1000, 500, 250, 250
        assertEquals(3, median(summary, "itl_ms_p50"), 0); // of 1 1 2 2 4 4 4 4
        assertEquals(4, median(summary, "itl_ms_p90"), 0);
        // Launch means 750 and 250: exp of the mean logarithm, times or by exp(t * SE).
        double middle = Math.sqrt(750.0 * 250);
        double spread = Math.exp(Statistics.tQuantile(1) * Math.log(3) / 2);
        assertEquals(middle / spread, summary.rows.get("decode_tok_s").low, 1e-6);
        assertEquals(middle * spread, summary.rows.get("decode_tok_s").high, 1e-3);
    }

    @Test
    public void oneLaunchHasNoInterval() {
        Summary summary = Summary.of(Arrays.asList(launch("time", 30, 1)), 20);
        assertNull(summary.rows.get("decode_tok_s").low);
        assertEquals(1, summary.rows.get("decode_tok_s").launches);
        assertEquals("not asked for", summary.absent.get("load_cold_ms"));
        assertEquals("not asked for", summary.absent.get("peak_rss_bytes"));
        assertEquals("it was not read", summary.absent.get("energy_mj_per_token"));
    }

    @Test
    public void aColdLoadIsBelievedOnlyWhereTheKernelConfirmsIt() {
        LaunchRecord cold = launch("cold", 90);
        List<LaunchRecord> launches = Arrays.asList(launch("time", 30, 1), cold);
        assertEquals("it was not checked", Summary.of(launches, 1).absent.get("load_cold_ms"));
        cold.device = device("page_cache_resident", Reading.of(0.37));
        assertEquals("37% of the model stayed in the page cache",
                Summary.of(launches, 1).absent.get("load_cold_ms"));
        cold.device = device("page_cache_resident", Reading.absent("no posix_fadvise"));
        assertEquals("no posix_fadvise", Summary.of(launches, 1).absent.get("load_cold_ms"));
        cold.device = device("page_cache_resident", Reading.of(0.05));
        assertEquals(90, median(Summary.of(launches, 1), "load_cold_ms"), 0);
    }

    @Test
    public void memoryAndEnergy() {
        LaunchRecord memory = launch("memory", 30, 1);
        memory.peakRssBytes = 5_000_000L;
        memory.anonBytes = 2_000_000L;
        LaunchRecord timed = launch("time", 30, 1, 1);
        timed.device = device("launch_energy_joules", Reading.of(0.5));
        Summary summary = Summary.of(Arrays.asList(timed, memory), 1);
        assertEquals(5e6, median(summary, "peak_rss_bytes"), 0);
        assertEquals("the kernel does not say", summary.absent.get("peak_pss_bytes"));
        assertEquals(125, median(summary, "energy_mj_per_token"), 1e-12);
        timed.device = device("launch_energy_joules", Reading.of(0.0));
        summary = Summary.of(Arrays.asList(timed, memory), 1);
        assertEquals("the meter did not move", summary.absent.get("energy_mj_per_token"));
    }

    @Test
    public void theLastThirdOfAShortSustainedLaunchOverItsFirst() {
        LaunchRecord sustained = launch("sustained", 30, 10, 10, 20, 20, 40, 40);
        Summary summary = Summary.of(Arrays.asList(launch("time", 30, 1), sustained), 1);
        // It lasts 352 ms; those that begin in its first 117.3 ms take 10, 10, 20, 20 ms a token,
        // the one that begins in its last takes 40 ms.
        assertEquals(25, median(summary, "sustained_decode_tok_s"), 1e-9);
        assertEquals(0.375, median(summary, "sustained_ratio"), 1e-9);
    }

    @Test
    public void rowsInTheWordsOfTheTable() {
        Protocol protocol = Protocol.parse(
                "{\"schema\":\"paredown.protocol/2\",\"prompt_tokens\":20,\"depth\":5}",
                "protocol");
        LaunchRecord cold = launch("cold", 90);
        List<LaunchRecord> launches =
                Arrays.asList(launch("time", 30, 1), launch("time", 30, 1), cold);
        List<Row> rows = Row.of(protocol, Summary.of(launches, 20));
        assertEquals("pp20 @ d5", rows.get(0).label);
        assertEquals("2,000", rows.get(0).value);
        assertEquals("2,000 to 2,000", rows.get(0).interval);
        assertEquals("tg64 @ d5", rows.get(1).label);
        assertEquals("load, cold cache", rows.get(3).label);
        assertEquals("not available", rows.get(3).value);
        for (Row row : rows) {
            assertFalse("peak RSS was not asked for", row.label.equals("peak RSS"));
        }
        assertEquals("12.3", Row.digits(12.34));
        assertEquals("1.23", Row.digits(1.234));
    }
}

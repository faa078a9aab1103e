package dev.paredown.core.report;

import static org.junit.Assert.assertEquals;

import dev.paredown.core.Fields;
import dev.paredown.core.Json;
import dev.paredown.core.LaunchRecord;
import dev.paredown.core.Reading;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.junit.Test;

/** One rule at a time, on two launches that are otherwise quiet. */
public class ValidityTest {
    private static final int THREADS = 4;

    /** @param more further keys, each with a comma before it */
    private static LaunchRecord launch(String device, String readings, String more) {
        String text = "{\"load_ns\":1,\"samples\":[{\"prefill_ns\":5,\"ttft_ns\":6,"
                + "\"token_ns\":[10,10]}],\"peak_rss_bytes\":null,\"engine\":\"e\","
                + "\"engine_versions\":{},\"device\":{\"cpu_count\":{\"value\":8},"
                + "\"other_work_cores\":{\"value\":0.1}" + device + "},"
                + "\"trace\":[{\"at_ns\":0,\"readings\":{}},{\"at_ns\":20,\"readings\":{"
                + readings + "}}],\"schema\":\"paredown.launch/2\"" + more + "}";
        return new LaunchRecord(new Fields(Json.parse(text, "launch"), "launch"));
    }

    private static void judged(String verdict, String reason, LaunchRecord... launches) {
        List<LaunchRecord> all = new ArrayList<>(Arrays.asList(launches));
        if (all.size() == 1) {
            all.add(launch("", "", ""));
        }
        Validity validity = Validity.judge(all, THREADS);
        assertEquals(Collections.singletonList(reason), validity.reasons);
        assertEquals(verdict, validity.verdict);
    }

    private static void seen(String verdict, String reason, String readings) {
        judged(verdict, reason, launch("", readings, ""));
    }

    @Test
    public void quietLaunchesAreValid() {
        Validity validity =
                Validity.judge(Arrays.asList(launch("", "", ""), launch("", "", "")), THREADS);
        assertEquals("valid", validity.verdict);
        assertEquals(0, validity.reasons.size());
    }

    @Test
    public void heat() {
        seen("suspect", "it was 81 \u00b0C hot (limit 80)", "\"temperature_celsius\":81");
        seen("suspect", "Android's thermal status was light", "\"thermal_status\":\"light\"");
        seen("invalid", "Android's thermal status was severe", "\"thermal_status\":\"severe\"");
        seen("invalid", "Android's thermal status was shutdown", "\"thermal_status\":\"melted\"");
    }

    @Test
    public void battery() {
        seen("suspect", "the battery was at 19%, where phones slow down", "\"battery_percent\":19");
        seen("suspect", "the battery was charging, which heats the phone",
                "\"battery_charging\":\"yes\"");
    }

    @Test
    public void settingsThatChange() {
        judged("invalid", "governor changed during the run: performance, schedutil",
                launch("", "\"governor\":\"schedutil\"", ""),
                launch("", "\"governor\":\"performance\"", ""));
        judged("invalid", "the device restarted during the run",
                launch(",\"boot_id\":{\"value\":\"a\"}", "", ""),
                launch(",\"boot_id\":{\"value\":\"b\"}", "", ""));
        judged("suspect", "the clock changed during the run: 1100 to 2000 MHz",
                launch("", "\"cpu_frequency_hz\":2.0e9", ""),
                launch("", "\"cpu_frequency_hz\":1.1e9", ""));
    }

    @Test
    public void driftClocksAndSwapping() {
        judged("suspect", "the machine's own speed drifted by 10% (a fixed computation, no engine)",
                launch("", "", ",\"drift_ns\":[1000,1100]"));
        judged("invalid", "the machine's own speed drifted by 40% (a fixed computation, no engine)",
                launch("", "", ",\"drift_ns\":[1000,1400]"));
        judged("invalid", "the clock jumped by -0.6 s during a launch (set, or the machine slept)",
                launch("", "", ",\"clock_jump_ns\":-600000000"));
        LaunchRecord swapping = launch("", "\"swapped_pages\":300", "");
        swapping.trace.get(0).readings.put("swapped_pages", 10.0);
        judged("invalid", "the machine swapped 290 pages during the run", swapping);
    }

    @Test
    public void othersWorkAndTooManyThreads() {
        LaunchRecord busy = launch("", "", "");
        busy.device.put("other_work_cores", Reading.of(1.25));
        judged("suspect", "other work kept 1.3 of 8 cores busy", busy);
        List<LaunchRecord> launches = Arrays.asList(launch("", "", ""), launch("", "", ""));
        assertEquals(
                Collections.singletonList("9 threads on 8 cores"),
                Validity.judge(launches, 9).reasons);
        for (LaunchRecord launch : launches) {
            launch.device.put("other_work_cores", Reading.absent("/proc/stat cannot be read"));
            launch.device.put("load_average_1m", Reading.of(9.5));
        }
        assertEquals(
                Collections.singletonList("the load average was 9.5 on 8 cores"),
                Validity.judge(launches, THREADS).reasons);
    }

    @Test
    public void aSingleLaunchAndDifferentOnes() {
        Validity single = Validity.judge(Arrays.asList(launch("", "", "")), THREADS);
        assertEquals(Collections.singletonList(
                "a single launch says nothing about the variation between launches"),
                single.reasons);
        LaunchRecord slow = launch("", "", "");
        slow.samples.get(0).tokenNs[0] = 15;
        judged("suspect", "decode speed varies by 15.7% between launches (over 5%)", slow);
    }
}

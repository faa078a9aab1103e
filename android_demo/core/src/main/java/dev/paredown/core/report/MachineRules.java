package dev.paredown.core.report;

import dev.paredown.core.LaunchRecord;
import dev.paredown.core.Snapshot;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.TreeSet;

/** Settings that must stay as they are, drift, clocks and swapping. */
final class MachineRules {
    private static final double SUSPECT_DRIFT = 0.05;
    private static final double INVALID_DRIFT = 0.25;
    private static final double MOST_CLOCK_JUMP_S = 0.5;
    private static final double MOST_SWAPPED_PAGES = 256;
    private static final double MOST_FREQUENCY_CHANGE = 0.1;
    private static final double NS_PER_S = 1e9;
    private static final double HZ_PER_MHZ = 1e6;

    private MachineRules() {}

    static void find(List<LaunchRecord> launches, Seen seen, Validity.Findings findings) {
        changes(seen, findings);
        drift(launches, findings);
        clockJumps(launches, findings);
        swapping(launches, findings);
    }

    private static void changes(Seen seen, Validity.Findings findings) {
        for (String name : new String[] {"governor", "cpu_frequency_max_hz"}) {
            Set<String> values = new TreeSet<>();
            for (Object value : seen.all(name)) {
                values.add(value.toString());
            }
            if (values.size() > 1) {
                String all = String.join(", ", values);
                findings.add(true, name + " changed during the run: " + all);
            }
        }
        if (new TreeSet<>(texts(seen.facts("boot_id"))).size() > 1) {
            findings.add(true, "the device restarted during the run");
        }
    }

    private static void drift(List<LaunchRecord> launches, Validity.Findings findings) {
        List<Long> probes = new ArrayList<>();
        for (LaunchRecord launch : launches) {
            for (long ns : launch.driftNs) {
                probes.add(ns);
            }
        }
        if (probes.size() < 2) {
            return;
        }
        double drift = (double) Collections.max(probes) / Collections.min(probes) - 1;
        if (drift > SUSPECT_DRIFT) {
            findings.add(drift > INVALID_DRIFT, format(
                    "the machine's own speed drifted by %.0f%% (a fixed computation, no engine)",
                    drift * 100));
        }
    }

    private static void clockJumps(List<LaunchRecord> launches, Validity.Findings findings) {
        double worst = 0;
        for (LaunchRecord launch : launches) {
            double jump = launch.clockJumpNs == null ? 0 : launch.clockJumpNs / NS_PER_S;
            worst = Math.abs(jump) > Math.abs(worst) ? jump : worst;
        }
        if (Math.abs(worst) > MOST_CLOCK_JUMP_S) {
            findings.add(true, format(
                    "the clock jumped by %+.1f s during a launch (set, or the machine slept)",
                    worst));
        }
    }

    /** Pages that went to or came from swap while a launch measured. */
    private static void swapping(List<LaunchRecord> launches, Validity.Findings findings) {
        double swapped = 0;
        for (LaunchRecord launch : launches) {
            List<Double> pages = Seen.numbers(trace(launch, "swapped_pages"));
            swapped += pages.isEmpty() ? 0 : pages.get(pages.size() - 1) - pages.get(0);
        }
        if (swapped > MOST_SWAPPED_PAGES) {
            findings.add(true, format("the machine swapped %,.0f pages during the run", swapped));
        }
    }

    /** Between the first repetition's start and the last one's end: else it may be idle. */
    static void frequency(List<LaunchRecord> launches, Validity.Findings findings) {
        List<Double> known = new ArrayList<>();
        for (LaunchRecord launch : launches) {
            for (Snapshot snapshot : launch.trace) {
                Object hertz = snapshot.readings.get("cpu_frequency_hz");
                boolean working = snapshot.atNs > 0 && snapshot.atNs <= endNs(launch);
                if (working && hertz instanceof Double) {
                    known.add((Double) hertz);
                }
            }
        }
        if (known.isEmpty()) {
            return;
        }
        double low = Collections.min(known);
        double high = Collections.max(known);
        if (high - low > MOST_FREQUENCY_CHANGE * high) {
            findings.add(false, format(
                    "the clock changed during the run: %.0f to %.0f MHz",
                    low / HZ_PER_MHZ, high / HZ_PER_MHZ));
        }
    }

    private static long endNs(LaunchRecord launch) {
        int count = launch.samples.size();
        return count == 0 ? 0 : launch.samples.get(count - 1).endNs();
    }

    private static List<Object> trace(LaunchRecord launch, String name) {
        List<Object> values = new ArrayList<>();
        for (Snapshot snapshot : launch.trace) {
            values.add(snapshot.readings.get(name));
        }
        return values;
    }

    private static List<String> texts(List<Object> values) {
        List<String> texts = new ArrayList<>();
        for (Object value : values) {
            texts.add(value.toString());
        }
        return texts;
    }

    static String format(String pattern, Object... values) {
        return String.format(Locale.ROOT, pattern, values);
    }
}

package dev.paredown.core.report;

import dev.paredown.core.LaunchRecord;
import dev.paredown.core.Reading;
import dev.paredown.core.Sample;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Every row of a report by its key ({@code decode_tok_s}, ...), and why others are absent. */
public final class Summary {
    /** Share of the model's pages in the page cache up to which a load counts as cold. */
    private static final double MOST_RESIDENT = 0.05;
    private static final double NS_PER_S = 1e9;
    private static final double EDGE_NS = 60 * NS_PER_S;
    private static final String NOT_ASKED = "not asked for";

    /** What was measured. */
    public final Map<String, Estimate> rows = new LinkedHashMap<>();
    /** Why a row is not there. */
    public final Map<String, String> absent = new LinkedHashMap<>();

    private Summary() {}

    /**
     * Rows of some launches of one bundle and protocol.
     *
     * @param launches of every phase; at least one of phase {@code time}, each of those with at
     *     least one sample
     * @param promptTokens tokens of the measured prompt
     */
    public static Summary of(List<LaunchRecord> launches, int promptTokens) {
        Summary summary = new Summary();
        List<LaunchRecord> timed = phase(launches, "time");
        for (Map.Entry<String, Metric> entry : Metrics.timing(promptTokens).entrySet()) {
            summary.rows.put(entry.getKey(), entry.getValue().estimate(timed));
        }
        summary.cold(phase(launches, "cold"));
        summary.memory(phase(launches, "memory"));
        summary.energy(timed);
        summary.sustained(phase(launches, "sustained"));
        return summary;
    }

    /** The launches of one phase, in their order. */
    public static List<LaunchRecord> phase(List<LaunchRecord> launches, String phase) {
        List<LaunchRecord> found = new ArrayList<>();
        for (LaunchRecord launch : launches) {
            if (launch.phase.equals(phase)) {
                found.add(launch);
            }
        }
        return found;
    }

    /** Loads from a page cache that had lost the model, as far as the kernel confirms it. */
    private void cold(List<LaunchRecord> launches) {
        String reason = launches.isEmpty() ? NOT_ASKED : null;
        for (LaunchRecord launch : launches) {
            Reading resident = reading(launch, "page_cache_resident", "it was not checked");
            Double share = resident.number();
            if (reason == null && share == null) {
                reason = resident.reason();
            } else if (reason == null && share > MOST_RESIDENT) {
                reason = Math.round(share * 100) + "% of the model stayed in the page cache";
            }
        }
        if (reason == null) {
            rows.put("load_cold_ms", Metrics.LOAD_MS.estimate(launches));
        } else {
            absent.put("load_cold_ms", reason);
        }
    }

    private void memory(List<LaunchRecord> launches) {
        List<Long> rss = new ArrayList<>();
        List<Long> pss = new ArrayList<>();
        List<Long> anonymous = new ArrayList<>();
        List<Long> files = new ArrayList<>();
        for (LaunchRecord launch : launches) {
            rss.add(launch.peakRssBytes);
            pss.add(launch.pssBytes);
            anonymous.add(launch.anonBytes);
            files.add(launch.fileBytes);
        }
        bytes("peak_rss_bytes", rss);
        bytes("peak_pss_bytes", pss);
        bytes("anonymous_bytes", anonymous);
        bytes("file_mapped_bytes", files);
    }

    private void bytes(String key, List<Long> values) {
        if (values.isEmpty() || values.contains(null)) {
            absent.put(key, values.isEmpty() ? NOT_ASKED : "the kernel does not say");
            return;
        }
        double[] bytes = new double[values.size()];
        for (int i = 0; i < bytes.length; i++) {
            bytes[i] = values.get(i);
        }
        rows.put(key, new Estimate(Statistics.median(bytes), null, null, bytes.length));
    }

    /** Energy of the repetitions, prompts included, per generated token. */
    private void energy(List<LaunchRecord> launches) {
        for (LaunchRecord launch : launches) {
            Reading energy = reading(launch, "launch_energy_joules", "it was not read");
            if (energy.number() == null || energy.number() <= 0) {
                String reason = energy.reason();
                String still = "the meter did not move";
                absent.put("energy_mj_per_token", reason.isEmpty() ? still : reason);
                return;
            }
        }
        rows.put("energy_mj_per_token", new Metric() {
            @Override
            double[] values(LaunchRecord launch) {
                double joules = launch.device.get("launch_energy_joules").number();
                return new double[] {1e3 * joules / tokens(launch.samples)};
            }
        }.estimate(launches));
    }

    /** Decode speed of a launch without pauses: its last minute, alone and over its first. */
    private void sustained(List<LaunchRecord> launches) {
        if (launches.isEmpty()) {
            absent.put("sustained_decode_tok_s", NOT_ASKED);
            absent.put("sustained_ratio", NOT_ASKED);
            return;
        }
        List<Sample> samples = launches.get(0).samples;
        Sample lastSample = samples.get(samples.size() - 1);
        long start = samples.get(0).startNs;
        long end = lastSample.endNs();
        double window = Math.min(EDGE_NS, (end - start) / 3.0);
        List<Sample> first = new ArrayList<>();
        List<Sample> last = new ArrayList<>();
        for (Sample sample : samples) {
            if (sample.startNs <= start + window) {
                first.add(sample);
            }
            if (sample.startNs >= end - window) {
                last.add(sample);
            }
        }
        if (last.isEmpty()) {
            last.add(lastSample);
        }
        double speed = tokensPerSecond(last);
        rows.put("sustained_decode_tok_s", new Estimate(speed, null, null, 1));
        rows.put("sustained_ratio", new Estimate(speed / tokensPerSecond(first), null, null, 1));
    }

    private static double tokensPerSecond(List<Sample> samples) {
        double ns = 0;
        for (Sample sample : samples) {
            ns += sample.decodeNs();
        }
        return tokens(samples) * NS_PER_S / ns;
    }

    private static int tokens(List<Sample> samples) {
        int tokens = 0;
        for (Sample sample : samples) {
            tokens += sample.tokenNs.length;
        }
        return tokens;
    }

    private static Reading reading(LaunchRecord launch, String name, String reason) {
        Reading reading = launch.device.get(name);
        return reading == null ? Reading.absent(reason) : reading;
    }
}

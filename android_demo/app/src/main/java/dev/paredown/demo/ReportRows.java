package dev.paredown.demo;

import dev.paredown.core.Json;
import dev.paredown.core.Protocol;
import dev.paredown.core.TextFiles;
import java.io.File;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/**
 * Reports of launches as the rows, and in the words, of {@code paredown profile}. Of an emulator no
 * number is shown.
 */
final class ReportRows {
    private static final double NS_PER_S = 1e9;
    private static final double NS_PER_MS = 1e6;
    private static final String MS = "ms";
    private static final String TOK_S = "tok/s";
    private static final String MB = "MB";
    private static final String EMULATED = "emulated";

    private final List<Row> rows = new ArrayList<>();
    private final boolean emulated;

    private ReportRows(boolean emulated) {
        this.emulated = emulated;
    }

    /** One line: what, how much. */
    static final class Row {
        final String label;
        final String value;

        private Row(String label, String value) {
            this.label = label;
            this.value = value;
        }
    }

    /**
     * Medians over all repetitions of all launches.
     *
     * @param files each a {@code LaunchRecord}
     */
    static List<Row> of(Protocol protocol, List<File> files) {
        List<Map<String, Object>> launches = new ArrayList<>();
        for (File file : files) {
            launches.add(Json.parseObject(TextFiles.read(file), file.toString()));
        }
        ReportRows made = new ReportRows(!launches.isEmpty() && emulated(launches.get(0)));
        made.times(protocol, phase(launches, "time"));
        made.memory(phase(launches, "memory"));
        made.state(launches);
        return made.rows;
    }

    private void times(Protocol protocol, List<Map<String, Object>> launches) {
        List<Double> prefill = new ArrayList<>();
        List<Double> decode = new ArrayList<>();
        List<Double> first = new ArrayList<>();
        List<Double> load = new ArrayList<>();
        List<Double> between = new ArrayList<>();
        for (Map<String, Object> launch : launches) {
            load.add(number(launch, "load_ns") / NS_PER_MS);
            for (Object each : (List<?>) launch.get("samples")) {
                Map<String, Object> sample = Json.object(each, "sample");
                prefill.add(protocol.promptTokens * NS_PER_S / number(sample, "prefill_ns"));
                first.add(number(sample, "ttft_ns") / NS_PER_MS);
                List<?> tokens = (List<?>) sample.get("token_ns");
                double sum = 0;
                for (Object token : tokens) {
                    double ns = ((Number) token).doubleValue();
                    sum += ns;
                    between.add(ns / NS_PER_MS);
                }
                decode.add(tokens.size() * NS_PER_S / sum);
            }
        }
        add("pp" + protocol.promptTokens, prefill, 50, TOK_S);
        add("tg" + protocol.generatedTokens, decode, 50, TOK_S);
        add("time to first token", first, 50, MS);
        add("load, warm cache", load, 50, MS);
        add("inter-token p50", between, 50, MS);
        add("inter-token p90", between, 90, MS);
        add("inter-token p99", between, 99, MS);
    }

    private void memory(List<Map<String, Object>> launches) {
        String[][] names = {
            {"peak RSS", "peak_rss_bytes"},
            {"peak PSS", "pss_bytes"},
            {"of it anonymous", "anon_bytes"},
            {"of it files", "file_bytes"},
        };
        for (String[] name : names) {
            List<Double> megabytes = new ArrayList<>();
            for (Map<String, Object> launch : launches) {
                if (launch.get(name[1]) != null) {
                    megabytes.add(number(launch, name[1]) / Numbers.BYTES_PER_MB);
                }
            }
            add(name[0], megabytes, 50, MB);
        }
    }

    /** What may spoil the numbers above, as of the last launch. */
    private void state(List<Map<String, Object>> launches) {
        if (launches.isEmpty()) {
            return;
        }
        Map<String, Object> last = launches.get(launches.size() - 1);
        Map<String, Object> device = Json.object(last.get("device"), "device");
        reading(device, "thermal_status", "thermal status");
        reading(device, "battery_charging", "charging");
    }

    private static boolean emulated(Map<String, Object> launch) {
        return Json.object(launch.get("device"), "device").containsKey(EMULATED);
    }

    private void reading(Map<String, Object> device, String name, String label) {
        Object reading = device.get(name);
        Object value = reading == null ? null : Json.object(reading, name).get("value");
        if (value != null) {
            rows.add(new Row(label, value.toString()));
        }
    }

    private void add(String label, List<Double> values, double percent, String unit) {
        if (!values.isEmpty()) {
            String digits = Numbers.digits(percentile(values, percent));
            rows.add(new Row(label, emulated ? EMULATED : digits + " " + unit));
        }
    }

    /** By linear interpolation between order statistics. */
    static double percentile(List<Double> values, double percent) {
        double[] ordered = new double[values.size()];
        for (int i = 0; i < ordered.length; i++) {
            ordered[i] = values.get(i);
        }
        Arrays.sort(ordered);
        double place = percent / 100 * (ordered.length - 1);
        int low = (int) Math.floor(place);
        int high = Math.min(low + 1, ordered.length - 1);
        return ordered[low] + (ordered[high] - ordered[low]) * (place - low);
    }

    private static List<Map<String, Object>> phase(
            List<Map<String, Object>> launches, String phase) {
        List<Map<String, Object>> found = new ArrayList<>();
        for (Map<String, Object> launch : launches) {
            if (phase.equals(launch.get("phase"))) {
                found.add(launch);
            }
        }
        return found;
    }

    private static double number(Map<String, Object> json, String name) {
        return ((Number) json.get(name)).doubleValue();
    }
}

package dev.paredown.core.report;

import dev.paredown.core.Protocol;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** One line of a report in the words and units of {@code paredown profile}. */
public final class Row {
    private static final double PER_MB = 1e-6;

    /** What, such as {@code pp128}. */
    public final String label;
    /** The summary's key. */
    public final String key;
    /** {@code tok/s}, {@code ms}, {@code MB}, {@code mJ} or empty. */
    public final String unit;
    /** The median in that unit, three digits, or {@code not available}. */
    public final String value;
    /** The 95% interval, or empty. */
    public final String interval;

    private Row(String label, String key, String unit, double factor, Estimate estimate) {
        this.label = label;
        this.key = key;
        this.unit = unit;
        this.value = estimate == null ? "not available" : digits(estimate.median * factor);
        this.interval = estimate == null || estimate.low == null
                ? ""
                : digits(estimate.low * factor) + " to " + digits(estimate.high * factor);
    }

    /** Every row that was asked for. */
    public static List<Row> of(Protocol protocol, Summary summary) {
        String depth = protocol.depth > 0 ? " @ d" + protocol.depth : "";
        List<Row> rows = new ArrayList<>();
        add(rows, summary, "pp" + protocol.promptTokens + depth, "prefill_tok_s", "tok/s", 1);
        add(rows, summary, "tg" + protocol.generatedTokens + depth, "decode_tok_s", "tok/s", 1);
        add(rows, summary, "time to first token", "ttft_ms", "ms", 1);
        add(rows, summary, "load, cold cache", "load_cold_ms", "ms", 1);
        add(rows, summary, "load, warm cache", "load_warm_ms", "ms", 1);
        add(rows, summary, "inter-token p50", "itl_ms_p50", "ms", 1);
        add(rows, summary, "inter-token p90", "itl_ms_p90", "ms", 1);
        add(rows, summary, "inter-token p99", "itl_ms_p99", "ms", 1);
        add(rows, summary, "peak RSS", "peak_rss_bytes", "MB", PER_MB);
        add(rows, summary, "peak PSS", "peak_pss_bytes", "MB", PER_MB);
        add(rows, summary, "of it anonymous", "anonymous_bytes", "MB", PER_MB);
        add(rows, summary, "of it files", "file_mapped_bytes", "MB", PER_MB);
        add(rows, summary, "energy per token", "energy_mj_per_token", "mJ", 1);
        add(rows, summary, "tg, last minute", "sustained_decode_tok_s", "tok/s", 1);
        add(rows, summary, "last minute / first", "sustained_ratio", "", 1);
        return rows;
    }

    private static void add(
            List<Row> rows, Summary summary, String label, String key, String unit, double factor) {
        if (!"not asked for".equals(summary.absent.get(key))) {
            rows.add(new Row(label, key, unit, factor, summary.rows.get(key)));
        }
    }

    /** Three significant digits, or whole numbers from 100 on. */
    public static String digits(double value) {
        String format = value >= 100 ? "%,.0f" : value >= 10 ? "%.1f" : "%.2f";
        return String.format(Locale.ROOT, format, value);
    }
}

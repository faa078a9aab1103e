package dev.paredown.core;

import java.util.LinkedHashMap;
import java.util.Map;

/** One repetition, in nanoseconds of a monotonic clock. */
public final class Sample {
    /** Until the prompt's logits were there. */
    public final long prefillNs;
    /** Until the first token was chosen. */
    public final long ttftNs;
    /** Time of each decode step: logits and choice of one more token. */
    public final long[] tokenNs;
    /** When it began, from the start of the launch's first measured repetition. */
    public final long startNs;

    /** @param tokenNs not copied */
    public Sample(long prefillNs, long ttftNs, long[] tokenNs, long startNs) {
        this.prefillNs = prefillNs;
        this.ttftNs = ttftNs;
        this.tokenNs = tokenNs;
        this.startNs = startNs;
    }

    /** @param f a {@code Sample} of the schema */
    Sample(Fields f) {
        prefillNs = f.integer("prefill_ns");
        ttftNs = f.integer("ttft_ns");
        tokenNs = f.longs("token_ns");
        startNs = f.integer("start_ns", 0);
        f.end();
    }

    /** Sum of the decode steps. */
    public long decodeNs() {
        long sum = 0;
        for (long ns : tokenNs) {
            sum += ns;
        }
        return sum;
    }

    /** When it ended, as {@link #startNs}. */
    public long endNs() {
        return startNs + ttftNs + decodeNs();
    }

    /** As {@code Sample} of the schema. */
    public Map<String, Object> toJson() {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("prefill_ns", prefillNs);
        json.put("ttft_ns", ttftNs);
        json.put("token_ns", Lists.of(tokenNs));
        json.put("start_ns", startNs);
        return json;
    }
}

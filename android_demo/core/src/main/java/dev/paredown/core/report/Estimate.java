package dev.paredown.core.report;

import java.util.LinkedHashMap;
import java.util.Map;

/** A median over all samples, and a 95% interval from the means of the launches. */
public final class Estimate {
    /** Of all samples of all launches. */
    public final double median;
    /** Lower end, or null with fewer than two launches. */
    public final Double low;
    /** Upper end, or null with fewer than two launches. */
    public final Double high;
    /** How many launches it is from. */
    public final int launches;

    Estimate(double median, Double low, Double high, int launches) {
        this.median = median;
        this.low = low;
        this.high = high;
        this.launches = launches;
    }

    /** As {@code Estimate} of the schema. */
    public Map<String, Object> toJson() {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("median", median);
        json.put("low", low);
        json.put("high", high);
        json.put("launches", launches);
        return json;
    }
}

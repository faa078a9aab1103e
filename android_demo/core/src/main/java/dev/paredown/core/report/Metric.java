package dev.paredown.core.report;

import dev.paredown.core.LaunchRecord;
import java.util.Arrays;
import java.util.List;

/** How one row is computed: values of a launch, then one number of all and of each launch. */
abstract class Metric {
    /** Values of one launch, in the row's unit. */
    abstract double[] values(LaunchRecord launch);

    /** One number of all values. */
    double centre(double[] values) {
        return Statistics.median(values);
    }

    /** One number of a launch's values. */
    double launchValue(double[] values) {
        return Statistics.mean(values);
    }

    /**
     * The centre of all values and a t-interval from the values of the launches, taken on the
     * logarithm: times and rates vary by factors.
     */
    final Estimate estimate(List<LaunchRecord> launches) {
        double[] pooled = {};
        double[] logs = new double[launches.size()];
        for (int i = 0; i < logs.length; i++) {
            double[] values = values(launches.get(i));
            logs[i] = Math.log(launchValue(values));
            int size = pooled.length;
            pooled = Arrays.copyOf(pooled, size + values.length);
            System.arraycopy(values, 0, pooled, size, values.length);
        }
        double median = centre(pooled);
        if (logs.length < 2) {
            return new Estimate(median, null, null, logs.length);
        }
        double mean = Statistics.mean(logs);
        double half = Statistics.halfInterval(logs);
        return new Estimate(median, Math.exp(mean - half), Math.exp(mean + half), logs.length);
    }
}

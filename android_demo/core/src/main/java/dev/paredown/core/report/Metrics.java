package dev.paredown.core.report;

import dev.paredown.core.LaunchRecord;
import dev.paredown.core.Sample;
import java.util.LinkedHashMap;
import java.util.Map;

/** The rows that come from times. */
final class Metrics {
    private static final double NS_PER_MS = 1e6;
    private static final double NS_PER_S = 1e9;

    /** Opening the model, in milliseconds. */
    static final Metric LOAD_MS = new Metric() {
        @Override
        double[] values(LaunchRecord launch) {
            return new double[] {launch.loadNs / NS_PER_MS};
        }
    };

    private Metrics() {}

    /** By the summary's key. */
    static Map<String, Metric> timing(int promptTokens) {
        Map<String, Metric> metrics = new LinkedHashMap<>();
        metrics.put("load_warm_ms", LOAD_MS);
        metrics.put("ttft_ms", new PerSample() {
            @Override
            double value(Sample sample) {
                return sample.ttftNs / NS_PER_MS;
            }
        });
        metrics.put("prefill_tok_s", new PerSample() {
            @Override
            double value(Sample sample) {
                return promptTokens * NS_PER_S / sample.prefillNs;
            }
        });
        metrics.put("decode_tok_s", new PerSample() {
            @Override
            double value(Sample sample) {
                return sample.tokenNs.length * NS_PER_S / sample.decodeNs();
            }
        });
        for (int percent : new int[] {50, 90, 99}) {
            metrics.put("itl_ms_p" + percent, new TokenPercentile(percent));
        }
        return metrics;
    }

    /** One value per repetition. */
    private abstract static class PerSample extends Metric {
        abstract double value(Sample sample);

        @Override
        double[] values(LaunchRecord launch) {
            double[] values = new double[launch.samples.size()];
            for (int i = 0; i < values.length; i++) {
                values[i] = value(launch.samples.get(i));
            }
            return values;
        }
    }

    /** A percentile of the decode steps' times, of all and of each launch. */
    private static final class TokenPercentile extends Metric {
        private final double percent;

        TokenPercentile(double percent) {
            this.percent = percent;
        }

        @Override
        double[] values(LaunchRecord launch) {
            int count = 0;
            for (Sample sample : launch.samples) {
                count += sample.tokenNs.length;
            }
            double[] values = new double[count];
            for (Sample sample : launch.samples) {
                for (long ns : sample.tokenNs) {
                    values[--count] = ns / NS_PER_MS;
                }
            }
            return values;
        }

        @Override
        double centre(double[] values) {
            return Statistics.percentile(values, percent);
        }

        @Override
        double launchValue(double[] values) {
            return centre(values);
        }
    }
}

package dev.paredown.core.report;

import java.util.Arrays;

/** Few numbers about many. */
public final class Statistics {
    private static final double CONFIDENCE = 0.95;
    private static final int BISECTIONS = 200;

    private Statistics() {}

    /** The middle one, or the mean of the two in the middle; of at least one value. */
    public static double median(double[] values) {
        return percentile(values, 50);
    }

    /** By linear interpolation between order statistics; of at least one value. */
    public static double percentile(double[] values, double percent) {
        double[] ordered = values.clone();
        Arrays.sort(ordered);
        double place = percent / 100 * (ordered.length - 1);
        int low = (int) Math.floor(place);
        int high = Math.min(low + 1, ordered.length - 1);
        return ordered[low] + (ordered[high] - ordered[low]) * (place - low);
    }

    /** Arithmetic mean; of at least one value. */
    public static double mean(double[] values) {
        double sum = 0;
        for (double value : values) {
            sum += value;
        }
        return sum / values.length;
    }

    /** Standard deviation of a sample; of at least two values. */
    public static double deviation(double[] values) {
        double mean = mean(values);
        double squares = 0;
        for (double value : values) {
            squares += (value - mean) * (value - mean);
        }
        return Math.sqrt(squares / (values.length - 1));
    }

    /** Half of the 95% interval of a mean (Student's t); of at least two values. */
    static double halfInterval(double[] values) {
        double error = deviation(values) / Math.sqrt(values.length);
        return tQuantile(values.length - 1) * error;
    }

    /** The t that 95% of Student's distribution is within, found by bisection. */
    static double tQuantile(int degreesOfFreedom) {
        double low = 0;
        double high = 16; // 12.71 for one degree of freedom is the largest
        for (int i = 0; i < BISECTIONS; i++) {
            double middle = (low + high) / 2;
            if (within(middle, degreesOfFreedom) < CONFIDENCE) {
                low = middle;
            } else {
                high = middle;
            }
        }
        return (low + high) / 2;
    }

    /** P(|T| <= t): Abramowitz and Stegun 26.7.3 (odd degrees of freedom) and 26.7.4 (even). */
    private static double within(double t, int degrees) {
        double angle = Math.atan(t / Math.sqrt(degrees));
        double square = Math.cos(angle) * Math.cos(angle);
        boolean odd = degrees % 2 == 1;
        double term = odd ? Math.cos(angle) : 1;
        double sum = degrees == 1 ? 0 : term;
        for (int k = odd ? 3 : 2; k < degrees; k += 2) {
            term *= square * (k - 1) / k;
            sum += term;
        }
        double part = Math.sin(angle) * sum;
        return odd ? 2 / Math.PI * (angle + part) : part;
    }
}

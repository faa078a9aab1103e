package dev.paredown.demo;

import java.text.NumberFormat;
import java.util.Locale;

/** Numbers for people. */
final class Numbers {
    static final double BYTES_PER_MB = 1e6;

    private static final double WHOLE_FROM = 100;
    private static final double ONE_DIGIT_FROM = 10;

    private Numbers() {}

    /** Three significant digits, or whole numbers from 100 on; as `paredown profile` prints. */
    static String digits(double value) {
        NumberFormat format = NumberFormat.getNumberInstance(Locale.US);
        int digits = value >= WHOLE_FROM ? 0 : value >= ONE_DIGIT_FROM ? 1 : 2;
        format.setMinimumFractionDigits(digits);
        format.setMaximumFractionDigits(digits);
        return format.format(value);
    }
}

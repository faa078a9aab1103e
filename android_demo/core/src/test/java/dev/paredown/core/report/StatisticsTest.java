package dev.paredown.core.report;

import static org.junit.Assert.assertEquals;

import org.junit.Test;

public class StatisticsTest {
    private static final double[] VALUES = {4, 1, 3, 2};

    @Test
    public void percentilesLieBetweenOrderStatistics() {
        assertEquals(2.5, Statistics.median(VALUES), 0);
        assertEquals(1, Statistics.percentile(VALUES, 0), 0);
        assertEquals(4, Statistics.percentile(VALUES, 100), 0);
        assertEquals(3.7, Statistics.percentile(VALUES, 90), 1e-12);
        assertEquals(7, Statistics.percentile(new double[] {7}, 99), 0);
    }

    @Test
    public void meanAndDeviation() {
        assertEquals(2.5, Statistics.mean(VALUES), 0);
        assertEquals(Math.sqrt(5 / 3.0), Statistics.deviation(VALUES), 1e-15);
    }

    @Test
    public void quantilesOfStudent() {
        // The one of one degree of freedom is tan(0.475 pi); the others are from published tables.
        assertEquals(Math.tan(0.475 * Math.PI), Statistics.tQuantile(1), 1e-9);
        assertEquals(4.30265, Statistics.tQuantile(2), 5e-6);
        assertEquals(3.18245, Statistics.tQuantile(3), 5e-6);
        assertEquals(2.77645, Statistics.tQuantile(4), 5e-6);
        assertEquals(2.22814, Statistics.tQuantile(10), 5e-6);
        assertEquals(2.04227, Statistics.tQuantile(30), 5e-6);
        assertEquals(1.98397, Statistics.tQuantile(100), 5e-6);
    }

    @Test
    public void theIntervalOfAMean() {
        double half = Math.tan(0.475 * Math.PI) * Math.sqrt(0.5) / Math.sqrt(2);
        assertEquals(half, Statistics.halfInterval(new double[] {1, 2}), 1e-9);
    }
}

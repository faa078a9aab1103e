package dev.paredown.demo;

import dev.paredown.core.LaunchRecord;
import dev.paredown.core.report.Row;
import dev.paredown.core.report.Summary;
import dev.paredown.core.report.Validity;
import java.util.ArrayList;
import java.util.List;

/** What a benchmark found so far, in the words of {@code paredown profile}. */
final class BenchmarkResult {
    /** In place of every number of an emulator: they say nothing about a phone. */
    static final String HIDDEN = "emulated";

    /** A line of the table. */
    static final class Line {
        final String label;
        final String value;

        Line(String label, String value) {
            this.label = label;
            this.value = value;
        }
    }

    private final List<Line> lines = new ArrayList<>();
    private final Validity validity;

    /** @param launches of the plan, in the order in which they ran; at least one of phase time */
    BenchmarkResult(BenchmarkPlan plan, List<LaunchRecord> launches) {
        Summary summary = Summary.of(launches, plan.protocol().promptTokens);
        for (Row row : Row.of(plan.protocol(), summary)) {
            boolean known = summary.rows.containsKey(row.key);
            String value = known ? value(row) : row.value;
            lines.add(new Line(row.label, known && plan.emulated() ? HIDDEN : value));
        }
        validity = Validity.judge(launches, plan.protocol().threads);
    }

    List<Line> lines() {
        return lines;
    }

    /** {@code valid}, {@code suspect} or {@code invalid}. */
    String verdict() {
        return validity.verdict;
    }

    /** Why not valid, a line each. */
    String reasons() {
        return String.join("\n", validity.reasons);
    }

    private static String value(Row row) {
        String value = (row.value + " " + row.unit).trim();
        return row.interval.isEmpty() ? value : value + "\n(" + row.interval + ")";
    }
}

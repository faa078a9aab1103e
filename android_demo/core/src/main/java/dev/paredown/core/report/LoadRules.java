package dev.paredown.core.report;

import dev.paredown.core.LaunchRecord;
import dev.paredown.core.Sample;
import java.util.List;

/** Others' work, threads, and how launches differ. */
final class LoadRules {
    private static final double MOST_OTHER_WORK_CORES = 0.25;
    private static final double MOST_LAUNCH_CV = 0.05;

    private LoadRules() {}

    /** From the load average, which looks back over a minute, only where nothing better is said. */
    static void contention(Seen seen, int threads, Validity.Findings findings) {
        Double known = seen.largestFact("cpu_count");
        double cores = known == null ? Double.POSITIVE_INFINITY : known;
        Double others = seen.largestFact("other_work_cores");
        Double load = seen.largestFact("load_average_1m");
        if (threads > cores) {
            findings.add(false, MachineRules.format("%d threads on %.0f cores", threads, cores));
        } else if (others != null && others > MOST_OTHER_WORK_CORES) {
            findings.add(false, MachineRules.format(
                    "other work kept %.1f of %s cores busy", others, count(cores)));
        } else if (others == null && load != null && load > cores) {
            findings.add(false, MachineRules.format(
                    "the load average was %.1f on %.0f cores", load, cores));
        }
    }

    private static String count(double cores) {
        return Double.isInfinite(cores) ? "inf" : MachineRules.format("%.0f", cores);
    }

    /** How decode speed differs between launches of phase time. */
    static void spread(List<LaunchRecord> timed, Validity.Findings findings) {
        if (timed.size() < 2) {
            findings.add(
                    false, "a single launch says nothing about the variation between launches");
            return;
        }
        double[] means = new double[timed.size()];
        for (int i = 0; i < means.length; i++) {
            List<Sample> samples = timed.get(i).samples;
            double[] speeds = new double[samples.size()];
            for (int j = 0; j < speeds.length; j++) {
                Sample sample = samples.get(j);
                speeds[j] = (double) sample.tokenNs.length / sample.decodeNs();
            }
            means[i] = Statistics.mean(speeds);
        }
        double variation = Statistics.deviation(means) / Statistics.mean(means);
        if (variation > MOST_LAUNCH_CV) {
            findings.add(false, MachineRules.format(
                    "decode speed varies by %.1f%% between launches (over 5%%)", variation * 100));
        }
    }
}

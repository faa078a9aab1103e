package dev.paredown.core.report;

import dev.paredown.core.LaunchRecord;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/**
 * Whether launches may be believed: {@code valid}, {@code suspect} or {@code invalid}, and why.
 *
 * <p>Invalid says that the machine did not run at one speed, or that a clock cannot be trusted;
 * suspect says that something may have moved the numbers. The rules are the host's, for the sensors
 * that a phone has.
 */
public final class Validity {
    /** {@code valid}, {@code suspect} or {@code invalid}. */
    public final String verdict;
    /** Reasons, gravest first, each once. */
    public final List<String> reasons;

    private Validity(Findings findings) {
        Set<String> all = new LinkedHashSet<>(findings.invalid);
        all.addAll(findings.suspect);
        reasons = Collections.unmodifiableList(new ArrayList<>(all));
        boolean invalid = !findings.invalid.isEmpty();
        verdict = invalid ? "invalid" : reasons.isEmpty() ? "valid" : "suspect";
    }

    /**
     * Judge launches of one run.
     *
     * @param launches in the order in which they ran; at least one of phase {@code time}
     * @param threads compute threads of the engine
     */
    public static Validity judge(List<LaunchRecord> launches, int threads) {
        Seen seen = new Seen(launches);
        Findings findings = new Findings();
        MachineRules.find(launches, seen, findings);
        PhoneRules.find(seen, findings);
        LoadRules.contention(seen, threads, findings);
        MachineRules.frequency(launches, findings);
        LoadRules.spread(Summary.phase(launches, "time"), findings);
        return new Validity(findings);
    }

    /** Reasons by their weight. */
    static final class Findings {
        final List<String> invalid = new ArrayList<>();
        final List<String> suspect = new ArrayList<>();

        void add(boolean isInvalid, String text) {
            (isInvalid ? invalid : suspect).add(text);
        }
    }
}

package dev.paredown.core;

/** What other processes did with the processors while this one measured. */
final class OtherWork {
    /** Twenty ticks of the kernel's processor times: less says nothing. */
    private static final double SHORTEST_S = 0.2;
    /** USER_HZ of every Linux that Android and Debian ship. */
    private static final double TICKS_PER_S = 100;
    private static final double NS_PER_S = 1e9;
    /** user, nice, system, irq, softirq, steal: places after the word {@code cpu}. */
    private static final int[] BUSY = {1, 2, 3, 6, 7, 8};
    /** utime and stime, counted after the name in parentheses. */
    private static final int[] OWN = {12, 13};

    private final ProcReader proc;
    private final Clock clock;
    private final Double busyS;
    private final Double ownS;
    private final long startNs;

    /** From now on. */
    OtherWork(ProcReader proc, Clock clock) {
        this.proc = proc;
        this.clock = clock;
        this.busyS = busyS();
        this.ownS = ownS();
        this.startNs = clock.monotonicNs();
    }

    /** Busy processors since construction, on average, less this process's own. */
    Reading cores() {
        Double busy = busyS();
        Double own = ownS();
        double wall = (clock.monotonicNs() - startNs) / NS_PER_S;
        if (busyS == null || busy == null) {
            return Reading.absent("/proc/stat cannot be read");
        }
        if (ownS == null || own == null) {
            return Reading.absent("/proc/self/stat cannot be read");
        }
        if (wall < SHORTEST_S) {
            String seconds = String.format(java.util.Locale.ROOT, "%.3f", wall);
            return Reading.absent(seconds + " s are too short for the kernel's ticks");
        }
        // The kernel counts in ticks, so little work may come out slightly below zero.
        return Reading.of(Math.max(0, ((busy - busyS) - (own - ownS)) / wall));
    }

    private Double busyS() {
        String text = proc.read("proc/stat");
        return text != null && text.startsWith("cpu ") ? seconds(text.split("\n")[0], BUSY) : null;
    }

    private Double ownS() {
        String text = proc.read("proc/self/stat");
        int name = text == null ? -1 : text.lastIndexOf(')');
        return name < 0 ? null : seconds(text.substring(name), OWN);
    }

    private static Double seconds(String line, int[] places) {
        String[] columns = line.trim().split(" +");
        long ticks = 0;
        try {
            for (int place : places) {
                ticks += Long.parseLong(columns[place]);
            }
        } catch (NumberFormatException | ArrayIndexOutOfBoundsException strange) {
            return null;
        }
        return ticks / TICKS_PER_S;
    }
}

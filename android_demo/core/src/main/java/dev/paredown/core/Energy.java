package dev.paredown.core;

import java.util.List;

/** Energy of a launch from readings of {@code power_watts}. */
final class Energy {
    private static final double NS_PER_S = 1e9;

    private Energy() {}

    /** Joules between the first and the last reading, by the trapezoidal rule. */
    static Reading joules(List<Snapshot> trace) {
        double joules = 0;
        int readings = 0;
        double lastWatts = 0;
        long lastNs = 0;
        for (Snapshot snapshot : trace) {
            Object watts = snapshot.readings.get("power_watts");
            if (!(watts instanceof Double)) {
                continue;
            }
            if (readings++ > 0) {
                double seconds = (snapshot.atNs - lastNs) / NS_PER_S;
                joules += seconds * (lastWatts + (Double) watts) / 2;
            }
            lastWatts = (Double) watts;
            lastNs = snapshot.atNs;
        }
        return readings < 2
                ? Reading.absent("no energy meter, or fewer than two readings of it")
                : Reading.of(joules);
    }
}

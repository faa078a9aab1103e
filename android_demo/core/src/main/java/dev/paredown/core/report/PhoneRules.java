package dev.paredown.core.report;

import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/** Heat, thermal status and battery. */
final class PhoneRules {
    /** {@code PowerManager.THERMAL_STATUS_*} by number. */
    private static final List<String> STATUS = Arrays.asList(
            "none", "light", "moderate", "severe", "critical", "emergency", "shutdown");

    private static final int LIGHT = 1;
    private static final int SEVERE = 3;
    /** Where most phones begin to slow down, before they say so. */
    private static final double HOT_CELSIUS = 80;
    private static final double LOW_BATTERY_PERCENT = 20;

    private PhoneRules() {}

    static void find(Seen seen, Validity.Findings findings) {
        List<Double> temperatures = seen.numbers("temperature_celsius");
        if (!temperatures.isEmpty() && Collections.max(temperatures) >= HOT_CELSIUS) {
            findings.add(false, MachineRules.format(
                    "it was %.0f °C hot (limit %.0f)", Collections.max(temperatures), HOT_CELSIUS));
        }
        int level = 0;
        for (Object status : seen.different("thermal_status")) {
            int place = STATUS.indexOf(status.toString());
            level = Math.max(level, place < 0 ? STATUS.size() : place);
        }
        if (level >= LIGHT) {
            String name = STATUS.get(Math.min(level, STATUS.size() - 1));
            findings.add(level >= SEVERE, "Android's thermal status was " + name);
        }
        List<Double> battery = seen.numbers("battery_percent");
        if (!battery.isEmpty() && Collections.min(battery) < LOW_BATTERY_PERCENT) {
            findings.add(false, MachineRules.format(
                    "the battery was at %.0f%%, where phones slow down",
                    Collections.min(battery)));
        }
        if (seen.different("battery_charging").contains("yes")) {
            findings.add(false, "the battery was charging, which heats the phone");
        }
    }
}

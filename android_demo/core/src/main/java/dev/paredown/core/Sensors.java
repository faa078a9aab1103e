package dev.paredown.core;

import java.io.File;
import java.util.List;
import java.util.Map;

/**
 * What a machine says about itself. Names and units are those of every other device: {@code
 * temperature_celsius}, {@code cpu_frequency_hz}, {@code thermal_status} (none, light, moderate,
 * severe, critical, emergency, shutdown), {@code battery_percent}, {@code battery_charging} (yes,
 * no), {@code power_watts} and so on. {@link LinuxSensors} reads what the kernel offers; a phone
 * adds its own.
 */
public interface Sensors {
    /** Every sensor, those of {@link #moving} included. */
    Map<String, Reading> all();

    /** What may change while a launch runs; called between repetitions. */
    Map<String, Reading> moving();

    /** Processors that this process may use, as the kernel writes them ({@code 0-3,6}). */
    Reading affinity();

    /**
     * Drop files from the page cache.
     *
     * @return the share of their pages that stayed (0 is a cold cache), or why it was not done
     */
    Reading dropPageCache(List<File> files);
}

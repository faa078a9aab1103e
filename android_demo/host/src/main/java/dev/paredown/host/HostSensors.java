package dev.paredown.host;

import dev.paredown.core.LinuxSensors;
import dev.paredown.core.ProcReader;
import dev.paredown.core.Reading;
import java.util.LinkedHashMap;
import java.util.Map;

/** Linux's sensors, and that this is no phone, whatever the spec says. */
final class HostSensors extends LinuxSensors {
    HostSensors(ProcReader proc) {
        super(proc);
    }

    @Override
    public Map<String, Reading> all() {
        Map<String, Reading> readings = new LinkedHashMap<>(super.all());
        readings.put("emulated", Reading.of("yes", "the app's core on a JVM, not a phone"));
        return readings;
    }
}

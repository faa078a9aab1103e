package dev.paredown.core;

import java.io.File;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Gets a degree warmer with each look. */
final class FakeSensors implements Sensors {
    static final long MOVING_NS = 700;
    static final long WALL_JUMP_NS = 123;

    final List<File> dropped = new ArrayList<>();
    private final FakeClock clock;
    private double celsius = 40;

    FakeSensors(FakeClock clock) {
        this.clock = clock;
    }

    @Override
    public Map<String, Reading> all() {
        clock.wallAheadNs += WALL_JUMP_NS;
        Map<String, Reading> readings = new LinkedHashMap<>();
        readings.put("cpu_model", Reading.of("a fake"));
        readings.putAll(moving());
        return readings;
    }

    @Override
    public Map<String, Reading> moving() {
        clock.nowNs += MOVING_NS;
        Map<String, Reading> readings = new LinkedHashMap<>();
        readings.put("governor", Reading.absent("no cpufreq"));
        readings.put("temperature_celsius", Reading.of(celsius++));
        readings.put("power_watts", Reading.of(2.0));
        return readings;
    }

    @Override
    public Reading affinity() {
        return Reading.of("0-3", "not bound");
    }

    @Override
    public Reading dropPageCache(List<File> files) {
        dropped.addAll(files);
        return Reading.of(0.0);
    }
}

package dev.paredown.core;

import java.util.LinkedHashMap;
import java.util.Map;

/** What the moving sensors said at one moment; absent ones are left out. */
public final class Snapshot {
    /** As in {@link Sample#startNs}. */
    public final long atNs;
    /** {@code Double} or {@code String} by the sensor's name. */
    public final Map<String, Object> readings;

    private Snapshot(long atNs, Map<String, Object> readings) {
        this.atNs = atNs;
        this.readings = readings;
    }

    /** @param f a {@code Snapshot} of the schema */
    Snapshot(Fields f) {
        atNs = f.integer("at_ns");
        readings = new LinkedHashMap<>();
        Fields values = f.object("readings");
        for (String name : values.keys()) {
            readings.put(name, values.numberOrText(name));
        }
        f.end();
    }

    /** Read the sensors now. */
    static Snapshot take(long atNs, Sensors sensors) {
        Map<String, Object> readings = new LinkedHashMap<>();
        for (Map.Entry<String, Reading> entry : sensors.moving().entrySet()) {
            if (entry.getValue().value() != null) {
                readings.put(entry.getKey(), entry.getValue().value());
            }
        }
        return new Snapshot(atNs, readings);
    }

    /** As {@code Snapshot} of the schema. */
    public Map<String, Object> toJson() {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("at_ns", atNs);
        json.put("readings", readings);
        return json;
    }
}

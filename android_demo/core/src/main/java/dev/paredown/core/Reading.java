package dev.paredown.core;

import java.util.LinkedHashMap;
import java.util.Map;

/** A sensor's value, or null and the reason why there is none; never 0 for absent. */
public final class Reading {
    private final Object value;
    private final String reason;

    private Reading(Object value, String reason) {
        this.value = value;
        this.reason = reason;
    }

    /** A number, its unit in the sensor's name; a NaN or infinite one is absent. */
    public static Reading of(double value) {
        if (Double.isNaN(value) || Double.isInfinite(value)) {
            return absent("the sensor says " + value);
        }
        return new Reading(value, "");
    }

    /** A text. */
    public static Reading of(String value) {
        return new Reading(value, "");
    }

    /** A text with a remark, such as a request that was refused. */
    public static Reading of(String value, String reason) {
        return new Reading(value, reason);
    }

    /** No value, and why. */
    public static Reading absent(String reason) {
        return new Reading(null, reason);
    }

    /** @param f a {@code Reading} of the schema */
    static Reading read(Fields f) {
        Object value = f.any("value") == null ? null : f.numberOrText("value");
        Reading reading = new Reading(value, f.string("reason", ""));
        f.end();
        return reading;
    }

    /** A {@code Double}, a {@code String}, or null. */
    public Object value() {
        return value;
    }

    /** The number, or null where there is none. */
    public Double number() {
        return value instanceof Double ? (Double) value : null;
    }

    /** Why there is no value, else usually empty. */
    public String reason() {
        return reason;
    }

    /** As {@code Reading} of the schema. */
    public Map<String, Object> toJson() {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("value", value);
        json.put("reason", reason);
        return json;
    }
}

package dev.paredown.core.report;

import dev.paredown.core.LaunchRecord;
import dev.paredown.core.Reading;
import dev.paredown.core.Snapshot;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/** Readings of a sensor over some launches. */
final class Seen {
    private final List<LaunchRecord> launches;

    Seen(List<LaunchRecord> launches) {
        this.launches = launches;
    }

    /** Every value in the order of time: a launch's trace, then its facts; absent ones left out. */
    List<Object> all(String name) {
        List<Object> values = new ArrayList<>();
        for (LaunchRecord launch : launches) {
            for (Snapshot snapshot : launch.trace) {
                addKnown(values, snapshot.readings.get(name));
            }
            addKnown(values, fact(launch, name));
        }
        return values;
    }

    /** Values of the facts alone. */
    List<Object> facts(String name) {
        List<Object> values = new ArrayList<>();
        for (LaunchRecord launch : launches) {
            addKnown(values, fact(launch, name));
        }
        return values;
    }

    /** Different values of {@link #all}. */
    Set<Object> different(String name) {
        return new LinkedHashSet<>(all(name));
    }

    /** Numbers among {@link #all}. */
    List<Double> numbers(String name) {
        return numbers(all(name));
    }

    /** Largest number among the facts, or null. */
    Double largestFact(String name) {
        List<Double> numbers = numbers(facts(name));
        return numbers.isEmpty() ? null : Collections.max(numbers);
    }

    static Object fact(LaunchRecord launch, String name) {
        Reading reading = launch.device.get(name);
        return reading == null ? null : reading.value();
    }

    static List<Double> numbers(List<Object> values) {
        List<Double> numbers = new ArrayList<>();
        for (Object value : values) {
            if (value instanceof Double) {
                numbers.add((Double) value);
            }
        }
        return numbers;
    }

    private static void addKnown(List<Object> values, Object value) {
        if (value != null) {
            values.add(value);
        }
    }
}

package dev.paredown.core;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What one fresh process measured; {@code LaunchRecord} of the schema. */
public final class LaunchRecord {
    /** The version of the format that this program writes. */
    public static final String SCHEMA = "paredown.launch/2";

    /** From opening the model file to a runnable engine, in nanoseconds. */
    public long loadNs;
    /** Measured repetitions. */
    public List<Sample> samples = Collections.emptyList();
    /** VmHWM at the end, or null. */
    public Long peakRssBytes;
    /** The runtime. */
    public String engine = "";
    /** Versions of its libraries. */
    public Map<String, String> engineVersions = Collections.emptyMap();
    /** Every sensor at the end of the launch. */
    public Map<String, Reading> device = Collections.emptyMap();
    /** What the launch did. */
    public String phase = "time";
    /** Phase memory: PSS, or null. */
    public Long pssBytes;
    /** Phase memory: RssAnon, or null. */
    public Long anonBytes;
    /** Phase memory: RssFile, or null. */
    public Long fileBytes;
    /** Phase memory: VmRSS before the model was opened, or null. */
    public Long baseRssBytes;
    /** The moving sensors before the first repetition and after each. */
    public List<Snapshot> trace = Collections.emptyList();
    /** The fixed computation before and after, in nanoseconds. */
    public long[] driftNs = {};
    /** Wall clock minus monotonic clock over the launch, in nanoseconds; null: not looked at. */
    public Long clockJumpNs;

    /** One to be filled in. */
    public LaunchRecord() {}

    /**
     * One that was written before.
     *
     * @throws ParedownException naming what is unknown, missing or of the wrong type
     */
    public LaunchRecord(Fields f) {
        f.schema(SCHEMA);
        loadNs = f.integer("load_ns");
        samples = readSamples(f);
        f.any("peak_rss_bytes");
        peakRssBytes = f.nullableInteger("peak_rss_bytes");
        engine = f.string("engine");
        engineVersions = f.strings("engine_versions");
        device = readDevice(f.object("device"));
        phase = f.string("phase", phase);
        pssBytes = f.nullableInteger("pss_bytes");
        anonBytes = f.nullableInteger("anon_bytes");
        fileBytes = f.nullableInteger("file_bytes");
        baseRssBytes = f.nullableInteger("base_rss_bytes");
        trace = readTrace(f);
        driftNs = f.has("drift_ns") ? f.longs("drift_ns") : driftNs;
        clockJumpNs = f.nullableInteger("clock_jump_ns");
        f.end();
    }

    private static List<Sample> readSamples(Fields f) {
        List<Sample> samples = new ArrayList<>();
        for (Fields sample : f.objects("samples")) {
            samples.add(new Sample(sample));
        }
        return samples;
    }

    private static List<Snapshot> readTrace(Fields f) {
        List<Snapshot> trace = new ArrayList<>();
        if (f.has("trace")) {
            for (Fields snapshot : f.objects("trace")) {
                trace.add(new Snapshot(snapshot));
            }
        }
        return trace;
    }

    private static Map<String, Reading> readDevice(Fields f) {
        Map<String, Reading> device = new LinkedHashMap<>();
        for (String name : f.keys()) {
            device.put(name, Reading.read(f.object(name)));
        }
        return device;
    }

    /** As {@code LaunchRecord} of the schema. */
    public Map<String, Object> toJson() {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("load_ns", loadNs);
        json.put("samples", sampleList());
        json.put("peak_rss_bytes", peakRssBytes);
        json.put("engine", engine);
        json.put("engine_versions", new LinkedHashMap<>(engineVersions));
        json.put("device", readings());
        json.put("phase", phase);
        json.put("pss_bytes", pssBytes);
        json.put("anon_bytes", anonBytes);
        json.put("file_bytes", fileBytes);
        json.put("base_rss_bytes", baseRssBytes);
        json.put("trace", traceList());
        json.put("drift_ns", Lists.of(driftNs));
        json.put("clock_jump_ns", clockJumpNs);
        json.put("schema", SCHEMA);
        return json;
    }

    private List<Object> sampleList() {
        List<Object> list = new ArrayList<>();
        for (Sample sample : samples) {
            list.add(sample.toJson());
        }
        return list;
    }

    private List<Object> traceList() {
        List<Object> list = new ArrayList<>();
        for (Snapshot snapshot : trace) {
            list.add(snapshot.toJson());
        }
        return list;
    }

    private Map<String, Object> readings() {
        Map<String, Object> json = new LinkedHashMap<>();
        for (Map.Entry<String, Reading> entry : device.entrySet()) {
            json.put(entry.getKey(), entry.getValue().toJson());
        }
        return json;
    }
}

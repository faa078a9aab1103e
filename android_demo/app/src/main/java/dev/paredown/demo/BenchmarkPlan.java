package dev.paredown.demo;

import dev.paredown.core.Json;
import dev.paredown.core.Manifest;
import dev.paredown.core.Protocol;
import dev.paredown.core.Spec;
import dev.paredown.core.TextFiles;
import java.io.File;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What the benchmark screen measures: a short form of what the laptop asks for. */
final class BenchmarkPlan {
    /** Not a phase of a protocol: the golden cases, before any number. */
    static final String CHECK = "check";

    private static final String TIME = "time";
    private static final String MEMORY = "memory";
    private static final int PROMPT_TOKENS = 128;
    private static final int GENERATED_TOKENS = 64;
    private static final int REPETITIONS = 3;
    private static final int LAUNCHES = 3;

    private final File folder;
    private final Manifest manifest;
    private final int threads;
    private final boolean emulated;
    private final long startedMs = System.currentTimeMillis();

    /** @param emulated whether times and sizes of this machine mean nothing */
    BenchmarkPlan(File folder, Manifest manifest, int threads, boolean emulated) {
        this.folder = folder;
        this.manifest = manifest;
        this.threads = threads;
        this.emulated = emulated;
    }

    String bundleName() {
        return manifest.name;
    }

    /** The workload as llama-bench writes it. */
    String label() {
        return "pp" + promptTokens() + "+tg" + generatedTokens();
    }

    boolean emulated() {
        return emulated;
    }

    /** One launch each. */
    List<String> phases() {
        List<String> phases = new ArrayList<>();
        phases.add(CHECK);
        for (int i = 0; i < LAUNCHES; i++) {
            phases.add(TIME);
        }
        phases.add(MEMORY);
        return phases;
    }

    /** As it stands in the report of a timed launch. */
    Protocol protocol() {
        return Protocol.parse(Json.write(protocol(TIME)), "protocol");
    }

    /**
     * Write the spec of a launch.
     *
     * @param place of the launch among those of the run, from 1
     */
    void writeSpec(File file, String phase, int place) {
        boolean checks = phase.equals(CHECK);
        Map<String, Object> spec = new LinkedHashMap<>();
        spec.put("schema", Spec.SCHEMA);
        spec.put("id", "app-" + startedMs + "-" + place + "-" + phase);
        spec.put("verb", checks ? CHECK : "measure");
        spec.put("bundle", folder.getAbsolutePath());
        spec.put("protocol", checks ? null : protocol(phase));
        spec.put("prompt_ids", null);
        spec.put("prompt", null);
        spec.put("max_new_tokens", null);
        spec.put("threads", threads);
        spec.put("emulated", emulated);
        TextFiles.write(file, Json.write(spec));
    }

    private Map<String, Object> protocol(String phase) {
        Map<String, Object> protocol = new LinkedHashMap<>();
        protocol.put("schema", Protocol.SCHEMA);
        protocol.put("prompt_tokens", promptTokens());
        protocol.put("generated_tokens", generatedTokens());
        protocol.put("repetitions", REPETITIONS);
        protocol.put("launches", LAUNCHES);
        protocol.put("threads", threads);
        protocol.put("cold", false);
        protocol.put("phase", phase);
        return protocol;
    }

    /** Half of a short context. */
    private int promptTokens() {
        return Math.max(1, Math.min(PROMPT_TOKENS, manifest.contextLength / 2));
    }

    private int generatedTokens() {
        return Math.max(1, Math.min(GENERATED_TOKENS, manifest.contextLength - promptTokens() - 1));
    }
}

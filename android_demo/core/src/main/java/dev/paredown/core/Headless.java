package dev.paredown.core;

import java.io.File;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** A spec in, an answer file out: what the host drives, with no screen and no user. */
public final class Headless {
    private static final String SUFFIX = ".json";
    private static final String NAMELESS = "failure";

    private final List<EngineFactory> engines;
    private final TextCodecFactory texts;
    private final Sensors sensors;
    private final ProcReader proc;
    private final Clock clock;

    /**
     * @param engines those that this process can open
     * @param texts opens tokenizers
     */
    public Headless(
            List<EngineFactory> engines,
            TextCodecFactory texts,
            Sensors sensors,
            ProcReader proc,
            Clock clock) {
        this.engines = engines;
        this.texts = texts;
        this.sensors = sensors;
        this.proc = proc;
        this.clock = clock;
    }

    /**
     * Do what a spec says. Never throws: whatever happens is an answer.
     *
     * <p>The answer is the file {@code ID.json}, there whole or not at all; one of an earlier run
     * of the same id is removed first, so that a killed run leaves none. Where the spec cannot be
     * read, its own file's name stands for the id.
     *
     * @param reports folder of the answer, made where it is absent
     * @param cancel stops the run, which then leaves a failure of exit code 130
     */
    public Outcome run(File specFile, File reports, Cancellation cancel, Events events) {
        String id = idOfFile(specFile);
        int exitCode;
        String json;
        Failure failure = null;
        try {
            Spec spec = Spec.read(specFile);
            id = spec.id;
            forget(reports, id);
            Map<String, Object> answer = new LinkedHashMap<>();
            exitCode = serve(spec, cancel, events, answer);
            json = Json.write(answer);
        } catch (Throwable error) { // whatever it was, the host waits for an answer
            failure = Failure.of(error);
            exitCode = failure.exitCode;
            json = Json.write(failure.toJson());
        }
        return leave(reports, id, exitCode, json, failure);
    }

    /** Fill in the answer; the exit code. */
    private int serve(Spec spec, Cancellation cancel, Events events, Map<String, Object> answer) {
        Bundle bundle = Bundle.open(spec.bundle, cancel);
        EngineFactory factory = factory(bundle.manifest());
        switch (spec.verb) {
            case "measure":
                answer.putAll(measure(spec, bundle, factory, cancel, events).toJson());
                return 0;
            case "check":
                CheckReport report = check(spec, bundle, factory, cancel);
                answer.putAll(report.toJson());
                return report.passed ? 0 : ParedownException.HOLD;
            default:
                answer.putAll(chat(spec, bundle, factory, cancel, events).toJson());
                return 0;
        }
    }

    private LaunchRecord measure(
            Spec spec, Bundle bundle, EngineFactory factory, Cancellation cancel, Events events) {
        Workload work = Workload.of(bundle, spec.protocol, spec.promptIds);
        Benchmark benchmark = new Benchmark(clock, sensors, proc, cancel, events);
        LaunchRecord record = benchmark.run(bundle, factory, spec.protocol, work);
        if (spec.emulated) {
            String reason = "a stand-in, not a phone: times and sizes mean nothing";
            record.device.put("emulated", Reading.of("yes", reason));
        }
        return record;
    }

    private static CheckReport check(
            Spec spec, Bundle bundle, EngineFactory factory, Cancellation cancel) {
        factory.prepare();
        try (Engine engine = factory.open(bundle, spec.threads)) {
            return new GoldenCheck(cancel).run(engine, bundle.manifest());
        }
    }

    private ChatAnswer chat(
            Spec spec, Bundle bundle, EngineFactory factory, Cancellation cancel, Events events) {
        TextCodec codec = texts.open(bundle);
        int[] promptIds = codec.promptIds(spec.prompt);
        factory.prepare();
        try (Engine engine = factory.open(bundle, spec.threads)) {
            Chat.Listener listener = (piece, count, atNs) -> {
                if (!piece.isEmpty()) {
                    events.text(piece);
                }
            };
            return new Chat(clock, cancel).answer(
                    engine, bundle.manifest(), codec, promptIds, spec.maxNewTokens, listener);
        }
    }

    private EngineFactory factory(Manifest manifest) {
        for (EngineFactory factory : engines) {
            if (factory.backend().equals(manifest.backend)) {
                return factory;
            }
        }
        throw ParedownException.missing(
                "this program has no engine for " + manifest.backend + " bundles",
                "export with another --backend");
    }

    private static Outcome leave(
            File reports, String id, int exitCode, String json, Failure failure) {
        String sentence = failure == null ? "" : failure.sentence();
        try {
            reports.mkdirs();
            File file = new File(reports, id + SUFFIX);
            TextFiles.write(file, json);
            return new Outcome(exitCode, json, file, sentence);
        } catch (RuntimeException error) {
            Failure unwritten = Failure.of(error);
            String all = sentence.isEmpty() ? "" : sentence + "; ";
            return new Outcome(
                    exitCode == 0 ? unwritten.exitCode : exitCode,
                    json,
                    null,
                    all + unwritten.sentence());
        }
    }

    private static void forget(File reports, String id) {
        File old = new File(reports, id + SUFFIX);
        if (old.exists() && !old.delete()) {
            throw ParedownException.badRequest("cannot remove " + old, "check the folder");
        }
    }

    private static String idOfFile(File specFile) {
        String name = specFile.getName();
        String stem = name.endsWith(SUFFIX) ? name.substring(0, name.length() - 5) : name;
        return Spec.isId(stem) ? stem : NAMELESS;
    }
}

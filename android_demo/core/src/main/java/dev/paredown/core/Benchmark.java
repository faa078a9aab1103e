package dev.paredown.core;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** One launch of a measurement, in this process; the same steps as on every other device. */
public final class Benchmark {
    /** A sustained launch reads the sensors this often. */
    static final long SAMPLING_NS = 2_000_000_000L;

    private static final int TIMER_CALLS = 2000;
    private static final double NS_PER_S = 1e9;

    private final Clock clock;
    private final Sensors sensors;
    private final ProcReader proc;
    private final Cancellation cancel;
    private final Events events;
    private final DriftProbe probe;

    /**
     * @param cancel looked at before each token
     * @param events told after each repetition, between two measured ones
     */
    public Benchmark(
            Clock clock, Sensors sensors, ProcReader proc, Cancellation cancel, Events events) {
        this.clock = clock;
        this.sensors = sensors;
        this.proc = proc;
        this.cancel = cancel;
        this.events = events;
        this.probe = new DriftProbe(clock);
    }

    /**
     * One launch of the kind that {@code protocol.phase} says, in a process that has measured
     * nothing before.
     *
     * @param work of this bundle and protocol
     * @throws ParedownException the engine cannot be opened or run, or cancelled
     */
    public LaunchRecord run(
            Bundle bundle, EngineFactory factory, Protocol protocol, Workload work) {
        Generator.requireDecoder(bundle.manifest());
        Launch launch = new Launch(bundle, factory, protocol, work);
        long wall = clock.wallNs();
        long monotonic = clock.monotonicNs();
        LaunchRecord record = launch.run();
        record.clockJumpNs = (clock.wallNs() - wall) - (clock.monotonicNs() - monotonic);
        return record;
    }

    /** Nanoseconds that one reading of the clock costs. */
    private double timerOverheadNs() {
        long start = clock.monotonicNs();
        for (int i = 0; i < TIMER_CALLS; i++) {
            clock.monotonicNs();
        }
        return (double) (clock.monotonicNs() - start) / (TIMER_CALLS + 1);
    }

    /** What one call of {@link #run} is about. */
    private final class Launch {
        private final Bundle bundle;
        private final EngineFactory factory;
        private final Protocol protocol;
        private final Workload work;
        private final Generator generator = new Generator(clock, cancel);
        private final LaunchRecord record = new LaunchRecord();
        private final List<Sample> samples = new ArrayList<>();
        private final List<Snapshot> trace = new ArrayList<>();
        private final Map<String, Reading> extra = new LinkedHashMap<>();
        private long originNs;

        Launch(Bundle bundle, EngineFactory factory, Protocol protocol, Workload work) {
            this.bundle = bundle;
            this.factory = factory;
            this.protocol = protocol;
            this.work = work;
        }

        LaunchRecord run() {
            record.phase = protocol.phase;
            record.samples = samples;
            record.trace = trace;
            switch (protocol.phase) {
                case "time":
                    return timed();
                case "cold":
                    return cold();
                case "memory":
                    return memory();
                default:
                    return sustained();
            }
        }

        /** Warm up, then time the repetitions, with the sensors read around each of them. */
        private LaunchRecord timed() {
            long before = probe.run();
            try (Engine engine = open()) {
                for (int i = 0; i < protocol.warmup; i++) {
                    repeat(engine, null);
                }
                OtherWork others = new OtherWork(proc, clock);
                originNs = clock.monotonicNs();
                trace.add(Snapshot.take(0, sensors));
                for (int i = 1; i <= protocol.repetitions; i++) {
                    samples.add(repeat(engine, null));
                    trace.add(Snapshot.take(clock.monotonicNs() - originNs, sensors));
                    events.repetition(i, protocol.repetitions);
                }
                extra.put("other_work_cores", others.cores());
                record.driftNs = new long[] {before, probe.run()};
                return conclude(engine);
            }
        }

        /** Load only, after the model's files have left the page cache. */
        private LaunchRecord cold() {
            factory.prepare();
            extra.put("page_cache_resident", sensors.dropPageCache(bundle.modelFiles()));
            try (Engine engine = open()) {
                return conclude(engine);
            }
        }

        /** One repetition, then what the kernel says about this process. */
        private LaunchRecord memory() {
            factory.prepare();
            record.baseRssBytes = proc.statusBytes("VmRSS");
            try (Engine engine = open()) {
                samples.add(repeat(engine, null));
                conclude(engine);
                record.anonBytes = proc.statusBytes("RssAnon");
                record.fileBytes = proc.statusBytes("RssFile");
                record.pssBytes = proc.pssBytes();
                return record;
            }
        }

        /** Repeat without a pause, with a light look at the sensors between tokens. */
        private LaunchRecord sustained() {
            try (Engine engine = open()) {
                OtherWork others = new OtherWork(proc, clock);
                originNs = clock.monotonicNs();
                trace.add(Snapshot.take(0, sensors));
                long end = originNs + (long) (protocol.sustainedS * NS_PER_S);
                while (clock.monotonicNs() < end) {
                    samples.add(repeat(engine, this::look));
                    events.repetition(samples.size(), 0);
                }
                extra.put("other_work_cores", others.cores());
                return conclude(engine);
            }
        }

        private long look(long nowNs) {
            long at = nowNs - originNs;
            if (at - trace.get(trace.size() - 1).atNs < SAMPLING_NS) {
                return nowNs;
            }
            trace.add(Snapshot.take(at, sensors));
            return clock.monotonicNs();
        }

        private Engine open() {
            factory.prepare();
            cancel.check();
            long start = clock.monotonicNs();
            Engine engine = factory.open(bundle, protocol.threads);
            record.loadNs = clock.monotonicNs() - start;
            return engine;
        }

        private Sample repeat(Engine engine, Generator.AfterToken between) {
            return generator.timed(engine, work, protocol.generatedTokens, originNs, between);
        }

        /** Facts about engine and machine, at the end of the launch. */
        private LaunchRecord conclude(Engine engine) {
            Map<String, Reading> facts = new LinkedHashMap<>(sensors.all());
            if (trace.size() > 1) {
                facts.put("launch_energy_joules", Energy.joules(trace));
            }
            facts.putAll(extra);
            facts.put("timer_overhead_ns", Reading.of(timerOverheadNs()));
            facts.put("cpu_affinity", sensors.affinity());
            record.device = facts;
            record.engine = engine.name();
            record.engineVersions = engine.versions();
            record.peakRssBytes = proc.peakRssBytes();
            return record;
        }
    }
}

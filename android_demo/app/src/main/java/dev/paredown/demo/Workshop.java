package dev.paredown.demo;

import android.content.Context;
import android.os.Handler;
import android.os.Looper;
import dev.paredown.core.Bundle;
import dev.paredown.core.Cancellation;
import dev.paredown.core.Chat;
import dev.paredown.core.CheckReport;
import dev.paredown.core.Engine;
import dev.paredown.core.EngineFactory;
import dev.paredown.core.Failure;
import dev.paredown.core.GoldenCheck;
import dev.paredown.core.ParedownException;
import dev.paredown.core.ProcReader;
import dev.paredown.core.SystemClock;
import dev.paredown.core.TextCodec;
import java.io.File;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * The chosen bundle, its engine and the answer; screens come and go.
 *
 * <p>Every method is called on the main thread and returns at once. One thread works: it alone
 * touches the engine, and what it finds is told on the main thread, in order.
 */
final class Workshop {
    /** A screen; called on the main thread. */
    interface Listener {
        void changed();
    }

    /** What is going on. */
    enum Stage {
        NOTHING,
        CHECKING,
        READY,
        READING,
        ANSWERING,
        REFUSED
    }

    private static final int MAX_NEW_TOKENS = 256;
    private static final double NS_PER_S = 1e9;
    private static final double NS_PER_MS = 1e6;
    private static final long MEMORY_INTERVAL_NS = 1_000_000_000L;

    private final Context context;
    private final Handler main = new Handler(Looper.getMainLooper());
    private final ExecutorService worker =
            Executors.newSingleThreadExecutor(task -> new Thread(task, "engine"));
    private final ExecutorService looker =
            Executors.newSingleThreadExecutor(task -> new Thread(task, "bundles"));
    private final SystemClock clock = new SystemClock();
    private final ProcReader proc = new ProcReader();

    // Of the main thread.
    private Listener listener;
    private Cancellation cancel = new Cancellation();
    private List<Folders.Found> found = Collections.emptyList();
    private boolean looked;
    private File folder;
    private Stage stage = Stage.NOTHING;
    private String notice = "";
    private final StringBuilder answer = new StringBuilder();
    private Double firstTokenMs;
    private Double tokensPerSecond;
    private Long memoryBytes;

    // Of the working thread.
    private Bundle bundle;
    private Engine engine;
    private TextCodec codec;

    Workshop(Context context) {
        this.context = context;
    }

    void listen(Listener screen) {
        listener = screen;
    }

    /** Stop telling a screen; another may be there already. */
    void forget(Listener screen) {
        if (listener == screen) {
            listener = null;
        }
    }

    Stage stage() {
        return stage;
    }

    String notice() {
        return notice;
    }

    CharSequence answer() {
        return answer;
    }

    /** Of the last answer, or null. */
    Double firstTokenMs() {
        return firstTokenMs;
    }

    /** Of the decode steps so far, or null. */
    Double tokensPerSecond() {
        return tokensPerSecond;
    }

    /** Resident memory of the app, or null. */
    Long memoryBytes() {
        return memoryBytes;
    }

    /** The chosen bundle's folder, or null. */
    File folder() {
        return folder;
    }

    List<Folders.Found> found() {
        return found;
    }

    /** Whether bundles have been looked for. */
    boolean looked() {
        return looked;
    }

    boolean busy() {
        return stage == Stage.CHECKING || stage == Stage.READING || stage == Stage.ANSWERING;
    }

    /** Look for bundles. */
    void look() {
        looker.execute(() -> {
            List<Folders.Found> bundles = Folders.bundles(context);
            main.post(() -> {
                found = bundles;
                looked = true;
                tell();
            });
        });
    }

    /** Check a bundle and load it; what ran before is stopped. */
    void choose(File chosen) {
        stop();
        folder = chosen;
        clearFigures();
        answer.setLength(0);
        Cancellation mine = begin(Stage.CHECKING, text(R.string.checking, chosen.getName()));
        worker.execute(() -> {
            closeEngine();
            attempt(mine, () -> {
                String ready = load(chosen, mine);
                report(mine, Stage.READY, ready);
            });
        });
    }

    /** Answer a prompt. */
    void ask(String prompt) {
        if (folder == null || prompt.trim().isEmpty()) {
            notice = text(folder == null ? R.string.choose_first : R.string.write_first);
            tell();
            return;
        }
        stop();
        clearFigures();
        answer.setLength(0);
        File chosen = folder;
        Cancellation mine = begin(Stage.READING, text(R.string.reading_prompt));
        worker.execute(() -> attempt(mine, () -> {
            if (engine == null) {
                report(mine, Stage.CHECKING, text(R.string.checking, chosen.getName()));
                load(chosen, mine);
                report(mine, Stage.READING, text(R.string.reading_prompt));
            }
            Answering answering = new Answering(mine);
            int tokens =
                    new Chat(clock, mine)
                            .answer(
                                    engine,
                                    bundle.manifest(),
                                    codec,
                                    codec.promptIds(prompt),
                                    MAX_NEW_TOKENS,
                                    answering)
                            .generatedTokens;
            report(mine, Stage.READY, text(R.string.answered, tokens));
        }));
    }

    /** Ask the work that is going on to stop; it does at its next token. */
    void stop() {
        cancel.cancel();
    }

    /** Stop, and give the engine's memory back; the next prompt loads it anew. */
    void letGo(String why) {
        if (stage == Stage.NOTHING || stage == Stage.REFUSED) {
            return;
        }
        stop();
        Cancellation mine = begin(Stage.READY, why);
        worker.execute(() -> {
            closeEngine();
            report(mine, Stage.READY, why);
        });
    }

    private Cancellation begin(Stage next, String what) {
        cancel = new Cancellation();
        stage = next;
        notice = what;
        tell();
        return cancel;
    }

    /** What the working thread found out; nothing where other work has begun since. */
    private void report(Cancellation mine, Stage next, String what) {
        Long memory = proc.statusBytes("VmRSS");
        main.post(() -> {
            if (cancel == mine) {
                stage = next;
                notice = what;
                memoryBytes = memory;
                tell();
            }
        });
    }

    private void attempt(Cancellation mine, Runnable work) {
        try {
            work.run();
        } catch (ParedownException error) {
            boolean stopped = error.exitCode() == ParedownException.INTERRUPTED;
            boolean loaded = engine != null;
            String what =
                    stopped
                            ? text(R.string.stopped)
                            : text(loaded ? R.string.failed : R.string.refused, error.sentence());
            report(mine, stopped || loaded ? Stage.READY : Stage.REFUSED, what);
        } catch (RuntimeException | LinkageError | OutOfMemoryError error) {
            closeEngine();
            String what = text(R.string.failed, Failure.of(error).sentence());
            report(mine, Stage.REFUSED, what);
        }
    }

    /** Check every byte and every golden case, and keep the engine; what to tell. */
    private String load(File chosen, Cancellation mine) {
        Bundle checked = Bundle.open(chosen, mine);
        EngineFactory factory = Engines.factory(context, checked.manifest());
        factory.prepare();
        Engine opened = factory.open(checked, Engines.defaultThreads());
        try {
            CheckReport report = new GoldenCheck(mine).run(opened, checked.manifest());
            if (!report.passed) {
                throw new ParedownException(report.sentence(), "", ParedownException.HOLD);
            }
            codec = Engines.texts().open(checked);
            bundle = checked;
            engine = opened;
            opened = null;
            return text(R.string.ready, checked.manifest().name, report.cases.size());
        } finally {
            if (opened != null) {
                opened.close();
            }
        }
    }

    private void closeEngine() {
        if (engine != null) {
            engine.close();
        }
        engine = null;
        bundle = null;
        codec = null;
    }

    private void clearFigures() {
        firstTokenMs = null;
        tokensPerSecond = null;
    }

    private void tell() {
        if (listener != null) {
            listener.changed();
        }
    }

    private String text(int id, Object... arguments) {
        return context.getString(id, arguments);
    }

    /** Passes tokens on to the main thread. */
    private final class Answering implements Chat.Listener {
        private final Cancellation mine;
        private long firstNs;
        private long memoryAtNs = Long.MIN_VALUE;
        private Long memory;

        Answering(Cancellation mine) {
            this.mine = mine;
        }

        @Override
        public void token(String piece, int count, long atNs) {
            firstNs = count == 1 ? atNs : firstNs;
            if (memoryAtNs == Long.MIN_VALUE || atNs - memoryAtNs > MEMORY_INTERVAL_NS) {
                memoryAtNs = atNs;
                memory = proc.statusBytes("VmRSS");
            }
            double first = firstNs / NS_PER_MS;
            Double speed = count > 1 ? (count - 1) * NS_PER_S / (atNs - firstNs) : null;
            Long resident = memory;
            main.post(() -> show(piece, first, speed, resident));
        }

        private void show(String piece, double first, Double speed, Long resident) {
            if (cancel != mine) {
                return;
            }
            answer.append(piece);
            firstTokenMs = first;
            tokensPerSecond = speed;
            memoryBytes = resident;
            if (stage != Stage.ANSWERING) {
                stage = Stage.ANSWERING;
                notice = text(R.string.answering);
            }
            tell();
        }
    }
}

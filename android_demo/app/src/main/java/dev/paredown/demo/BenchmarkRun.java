package dev.paredown.demo;

import android.content.ComponentName;
import android.content.Context;
import android.content.Intent;
import android.content.ServiceConnection;
import android.os.Bundle;
import android.os.Handler;
import android.os.IBinder;
import android.os.Looper;
import android.os.Message;
import android.os.Messenger;
import android.os.RemoteException;
import dev.paredown.core.Fields;
import dev.paredown.core.Json;
import dev.paredown.core.LaunchRecord;
import dev.paredown.core.Manifest;
import dev.paredown.core.ParedownException;
import dev.paredown.core.TextFiles;
import java.io.File;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * A benchmark as a row of launches, each in a fresh process: first the golden cases, then time,
 * then memory. Screens come and go. Every method is called on the main thread.
 */
final class BenchmarkRun {
    /** A screen; called on the main thread. */
    interface Listener {
        void changed();
    }

    private final Context context;
    private final Handler main = new Handler(Looper.getMainLooper());
    private final ExecutorService files =
            Executors.newSingleThreadExecutor(task -> new Thread(task, "reports"));
    private final Messenger answers =
            new Messenger(new Handler(Looper.getMainLooper(), this::hear));

    private Listener listener;
    private BenchmarkPlan plan;
    private final Deque<String> waiting = new ArrayDeque<>();
    private int total;
    private int number;
    private String phase = "";
    private boolean running;
    private boolean answered;
    private boolean stopping;
    private String notice = "";
    private BenchmarkResult result;
    private final List<LaunchRecord> launches = new ArrayList<>();
    private final List<File> reports = new ArrayList<>();
    private Launch launch;

    BenchmarkRun(Context context) {
        this.context = context;
    }

    void listen(Listener screen) {
        listener = screen;
    }

    void forget(Listener screen) {
        if (listener == screen) {
            listener = null;
        }
    }

    boolean running() {
        return running;
    }

    String notice() {
        return notice;
    }

    /** What was measured so far; null before the golden cases have passed. */
    BenchmarkResult result() {
        return result;
    }

    /** One file per launch, as every other device writes them. */
    List<File> reports() {
        return Collections.unmodifiableList(reports);
    }

    /** Of the run, or null where there was none. */
    BenchmarkPlan plan() {
        return plan;
    }

    /** Begin; what is running already goes on. */
    void start(File folder, int threads) {
        if (running) {
            return;
        }
        running = true;
        stopping = false;
        reports.clear();
        launches.clear();
        result = null;
        say(context.getString(R.string.checking, folder.getName()));
        files.execute(() -> {
            try {
                Manifest manifest = dev.paredown.core.Bundle.read(folder).manifest();
                BenchmarkPlan made =
                        new BenchmarkPlan(folder, manifest, threads, Engines.emulated());
                main.post(() -> begin(made));
            } catch (ParedownException error) {
                main.post(() -> fail(context.getString(R.string.refused, error.sentence())));
            }
        });
    }

    /** Stop at the next token. */
    void stop() {
        stopping = true;
        waiting.clear();
        if (launch != null) {
            launch.send(Message.obtain(null, MeasuringService.STOP));
        }
    }

    private void begin(BenchmarkPlan made) {
        plan = made;
        waiting.clear();
        waiting.addAll(made.phases());
        total = waiting.size();
        number = 0;
        next();
    }

    private void next() {
        if (stopping) {
            fail(context.getString(R.string.stopped));
            return;
        }
        if (waiting.isEmpty()) {
            running = false;
            say(context.getString(R.string.benchmark_done, total));
            return;
        }
        phase = waiting.remove();
        number++;
        answered = false;
        say(context.getString(R.string.launch_of, number, total, phase));
        String wanted = phase;
        int place = number;
        files.execute(() -> {
            try {
                File spec = new File(context.getCacheDir(), "spec.json");
                plan.writeSpec(spec, wanted, place);
                main.post(() -> launch(spec));
            } catch (ParedownException error) {
                main.post(() -> fail(error.sentence()));
            }
        });
    }

    private void launch(File spec) {
        if (stopping) {
            fail(context.getString(R.string.stopped));
        } else {
            launch = new Launch(spec);
        }
    }

    /** A message of the measuring process. */
    private boolean hear(Message message) {
        if (message.what == MeasuringService.REPETITION) {
            String of = message.arg2 > 0 ? " " + message.arg1 + "/" + message.arg2 : "";
            say(context.getString(R.string.launch_of, number, total, phase + of));
        } else if (message.what == MeasuringService.DONE && launch != null) {
            answered = true;
            Bundle data = message.getData();
            take(
                    data.getInt(MeasuringService.EXIT_CODE),
                    data.getString(MeasuringService.FILE),
                    data.getString(MeasuringService.FAILURE, ""));
        }
        return true;
    }

    private void take(int exitCode, String path, String failure) {
        if (exitCode == ParedownException.INTERRUPTED) {
            stopping = true;
            return;
        }
        if (exitCode != 0 || path == null) {
            boolean checked = !phase.equals(BenchmarkPlan.CHECK);
            String what = failure.isEmpty() ? context.getString(R.string.golden_failed) : failure;
            waiting.clear();
            fail(context.getString(checked ? R.string.failed : R.string.refused, what));
            return;
        }
        if (!phase.equals(BenchmarkPlan.CHECK)) {
            File report = new File(path);
            reports.add(report);
            files.execute(() -> read(report));
        }
    }

    /** Of the thread for files, in the order of the launches. */
    private void read(File report) {
        try {
            String text = TextFiles.read(report);
            String name = report.getName();
            LaunchRecord launch = new LaunchRecord(new Fields(Json.parse(text, name), name));
            main.post(() -> {
                launches.add(launch);
                result = new BenchmarkResult(plan, launches);
                tell();
            });
        } catch (ParedownException error) {
            main.post(() -> fail(context.getString(R.string.failed, error.sentence())));
        }
    }

    /** The measuring process has ended, as it does after each launch. */
    private void ended() {
        launch = null;
        if (!running) {
            return;
        }
        if (answered) {
            next();
        } else {
            fail(context.getString(stopping ? R.string.stopped : R.string.process_died));
        }
    }

    private void fail(String what) {
        running = false;
        say(what);
    }

    private void say(String what) {
        notice = what;
        tell();
    }

    private void tell() {
        if (listener != null) {
            listener.changed();
        }
    }

    /** The connection with one measuring process, from its start to its end. */
    private final class Launch implements ServiceConnection {
        private final File spec;
        private Messenger service;
        private boolean over;

        Launch(File spec) {
            this.spec = spec;
            Intent intent = new Intent(context, MeasuringService.class);
            if (!context.bindService(intent, this, Context.BIND_AUTO_CREATE)) {
                end();
            }
        }

        @Override
        public void onServiceConnected(ComponentName name, IBinder binder) {
            service = new Messenger(binder);
            Message message = Message.obtain(null, MeasuringService.RUN);
            Bundle data = new Bundle();
            data.putString(MeasuringService.SPEC, spec.getPath());
            message.setData(data);
            message.replyTo = answers;
            send(message);
        }

        @Override
        public void onServiceDisconnected(ComponentName name) {
            end();
        }

        @Override
        public void onBindingDied(ComponentName name) {
            end();
        }

        void send(Message message) {
            try {
                if (service != null) {
                    service.send(message);
                }
            } catch (RemoteException gone) {
                end();
            }
        }

        /** Let go, or Android would start the service again. */
        private void end() {
            if (!over) {
                over = true;
                context.unbindService(this);
                main.post(BenchmarkRun.this::ended);
            }
        }
    }
}

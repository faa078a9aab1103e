package dev.paredown.demo;

import android.app.Activity;
import android.app.Instrumentation;
import android.os.Bundle;
import dev.paredown.core.Cancellation;
import dev.paredown.core.Events;
import dev.paredown.core.Outcome;
import dev.paredown.core.StatusText;
import java.io.File;

/**
 * Runs one spec without a screen, in a process that Android starts for it.
 *
 * <p>{@code am instrument -w -r -e spec FILE dev.paredown.demo/.BenchInstrumentation}: the answer
 * is a file in the reports folder; pieces of a chat's answer come as statuses.
 */
public final class BenchInstrumentation extends Instrumentation {
    private static final String SPEC = "spec";

    private String specPath;

    @Override
    public void onCreate(Bundle arguments) {
        super.onCreate(arguments);
        specPath = arguments == null ? null : arguments.getString(SPEC);
        start();
    }

    @Override
    public void onStart() {
        super.onStart();
        File reports = Folders.reports(getTargetContext());
        File spec = new File(specPath == null ? "no -e spec FILE was given" : specPath);
        Outcome outcome =
                Engines.headless(getTargetContext())
                        .run(spec, reports, new Cancellation(), new Statuses());
        Bundle results = new Bundle();
        results.putInt("exit_code", outcome.exitCode);
        results.putString("file", outcome.file == null ? "" : outcome.file.getPath());
        if (!outcome.failure.isEmpty()) {
            results.putString("failure", outcome.failure);
        }
        finish(outcome.exitCode == 0 ? Activity.RESULT_OK : outcome.exitCode, results);
    }

    /** What `am instrument -r` prints while it waits. */
    private final class Statuses implements Events {
        @Override
        public void repetition(int done, int total) {
            Bundle status = new Bundle();
            status.putString("repetition", done + "/" + total);
            sendStatus(0, status);
        }

        @Override
        public void text(String piece) {
            Bundle status = new Bundle();
            status.putString("text", StatusText.escape(piece));
            sendStatus(0, status);
        }
    }
}

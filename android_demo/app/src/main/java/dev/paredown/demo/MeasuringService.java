package dev.paredown.demo;

import android.app.Service;
import android.content.Intent;
import android.os.Bundle;
import android.os.Handler;
import android.os.IBinder;
import android.os.Looper;
import android.os.Message;
import android.os.Messenger;
import android.os.Process;
import android.os.RemoteException;
import dev.paredown.core.Cancellation;
import dev.paredown.core.Events;
import dev.paredown.core.Outcome;
import java.io.File;

/**
 * Runs one spec in a process of its own, tells how it went, and ends the process: what a launch
 * leaves behind (memory, warm caches) is no part of the next one.
 */
public final class MeasuringService extends Service {
    /** To the service: run the spec; its data has {@link #SPEC}. */
    static final int RUN = 1;
    /** To the service: stop at the next token. */
    static final int STOP = 2;
    /** From the service: a repetition is over; arg1 of arg2. */
    static final int REPETITION = 3;
    /** From the service, the last message: its data has {@link #FILE} and {@link #FAILURE}. */
    static final int DONE = 4;

    static final String SPEC = "spec";
    static final String FILE = "file";
    static final String FAILURE = "failure";
    static final String EXIT_CODE = "exit_code";

    private final Cancellation cancel = new Cancellation();
    private final Messenger messenger =
            new Messenger(new Handler(Looper.getMainLooper(), this::handle));

    @Override
    public IBinder onBind(Intent intent) {
        return messenger.getBinder();
    }

    @Override
    public boolean onUnbind(Intent intent) {
        end(); // the app went away, or does not want the answer any more
        return false;
    }

    private boolean handle(Message message) {
        if (message.what == STOP) {
            cancel.cancel();
        } else if (message.what == RUN) {
            Messenger client = message.replyTo;
            File spec = new File(message.getData().getString(SPEC, ""));
            new Thread(() -> run(spec, client), "measure").start();
        }
        return true;
    }

    private void run(File spec, Messenger client) {
        Progress progress = new Progress(client);
        Outcome outcome =
                Engines.headless(this).run(spec, Folders.reports(this), cancel, progress);
        Bundle data = new Bundle();
        data.putInt(EXIT_CODE, outcome.exitCode);
        data.putString(FILE, outcome.file == null ? null : outcome.file.getPath());
        data.putString(FAILURE, outcome.failure);
        Message message = Message.obtain(null, DONE);
        message.setData(data);
        send(client, message);
        end();
    }

    private static void send(Messenger client, Message message) {
        try {
            client.send(message);
        } catch (RemoteException gone) {
            end();
        }
    }

    private static void end() {
        Process.killProcess(Process.myPid());
    }

    private static final class Progress implements Events {
        private final Messenger client;

        Progress(Messenger client) {
            this.client = client;
        }

        @Override
        public void repetition(int done, int total) {
            send(client, Message.obtain(null, REPETITION, done, total));
        }

        @Override
        public void text(String piece) {
            // a measurement generates no text
        }
    }
}

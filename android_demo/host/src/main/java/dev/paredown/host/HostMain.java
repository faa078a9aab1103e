package dev.paredown.host;

import dev.paredown.core.Cancellation;
import dev.paredown.core.EngineFactory;
import dev.paredown.core.Events;
import dev.paredown.core.Headless;
import dev.paredown.core.Outcome;
import dev.paredown.core.ProcReader;
import dev.paredown.core.StatusText;
import dev.paredown.core.SystemClock;
import dev.paredown.core.TextCodecFactory;
import dev.paredown.core.chat.BundleText;
import dev.paredown.onnx.OnnxEngineFactory;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.io.UnsupportedEncodingException;
import java.util.Collections;
import java.util.List;

/**
 * The headless run of the app on a JVM: the same core with ONNX Runtime and Linux's sensors.
 *
 * <p>{@code HostMain --spec FILE --reports DIR}; a chat's text streams as {@code
 * INSTRUMENTATION_STATUS} lines, as from the app. Ends with the run's exit code.
 */
public final class HostMain {
    private static final int BAD_REQUEST = 2;

    private HostMain() {}

    /** @param arguments see the class */
    public static void main(String[] arguments) throws UnsupportedEncodingException {
        String spec = option(arguments, "--spec");
        String reports = option(arguments, "--reports");
        if (spec == null || reports == null || arguments.length != 4) {
            System.err.println("usage: HostMain --spec FILE --reports DIR");
            System.exit(BAD_REQUEST);
            return;
        }
        PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), true, "UTF-8");
        Cancellation cancel = new Cancellation();
        Outcome outcome = headless().run(new File(spec), new File(reports), cancel, tell(out));
        if (!outcome.failure.isEmpty()) {
            System.err.println("paredown: " + outcome.failure);
        }
        System.exit(outcome.exitCode);
    }

    private static Headless headless() {
        ProcReader proc = new ProcReader();
        List<EngineFactory> engines =
                Collections.<EngineFactory>singletonList(new OnnxEngineFactory());
        TextCodecFactory texts = BundleText::open;
        return new Headless(engines, texts, new HostSensors(proc), proc, new SystemClock());
    }

    private static Events tell(PrintStream out) {
        return new Events() {
            @Override
            public void repetition(int done, int total) {
                out.println("INSTRUMENTATION_STATUS: repetition=" + done + "/" + total);
                out.println("INSTRUMENTATION_STATUS_CODE: 0");
            }

            @Override
            public void text(String piece) {
                out.println("INSTRUMENTATION_STATUS: text=" + StatusText.escape(piece));
                out.println("INSTRUMENTATION_STATUS_CODE: 0");
            }
        };
    }

    private static String option(String[] arguments, String name) {
        for (int i = 0; i + 1 < arguments.length; i += 2) {
            if (arguments[i].equals(name)) {
                return arguments[i + 1];
            }
        }
        return null;
    }
}

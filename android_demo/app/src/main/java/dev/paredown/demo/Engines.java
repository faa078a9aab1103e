package dev.paredown.demo;

import android.content.Context;
import android.content.pm.ApplicationInfo;
import android.content.pm.PackageManager;
import android.os.Build;
import dev.paredown.core.EngineFactory;
import dev.paredown.core.Headless;
import dev.paredown.core.Manifest;
import dev.paredown.core.ParedownException;
import dev.paredown.core.ProcReader;
import dev.paredown.core.SystemClock;
import dev.paredown.core.TextCodecFactory;
import dev.paredown.core.chat.BundleText;
import dev.paredown.executorch.ExecutorchEngineFactory;
import dev.paredown.onnx.OnnxEngineFactory;
import java.util.Arrays;
import java.util.List;

/** What this build of the app can run, and on what. */
final class Engines {
    private static final String EXECUTORCH_VERSION = "dev.paredown.executorch.version";

    private Engines() {}

    /** Factories of both backends. */
    static List<EngineFactory> factories(Context context) {
        return Arrays.asList(
                new ExecutorchEngineFactory(executorchVersion(context)), new OnnxEngineFactory());
    }

    /**
     * The factory of a bundle's backend.
     *
     * @throws ParedownException there is none
     */
    static EngineFactory factory(Context context, Manifest manifest) {
        for (EngineFactory factory : factories(context)) {
            if (factory.backend().equals(manifest.backend)) {
                return factory;
            }
        }
        throw ParedownException.missing(
                "this app has no engine for " + manifest.backend + " bundles",
                "export with --target android");
    }

    /** Tokenizers and chat templates. */
    static TextCodecFactory texts() {
        return BundleText::open;
    }

    /** Runs specs in this process. */
    static Headless headless(Context context) {
        ProcReader proc = new ProcReader();
        return new Headless(
                factories(context),
                texts(),
                new AndroidSensors(context, proc),
                proc,
                new SystemClock());
    }

    /** Compute threads where nobody chose: half of the cores, as phones' fast ones are few. */
    static int defaultThreads() {
        return Math.max(1, Runtime.getRuntime().availableProcessors() / 2);
    }

    /** Whether this is an emulator, whose times and sizes mean nothing. */
    static boolean emulated() {
        return Build.HARDWARE.equals("ranchu")
                || Build.HARDWARE.equals("goldfish")
                || Build.HARDWARE.startsWith("cutf");
    }

    @SuppressWarnings("deprecation") // what replaces it came with Android 13
    private static String executorchVersion(Context context) {
        try {
            ApplicationInfo info =
                    context.getPackageManager()
                            .getApplicationInfo(
                                    context.getPackageName(), PackageManager.GET_META_DATA);
            return info.metaData.getString(EXECUTORCH_VERSION, "unknown");
        } catch (PackageManager.NameNotFoundException impossible) {
            throw new IllegalStateException(impossible);
        }
    }
}

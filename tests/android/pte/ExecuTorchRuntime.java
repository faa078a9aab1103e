package org.pytorch.executorch;

/** In place of the library's class, which loads the native library; see Module. */
public final class ExecuTorchRuntime {
    private static final ExecuTorchRuntime INSTANCE = new ExecuTorchRuntime();

    private ExecuTorchRuntime() {}

    public static ExecuTorchRuntime getRuntime() {
        return INSTANCE;
    }
}

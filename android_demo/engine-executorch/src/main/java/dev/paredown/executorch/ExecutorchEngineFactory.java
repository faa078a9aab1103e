package dev.paredown.executorch;

import dev.paredown.core.Bundle;
import dev.paredown.core.Engine;
import dev.paredown.core.EngineFactory;
import dev.paredown.core.ParedownException;
import java.util.Collections;
import java.util.Map;
import org.pytorch.executorch.ExecuTorchRuntime;

/** Opens {@code .pte} bundles with ExecuTorch's Android library. */
public final class ExecutorchEngineFactory implements EngineFactory {
    /** The manifest's word. */
    static final String BACKEND = "executorch";

    private final Map<String, String> versions;

    /** @param libraryVersion of the library in this build, which it does not know itself */
    public ExecutorchEngineFactory(String libraryVersion) {
        this.versions = Collections.singletonMap(BACKEND, libraryVersion);
    }

    @Override
    public String backend() {
        return BACKEND;
    }

    @Override
    public void prepare() {
        try {
            ExecuTorchRuntime.getRuntime();
        } catch (LinkageError error) {
            ParedownException missing =
                    ParedownException.missing(
                            "ExecuTorch's libraries are not in this build of the app, or not for"
                                    + " this processor (" + error + ")",
                            "build the app with Gradle");
            missing.initCause(error);
            throw missing;
        }
    }

    @Override
    public Engine open(Bundle bundle, int threads) {
        prepare();
        return ExecutorchEngine.open(bundle, threads, versions);
    }
}

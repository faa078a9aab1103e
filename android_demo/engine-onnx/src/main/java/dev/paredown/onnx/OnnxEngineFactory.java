package dev.paredown.onnx;

import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtLoggingLevel;
import dev.paredown.core.Bundle;
import dev.paredown.core.Engine;
import dev.paredown.core.EngineFactory;
import dev.paredown.core.ParedownException;

/** Opens {@code .onnx} bundles with ONNX Runtime's Java API. */
public final class OnnxEngineFactory implements EngineFactory {
    @Override
    public String backend() {
        return "onnx";
    }

    @Override
    public void prepare() {
        environment();
    }

    @Override
    public Engine open(Bundle bundle, int threads) {
        OrtEnvironment environment = environment();
        try {
            return OnnxEngine.open(environment, bundle, threads);
        } catch (OrtException error) {
            throw failure("cannot load " + bundle.modelFile(), error);
        }
    }

    static ParedownException failure(String what, OrtException error) {
        String message = "onnxruntime " + what + ": " + error.getMessage();
        ParedownException failure = ParedownException.brokenBundle(message);
        failure.initCause(error);
        return failure;
    }

    private static OrtEnvironment environment() {
        try {
            OrtLoggingLevel level = OrtLoggingLevel.ORT_LOGGING_LEVEL_ERROR;
            return OrtEnvironment.getEnvironment(level, "paredown");
        } catch (LinkageError error) {
            ParedownException missing = ParedownException.missing(
                    "ONNX Runtime's libraries are not in this build, or not for this processor ("
                            + error + ")",
                    "build the app with Gradle");
            missing.initCause(error);
            throw missing;
        }
    }
}

package dev.paredown.onnx;

import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OnnxValue;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtLoggingLevel;
import ai.onnxruntime.OrtSession;
import dev.paredown.core.ParedownException;
import java.io.File;
import java.nio.LongBuffer;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** A loaded model with the settings that every engine of ONNX Runtime in this project has. */
final class OnnxSession implements AutoCloseable {
    static final String LOGITS = "logits";
    private static final String KEEP = "logits_to_keep";
    private static final String NO = "0";

    private final OrtSession session;
    private final OnnxTensor keep;
    private final File file;

    private OnnxSession(OrtSession session, OnnxTensor keep, File file) {
        this.session = session;
        this.keep = keep;
        this.file = file;
    }

    /**
     * Load a model.
     *
     * <p>The Java API feeds no input that has a default, so the default of {@code logits_to_keep},
     * which stands for all, is replaced for the whole session: logits of the last position only.
     */
    static OnnxSession open(OrtEnvironment environment, File file, int threads)
            throws OrtException {
        LongBuffer one = Buffers.longs(1).put(0, 1);
        OnnxTensor keep = OnnxTensor.createTensor(environment, one, new long[] {1});
        try (OrtSession.SessionOptions options = new OrtSession.SessionOptions()) {
            options.setIntraOpNumThreads(threads);
            options.setInterOpNumThreads(1);
            options.setSessionLogLevel(OrtLoggingLevel.ORT_LOGGING_LEVEL_ERROR);
            // Waiting threads that spin take the cores (and the heat budget) of everything else.
            options.addConfigEntry("session.intra_op.allow_spinning", NO);
            options.addConfigEntry("session.inter_op.allow_spinning", NO);
            options.addInitializer(KEEP, keep);
            return new OnnxSession(environment.createSession(file.getPath(), options), keep, file);
        } catch (OrtException | RuntimeException error) {
            keep.close();
            throw error;
        }
    }

    /**
     * Refuse a model without these inputs or outputs.
     *
     * @throws ParedownException naming one that is absent
     */
    void require(List<String> names) {
        for (String name : names) {
            if (!session.getInputNames().contains(name)
                    && !session.getOutputNames().contains(name)) {
                throw ParedownException.brokenBundle(
                        file + " has no input or output '" + name + "'");
            }
        }
    }

    /** Run the model; whoever called closes the tensors that the runtime allocated. */
    OrtSession.Result run(
            Map<String, OnnxTensor> inputs, Set<String> requested, Map<String, OnnxTensor> pinned)
            throws OrtException {
        return session.run(inputs, requested, pinned);
    }

    /** An output of the model. */
    static OnnxTensor tensor(OrtSession.Result result, String name) {
        OnnxValue value = result.get(name).orElse(null);
        if (value instanceof OnnxTensor) {
            return (OnnxTensor) value;
        }
        throw ParedownException.brokenBundle("the model's output '" + name + "' is no tensor");
    }

    @Override
    public void close() {
        try {
            session.close();
        } catch (OrtException error) {
            throw OnnxEngineFactory.failure("cannot close " + file, error);
        } finally {
            keep.close();
        }
    }
}

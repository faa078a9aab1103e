package dev.paredown.onnx;

import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** What a model remembers between two calls; the manifest's {@code kv_cache} says how. */
interface KvCache extends AutoCloseable {
    /** Inputs and outputs that the model must have. */
    List<String> names();

    /**
     * Put the cache's inputs for a call.
     *
     * @param total tokens in the cache after the call
     */
    void feed(Map<String, OnnxTensor> inputs, int total) throws OrtException;

    /** Outputs that the runtime allocates. */
    Set<String> requested();

    /** Outputs that go to memory of ours. */
    Map<String, OnnxTensor> pinned();

    /** Keep the outputs of a call that succeeded. */
    void keep(OrtSession.Result result);

    /** Forget everything. */
    void reset();

    @Override
    void close();
}

package dev.paredown.onnx;

import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import dev.paredown.core.LayerShape;
import dev.paredown.core.Manifest;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Form {@code functional}: past in, longer present out, float32 [1, KV heads, tokens, head width].
 * The runtime's own output tensors are the next call's inputs; nothing is copied.
 */
final class GrowingCache implements KvCache {
    private final List<String> pasts;
    private final List<String> presents;
    private final Set<String> requested;
    private final List<OnnxTensor> empty = new ArrayList<>();
    private List<OnnxTensor> past;

    GrowingCache(OrtEnvironment environment, Manifest manifest) throws OrtException {
        pasts = CacheNames.past(manifest.layers.size());
        presents = CacheNames.present(manifest.layers.size());
        requested = Collections.unmodifiableSet(new LinkedHashSet<>(presents));
        for (LayerShape shape : manifest.layers) {
            long[] none = {1, shape.numKeyValueHeads, 0, shape.headDim};
            for (int kind = 0; kind < 2; kind++) {
                empty.add(OnnxTensor.createTensor(environment, Buffers.floats(0), none));
            }
        }
        past = empty;
    }

    @Override
    public List<String> names() {
        List<String> names = new ArrayList<>(pasts);
        names.addAll(presents);
        return names;
    }

    @Override
    public void feed(Map<String, OnnxTensor> inputs, int total) {
        for (int i = 0; i < past.size(); i++) {
            inputs.put(pasts.get(i), past.get(i));
        }
    }

    @Override
    public Set<String> requested() {
        return requested;
    }

    @Override
    public Map<String, OnnxTensor> pinned() {
        return Collections.emptyMap();
    }

    @Override
    public void keep(OrtSession.Result result) {
        List<OnnxTensor> present = new ArrayList<>();
        for (String name : presents) {
            present.add(OnnxSession.tensor(result, name));
        }
        reset();
        past = present;
    }

    @Override
    public void reset() {
        if (past != empty) {
            closeAll(past);
        }
        past = empty;
    }

    @Override
    public void close() {
        reset();
        closeAll(empty);
    }

    private static void closeAll(List<OnnxTensor> tensors) {
        for (OnnxTensor tensor : tensors) {
            tensor.close();
        }
    }
}

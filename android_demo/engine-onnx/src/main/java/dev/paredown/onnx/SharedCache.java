package dev.paredown.onnx;

import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import dev.paredown.core.LayerShape;
import dev.paredown.core.Manifest;
import java.nio.LongBuffer;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Form {@code shared}: buffers float32 [1, KV heads, context, head width] that are past and present
 * alike, updated in place. They hold what the attention mask covers; the rest is zeros, or what an
 * earlier sequence left.
 */
final class SharedCache implements KvCache {
    private static final String MASK = "attention_mask";

    private final OrtEnvironment environment;
    private final Map<String, OnnxTensor> pasts = new LinkedHashMap<>();
    private final Map<String, OnnxTensor> presents = new LinkedHashMap<>();
    private final LongBuffer ones;
    private OnnxTensor mask;

    SharedCache(OrtEnvironment environment, Manifest manifest) throws OrtException {
        this.environment = environment;
        int layers = manifest.layers.size();
        List<String> pastNames = CacheNames.past(layers);
        List<String> presentNames = CacheNames.present(layers);
        for (int i = 0; i < pastNames.size(); i++) {
            LayerShape shape = manifest.layers.get(i / 2);
            OnnxTensor buffer = buffer(shape, manifest.contextLength);
            pasts.put(pastNames.get(i), buffer);
            presents.put(presentNames.get(i), buffer);
        }
        ones = Buffers.longs(manifest.contextLength);
        for (int i = 0; i < ones.capacity(); i++) {
            ones.put(i, 1);
        }
    }

    @Override
    public List<String> names() {
        List<String> names = new ArrayList<>(pasts.keySet());
        names.addAll(presents.keySet());
        names.add(MASK);
        return names;
    }

    @Override
    public void feed(Map<String, OnnxTensor> inputs, int total) throws OrtException {
        closeMask();
        LongBuffer covered = ones.duplicate();
        Buffers.limit(covered, total);
        mask = OnnxTensor.createTensor(environment, covered, new long[] {1, total});
        inputs.put(MASK, mask);
        inputs.putAll(pasts);
    }

    @Override
    public Set<String> requested() {
        return Collections.emptySet();
    }

    @Override
    public Map<String, OnnxTensor> pinned() {
        return presents;
    }

    @Override
    public void keep(OrtSession.Result result) {
        // The model has written to the buffers themselves.
    }

    @Override
    public void reset() {
        // The mask of the next call covers nothing of what is there.
    }

    @Override
    public void close() {
        closeMask();
        for (OnnxTensor buffer : pasts.values()) {
            buffer.close();
        }
    }

    private void closeMask() {
        if (mask != null) {
            mask.close();
            mask = null;
        }
    }

    private OnnxTensor buffer(LayerShape shape, int contextLength) throws OrtException {
        long[] sizes = {1, shape.numKeyValueHeads, contextLength, shape.headDim};
        long count = sizes[1] * sizes[2] * sizes[3];
        return OnnxTensor.createTensor(environment, Buffers.floats(count), sizes);
    }
}

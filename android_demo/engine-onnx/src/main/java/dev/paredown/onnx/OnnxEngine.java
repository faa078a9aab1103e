package dev.paredown.onnx;

import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import dev.paredown.core.Bundle;
import dev.paredown.core.Engine;
import dev.paredown.core.Generator;
import dev.paredown.core.Manifest;
import dev.paredown.core.ParedownException;
import java.nio.FloatBuffer;
import java.nio.LongBuffer;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Runs {@code model.onnx}: {@code input_ids} int64 [1, S] and the KV cache to {@code logits},
 * float32 [1, 1 or S, vocabulary]. A prompt longer than {@code max_prefill_tokens} runs as several
 * calls.
 *
 * <p>What a decode step needs is allocated once: its token, its logits, and in the shared form the
 * cache itself are tensors over buffers outside of Java's heap.
 */
final class OnnxEngine implements Engine {
    private static final String INPUT = "input_ids";

    private final OrtEnvironment environment;
    private final OnnxSession session;
    private final KvCache cache;
    private final Manifest manifest;
    private final String path;
    private final int mostTokens;
    private final Map<String, OnnxTensor> inputs = new HashMap<>();
    private final LongBuffer stepIds = Buffers.longs(1);
    private final OnnxTensor stepInput;
    private final FloatBuffer stepRow;
    private final OnnxTensor stepLogits;
    private final Map<String, OnnxTensor> stepPinned;
    private final Set<String> withLogits;
    private final float[] row;
    private int position;

    private OnnxEngine(OrtEnvironment environment, OnnxSession session, Bundle bundle)
            throws OrtException {
        this.environment = environment;
        this.session = session;
        this.manifest = bundle.manifest();
        this.path = bundle.modelFile().getPath();
        int most = manifest.maxPrefillTokens;
        this.mostTokens = most > 0 ? most : manifest.contextLength;
        this.cache = manifest.kvCache.equals("shared")
                ? new SharedCache(environment, manifest)
                : new GrowingCache(environment, manifest);
        this.row = new float[manifest.vocabSize];
        this.stepRow = Buffers.floats(row.length);
        this.stepInput = OnnxTensor.createTensor(environment, stepIds, new long[] {1, 1});
        this.stepLogits =
                OnnxTensor.createTensor(environment, stepRow, new long[] {1, 1, row.length});
        this.stepPinned = new HashMap<>(cache.pinned());
        this.stepPinned.put(OnnxSession.LOGITS, stepLogits);
        this.withLogits = new HashSet<>(cache.requested());
        this.withLogits.add(OnnxSession.LOGITS);
    }

    /**
     * Load the model.
     *
     * @throws OrtException the runtime refuses it
     * @throws ParedownException it has other inputs and outputs than the manifest says
     */
    static OnnxEngine open(OrtEnvironment environment, Bundle bundle, int threads)
            throws OrtException {
        OnnxSession session = OnnxSession.open(environment, bundle.modelFile(), threads);
        try {
            OnnxEngine engine = new OnnxEngine(environment, session, bundle);
            List<String> names = new ArrayList<>(engine.cache.names());
            names.add(INPUT);
            names.add(OnnxSession.LOGITS);
            session.require(names);
            return engine;
        } catch (OrtException | RuntimeException error) {
            session.close();
            throw error;
        }
    }

    @Override
    public String name() {
        return "onnxruntime-java";
    }

    @Override
    public Map<String, String> versions() {
        return Collections.singletonMap("onnxruntime", environment.getVersion());
    }

    @Override
    public int position() {
        return position;
    }

    @Override
    public float[] prefill(int[] ids) {
        Generator.checkTokens(ids, position, manifest);
        try {
            for (int first = 0; first < ids.length; first += mostTokens) {
                int count = Math.min(mostTokens, ids.length - first);
                if (count == 1) {
                    appendOne(ids[first]);
                } else {
                    append(ids, first, count);
                }
                position += count;
            }
        } catch (OrtException error) {
            throw OnnxEngineFactory.failure("cannot run " + path, error);
        }
        return row;
    }

    @Override
    public float[] step(int id) {
        return prefill(new int[] {id});
    }

    @Override
    public void reset() {
        position = 0;
        cache.reset();
    }

    @Override
    public void close() {
        stepInput.close();
        stepLogits.close();
        cache.close();
        session.close();
    }

    private void appendOne(int id) throws OrtException {
        stepIds.put(0, id);
        run(stepInput, position + 1, cache.requested(), stepPinned);
        Buffers.seek(stepRow, 0);
        stepRow.get(row);
    }

    /** Append the tokens of one call; where they are the last, {@code row} becomes theirs. */
    private void append(int[] ids, int first, int count) throws OrtException {
        LongBuffer buffer = Buffers.longs(count);
        for (int i = 0; i < count; i++) {
            buffer.put(i, ids[first + i]);
        }
        boolean last = first + count == ids.length;
        Set<String> requested = last ? withLogits : cache.requested();
        long[] shape = {1, count};
        try (OnnxTensor input = OnnxTensor.createTensor(environment, buffer, shape)) {
            OrtSession.Result result = run(input, position + count, requested, cache.pinned());
            if (requested == withLogits) {
                readLastRow(OnnxSession.tensor(result, OnnxSession.LOGITS));
            }
        }
    }

    private OrtSession.Result run(
            OnnxTensor input, int total, Set<String> requested, Map<String, OnnxTensor> pinned)
            throws OrtException {
        inputs.put(INPUT, input);
        cache.feed(inputs, total);
        OrtSession.Result result = session.run(inputs, requested, pinned);
        cache.keep(result);
        return result;
    }

    /** Copies the last position and closes the tensor, which may hold all positions. */
    private void readLastRow(OnnxTensor logits) {
        try {
            FloatBuffer values = logits.getFloatBuffer();
            Buffers.seek(values, values.capacity() - row.length);
            values.get(row);
        } finally {
            logits.close();
        }
    }
}

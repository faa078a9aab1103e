package dev.paredown.executorch;

import dev.paredown.core.Bundle;
import dev.paredown.core.Engine;
import dev.paredown.core.Generator;
import dev.paredown.core.Manifest;
import dev.paredown.core.ParedownException;
import java.nio.Buffer;
import java.nio.FloatBuffer;
import java.nio.LongBuffer;
import java.util.Map;
import org.pytorch.executorch.DType;
import org.pytorch.executorch.EValue;
import org.pytorch.executorch.Module;
import org.pytorch.executorch.Tensor;

/**
 * Runs the method {@code forward(tokens int64 [1, S], input_pos int64 [1])} of a {@code .pte},
 * which returns logits float32 [1, S, vocabulary].
 *
 * <p>The KV cache lives in the loaded method; a call at position 0 overwrites it. One call takes at
 * most {@code max_prefill_tokens}, so a longer prompt runs as several.
 *
 * <p>Only calls that the Java and the later Kotlin sources of ExecuTorch's library both have are
 * used here.
 */
public final class ExecutorchEngine implements Engine {
    private static final String METHOD = "forward";

    private final Module module;
    private final Manifest manifest;
    private final Map<String, String> versions;
    private final int mostTokens;
    private final float[] row;

    /** Inputs of a decode step, made once: the library reads their buffers anew in each call. */
    private final LongBuffer position = Tensor.allocateLongBuffer(1);
    private final EValue positionInput = EValue.from(Tensor.fromBlob(position, new long[] {1}));
    private final LongBuffer stepToken = Tensor.allocateLongBuffer(1);
    private final EValue stepInput = EValue.from(Tensor.fromBlob(stepToken, new long[] {1, 1}));

    private FloatBuffer logits = Tensor.allocateFloatBuffer(0);
    private int filled;

    private ExecutorchEngine(Module module, Manifest manifest, Map<String, String> versions) {
        this.module = module;
        this.manifest = manifest;
        this.versions = versions;
        int most = manifest.maxPrefillTokens;
        this.mostTokens = most > 0 ? most : manifest.contextLength - 1;
        this.row = new float[manifest.vocabSize];
    }

    /**
     * Map the file, and load its method: weights are packed and memory is planned.
     *
     * @throws ParedownException the runtime cannot load it
     */
    static ExecutorchEngine open(Bundle bundle, int threads, Map<String, String> versions) {
        String path = bundle.modelFile().getPath();
        Module module = null;
        try {
            module = Module.load(path, Module.LOAD_MODE_MMAP, threads);
            module.loadMethod(METHOD);
        } catch (RuntimeException error) {
            if (module != null) {
                module.destroy();
            }
            throw failure("cannot load " + path, error);
        }
        return new ExecutorchEngine(module, bundle.manifest(), versions);
    }

    @Override
    public String name() {
        return "executorch-java";
    }

    @Override
    public Map<String, String> versions() {
        return versions;
    }

    @Override
    public int position() {
        return filled;
    }

    @Override
    public float[] prefill(int[] ids) {
        Generator.checkTokens(ids, filled, manifest);
        for (int first = 0; first < ids.length; first += mostTokens) {
            int count = Math.min(mostTokens, ids.length - first);
            boolean last = first + count == ids.length;
            if (count == 1) {
                stepToken.put(0, ids[first]);
                run(stepInput, 1, last);
            } else {
                run(tokens(ids, first, count), count, last);
            }
        }
        return row;
    }

    @Override
    public float[] step(int id) {
        return prefill(new int[] {id});
    }

    @Override
    public void reset() {
        filled = 0;
    }

    @Override
    public void close() {
        module.destroy();
    }

    private static EValue tokens(int[] ids, int first, int count) {
        LongBuffer buffer = Tensor.allocateLongBuffer(count);
        for (int i = 0; i < count; i++) {
            buffer.put(i, ids[first + i]);
        }
        return EValue.from(Tensor.fromBlob(buffer, new long[] {1, count}));
    }

    /** Append the tokens of one call; where {@code read} is set, {@code row} becomes the last. */
    private void run(EValue tokens, int count, boolean read) {
        position.put(0, filled);
        Tensor output;
        try {
            output = module.forward(tokens, positionInput)[0].toTensor();
        } catch (RuntimeException error) {
            throw failure("cannot run " + manifest.modelFile, error);
        }
        requireLogits(output, count);
        filled += count;
        if (read) {
            copyLastRow(output, count);
        }
    }

    private void requireLogits(Tensor output, int count) {
        long expected = (long) count * manifest.vocabSize;
        if (output.dtype() != DType.FLOAT || output.numel() != expected) {
            throw ParedownException.brokenBundle(
                    manifest.modelFile + " gives " + output.numel() + " values of type "
                            + output.dtype() + ", not " + expected + " float32 logits");
        }
    }

    /**
     * The library copies a whole tensor only; the buffer outside of Java's heap is kept. Its place
     * is set through {@code Buffer}: older phones have no such method in {@code FloatBuffer}.
     */
    private void copyLastRow(Tensor output, int count) {
        int total = count * row.length;
        if (logits.capacity() < total) {
            logits = Tensor.allocateFloatBuffer(total);
        }
        Buffer place = logits;
        place.clear();
        output.copyDataInto(logits);
        place.position(total - row.length);
        logits.get(row);
    }

    private static ParedownException failure(String what, RuntimeException error) {
        ParedownException failure =
                ParedownException.brokenBundle("executorch " + what + ": " + error.getMessage());
        failure.initCause(error);
        return failure;
    }
}

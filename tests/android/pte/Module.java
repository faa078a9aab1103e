package org.pytorch.executorch;

import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;

/**
 * In place of the library's class, whose native half exists for phones only: the same program runs
 * in ExecuTorch's Python runtime, in a process beside this one (serve_pte.py).
 */
public final class Module {
    public static final int LOAD_MODE_MMAP = 1;

    private final Process process;
    private final DataInputStream answers;
    private final DataOutputStream questions;

    private Module(Process process) {
        this.process = process;
        this.answers = new DataInputStream(new BufferedInputStream(process.getInputStream()));
        this.questions = new DataOutputStream(process.getOutputStream());
    }

    public static Module load(String path, int mode, int threads) {
        ProcessBuilder builder =
                new ProcessBuilder(
                        System.getProperty("python"), System.getProperty("server"), path);
        try {
            return new Module(builder.redirectError(ProcessBuilder.Redirect.INHERIT).start());
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    /** Fails as the library does, by an unchecked exception. */
    public void loadMethod(String name) {
        try {
            if (!name.equals("forward") || answers.readInt() != 1) {
                throw new IllegalStateException("Failed to load method: " + name);
            }
        } catch (IOException error) {
            throw new IllegalStateException("Failed to load method: " + name, error);
        }
    }

    /** Checks what the real one is given: int64 [1, S] and int64 [1]. */
    public EValue[] forward(EValue... inputs) {
        long[] shape = inputs[0].toTensor().shape();
        if (inputs.length != 2 || shape.length != 2 || shape[0] != 1
                || inputs[1].toTensor().shape().length != 1) {
            throw new IllegalStateException("wrong inputs");
        }
        long[] tokens = inputs[0].toTensor().getDataAsLongArray();
        try {
            questions.writeLong(inputs[1].toTensor().getDataAsLongArray()[0]);
            questions.writeInt(tokens.length);
            for (long token : tokens) {
                questions.writeLong(token);
            }
            questions.flush();
            int vocabulary = answers.readInt();
            byte[] bytes = new byte[tokens.length * vocabulary * Float.BYTES];
            answers.readFully(bytes);
            FloatBuffer logits = Tensor.allocateFloatBuffer(tokens.length * vocabulary);
            logits.put(ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer());
            long[] outputShape = {1, tokens.length, vocabulary};
            return new EValue[] {EValue.from(Tensor.fromBlob(logits, outputShape))};
        } catch (IOException error) {
            throw new IllegalStateException("the program cannot run this", error);
        }
    }

    public void destroy() {
        process.destroy();
    }
}

package dev.paredown.onnx;

import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.LongBuffer;

/** Memory that ONNX Runtime uses in place: outside of Java's moving heap, zeroed. */
final class Buffers {
    private Buffers() {}

    static LongBuffer longs(int count) {
        return bytes((long) count * Long.BYTES).asLongBuffer();
    }

    static FloatBuffer floats(long count) {
        return bytes(count * Float.BYTES).asFloatBuffer();
    }

    /**
     * Read on from a place. Newer libraries of Java have these two methods in each kind of buffer
     * too, and code that is compiled against one of them would ask older phones for theirs: so
     * they are called on {@code Buffer}, where every phone has them.
     */
    static void seek(Buffer buffer, int place) {
        buffer.position(place);
    }

    /** End at a place; see {@link #seek}. */
    static void limit(Buffer buffer, int place) {
        buffer.limit(place);
    }

    private static ByteBuffer bytes(long size) {
        return ByteBuffer.allocateDirect(Math.toIntExact(size)).order(ByteOrder.nativeOrder());
    }
}

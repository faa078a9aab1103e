package dev.paredown.core;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** Shape of one decoder layer, in transformers' words. */
public final class LayerShape {
    /** Query heads. */
    public final int numAttentionHeads;
    /** Heads of keys and values. */
    public final int numKeyValueHeads;
    /** Width of a head. */
    public final int headDim;
    /** Neurons of the MLP. */
    public final int intermediateSize;

    private LayerShape(Fields f) {
        numAttentionHeads = f.int32("num_attention_heads");
        numKeyValueHeads = f.int32("num_key_value_heads");
        headDim = f.int32("head_dim");
        intermediateSize = f.int32("intermediate_size");
        f.end();
    }

    static List<LayerShape> list(List<Fields> items) {
        List<LayerShape> shapes = new ArrayList<>();
        for (Fields item : items) {
            shapes.add(new LayerShape(item));
        }
        return Collections.unmodifiableList(shapes);
    }
}

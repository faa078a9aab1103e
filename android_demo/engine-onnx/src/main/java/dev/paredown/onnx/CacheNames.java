package dev.paredown.onnx;

import java.util.ArrayList;
import java.util.List;

/** Names of a cache's inputs and outputs: keys and values of each layer. */
final class CacheNames {
    private CacheNames() {}

    static List<String> past(int layers) {
        return of("past_key_values.", layers);
    }

    static List<String> present(int layers) {
        return of("present.", layers);
    }

    private static List<String> of(String prefix, int layers) {
        List<String> names = new ArrayList<>();
        for (int layer = 0; layer < layers; layer++) {
            names.add(prefix + layer + ".key");
            names.add(prefix + layer + ".value");
        }
        return names;
    }
}

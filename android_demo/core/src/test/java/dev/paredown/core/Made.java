package dev.paredown.core;

import java.io.File;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Bundles, manifests and protocols of tests. */
final class Made {
    static final int VOCAB_SIZE = 16;
    static final int CONTEXT = 32;

    private Made() {}

    /** Keys and values in turn. */
    static Map<String, Object> map(Object... pairs) {
        Map<String, Object> map = new LinkedHashMap<>();
        for (int i = 0; i < pairs.length; i += 2) {
            map.put((String) pairs[i], pairs[i + 1]);
        }
        return map;
    }

    static List<Object> list(Object... items) {
        return new ArrayList<>(Arrays.asList(items));
    }

    /** A manifest of one golden case that the fake engine passes. */
    static Map<String, Object> manifest() {
        Map<String, Object> identity = map(
                "name", "toy", "model_type", "llama", "weights_sha256", "a", "config_sha256", "b",
                "parameters", 10);
        return map(
                "name", "toy",
                "backend", "onnx",
                "backend_versions", map("onnx", "1.0"),
                "model_file", "model.onnx",
                "files", list(),
                "vocab_size", VOCAB_SIZE,
                "hidden_size", 8,
                "layers", list(map(
                        "num_attention_heads", 2, "num_key_value_heads", 1, "head_dim", 4,
                        "intermediate_size", 16)),
                "quantization", "none",
                "context_length", CONTEXT,
                "bos_token_id", null,
                "eos_token_ids", list(0),
                "provenance", map(
                        "dense", identity, "checkpoint", identity, "checkpoint_path", "../toy",
                        "pruning", map(), "paredown_version", "0.1"),
                "predicted_memory", map(
                        "weights_bytes", 1, "kv_cache_bytes", 2, "activations_bytes", 3),
                "golden_cases", list(golden()),
                "parameters", 10,
                "schema", "paredown.bundle/1");
    }

    /** Prompt 1 2 3; the fake engine's best tokens are then 11, 10 and 2. */
    static Map<String, Object> golden() {
        return map(
                "name", "case", "prompt_ids", list(1, 2, 3), "continuation_ids", list(11, 10, 2),
                "top_logits", list(
                        map("token_id", 11, "logit", 0.0), map("token_id", 10, "logit", -1)),
                "min_margin", 1.0, "tolerance", 0.25);
    }

    /** A manifest with one key changed. */
    static Manifest manifestWith(String key, Object value) {
        Map<String, Object> json = manifest();
        json.put(key, value);
        return Manifest.parse(Json.write(json), "manifest");
    }

    /** Write a bundle of a model file and its data. */
    static File bundle(File folder, Map<String, Object> manifest) throws Exception {
        folder.mkdirs();
        List<Object> files = list();
        for (String name : new String[] {"model.onnx", "model.onnx.data"}) {
            File file = new File(folder, name);
            Files.write(file.toPath(), name.getBytes(StandardCharsets.UTF_8));
            String sha256 = FileCheck.sha256(file, new Cancellation());
            files.add(map("path", name, "bytes", file.length(), "sha256", sha256));
        }
        manifest.put("files", files);
        text(new File(folder, "manifest.json"), Json.write(manifest));
        return folder;
    }

    static void text(File file, String text) throws Exception {
        file.getParentFile().mkdirs();
        Files.write(file.toPath(), text.getBytes(StandardCharsets.UTF_8));
    }

    /** A protocol of small numbers with some keys changed. */
    static Map<String, Object> protocolJson(Object... changes) {
        Map<String, Object> json = map(
                "prompt_tokens", 4, "generated_tokens", 2, "depth", 3, "repetitions", 2,
                "warmup", 1, "threads", 1, "schema", "paredown.protocol/2");
        json.putAll(map(changes));
        return json;
    }

    static Protocol protocol(Object... changes) {
        return Protocol.parse(Json.write(protocolJson(changes)), "protocol");
    }
}

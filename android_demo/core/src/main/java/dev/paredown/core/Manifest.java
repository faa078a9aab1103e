package dev.paredown.core;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;

/** What a bundle is: {@code manifest.json}, every key of which is checked. */
public final class Manifest {
    /** The file's name in a bundle. */
    public static final String FILE_NAME = "manifest.json";
    /** The version of the format that this program reads. */
    public static final String SCHEMA = "paredown.bundle/1";

    /** The model's name, with its quantisation. */
    public final String name;
    /** {@code executorch} or {@code onnx}. */
    public final String backend;
    /** Versions of the exporter's packages. */
    public final Map<String, String> backendVersions;
    /** Path of the model file in the bundle. */
    public final String modelFile;
    /** Every other file of the bundle. */
    public final List<FileEntry> files;
    /** Entries of the vocabulary. */
    public final int vocabSize;
    /** Width of the residual stream. */
    public final int hiddenSize;
    /** One shape per decoder layer. */
    public final List<LayerShape> layers;
    /** {@code none}, {@code int4} and so on. */
    public final String quantization;
    /** Most tokens (prompt and continuation) that the KV cache holds. */
    public final int contextLength;
    /** The token that begins a text, or null. */
    public final Integer bosTokenId;
    /** Tokens that end a text. */
    public final int[] eosTokenIds;
    /** Sum of the predicted peak memory in bytes, without the runtime's own. */
    public final long predictedMemoryBytes;
    /** Self-tests of a decoder. */
    public final List<GoldenCase> goldenCases;
    /** Weights, the tied ones once. */
    public final long parameters;
    /** {@code decoder} or {@code encoder}. */
    public final String kind;
    /** What it was exported for: {@code android}, {@code desktop}, {@code pi} or {@code any}. */
    public final String target;
    /** Most tokens of one call of the model; 0: no limit. */
    public final int maxPrefillTokens;
    /** {@code internal}, {@code functional}, {@code shared} or {@code none}. */
    public final String kvCache;

    private Manifest(Fields f) {
        f.schema(SCHEMA);
        name = f.string("name");
        backend = f.string("backend");
        backendVersions = Collections.unmodifiableMap(f.strings("backend_versions"));
        modelFile = f.string("model_file");
        files = FileEntry.list(f.objects("files"));
        vocabSize = f.int32("vocab_size");
        hiddenSize = f.int32("hidden_size");
        layers = LayerShape.list(f.objects("layers"));
        quantization = f.string("quantization");
        contextLength = f.int32("context_length");
        bosTokenId = f.nullableInt32("bos_token_id");
        f.any("bos_token_id");
        eosTokenIds = f.ints("eos_token_ids");
        predictedMemoryBytes = ManifestParts.memoryBytes(f.object("predicted_memory"));
        goldenCases = GoldenCase.list(f.objects("golden_cases"));
        parameters = f.integer("parameters");
        kind = f.string("kind", "decoder");
        target = f.string("target", "desktop");
        maxPrefillTokens = f.int32("max_prefill_tokens", 0);
        kvCache = f.string("kv_cache", "functional");
        ManifestParts.checkOthers(f);
        f.end();
    }

    /**
     * Read the text of a manifest.
     *
     * @param where what it is, for errors
     * @throws ParedownException naming what is unknown, missing or of the wrong type
     */
    public static Manifest parse(String text, String where) {
        return new Manifest(new Fields(Json.parse(text, where), where));
    }

    /** The model file and its external data: those whose name begins with the model's stem. */
    public List<FileEntry> modelFiles() {
        String file = modelFile.substring(modelFile.lastIndexOf('/') + 1);
        int dot = file.lastIndexOf('.');
        String stem = (dot > 0 ? file.substring(0, dot) : file) + ".";
        List<FileEntry> found = new ArrayList<>();
        for (FileEntry entry : files) {
            if (entry.path.substring(entry.path.lastIndexOf('/') + 1).startsWith(stem)) {
                found.add(entry);
            }
        }
        return found;
    }

    /** Bytes of the model file and of its external data. */
    public long modelBytes() {
        long bytes = 0;
        for (FileEntry entry : modelFiles()) {
            bytes += entry.bytes;
        }
        return bytes;
    }

    /** Whether a token ends a text. */
    public boolean isEos(int tokenId) {
        for (int eos : eosTokenIds) {
            if (eos == tokenId) {
                return true;
            }
        }
        return false;
    }
}

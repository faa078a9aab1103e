package dev.paredown.core;

/** The parts of a manifest that a phone does not use, read to know that they are as they should. */
final class ManifestParts {
    private ManifestParts() {}

    /** The sum of a predicted peak memory, in bytes. */
    static long memoryBytes(Fields memory) {
        long bytes = memory.integer("weights_bytes");
        bytes += memory.integer("kv_cache_bytes");
        bytes += memory.integer("activations_bytes");
        bytes += memory.integer("packed_weights_bytes", 0);
        bytes += memory.integer("runtime_bytes", 0);
        memory.end();
        return bytes;
    }

    /** Provenance, quantisation details, parity records and golden embeddings. */
    static void checkOthers(Fields manifest) {
        provenance(manifest.object("provenance"));
        manifest.integer("group_size", 0);
        manifest.integer("embedding_bits", 32);
        manifest.nullableInteger("planned_arena_bytes");
        manifest.nullableInteger("packed_weights_bytes");
        if (manifest.has("parity")) {
            for (Fields record : manifest.objects("parity")) {
                parity(record);
            }
        }
        if (manifest.has("golden_embeddings")) {
            for (Fields embedding : manifest.objects("golden_embeddings")) {
                embedding(embedding);
            }
        }
    }

    private static void provenance(Fields f) {
        identity(f.object("dense"));
        identity(f.object("checkpoint"));
        f.string("checkpoint_path");
        f.object("pruning");
        f.string("paredown_version");
        f.end();
    }

    private static void identity(Fields f) {
        f.string("name");
        f.string("model_type");
        f.string("weights_sha256");
        f.string("config_sha256");
        f.integer("parameters");
        f.end();
    }

    private static void parity(Fields f) {
        f.string("reference");
        f.string("output");
        f.integer("positions");
        f.number("max_abs");
        f.number("mean_abs");
        for (String key : new String[] {"sqnr_db", "top1", "kl_nats", "cosine"}) {
            f.any(key);
            f.nullableNumber(key);
        }
        if (f.any("passed") != null) {
            f.bool("passed");
        }
        f.string("rule");
        f.string("candidate", "artifact");
        f.end();
    }

    private static void embedding(Fields f) {
        f.string("name");
        f.ints("input_ids");
        f.numbers("embedding");
        f.number("min_cosine");
        f.end();
    }
}

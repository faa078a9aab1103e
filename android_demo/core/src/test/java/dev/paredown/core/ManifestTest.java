package dev.paredown.core;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.util.Map;
import org.junit.Test;

public class ManifestTest {
    private static Manifest parse(Map<String, Object> json) {
        return Manifest.parse(Json.write(json), "manifest");
    }

    private static void refused(Map<String, Object> json, String message) {
        ParedownException error = assertThrows(ParedownException.class, () -> parse(json));
        assertEquals(message, error.getMessage());
        assertEquals(ParedownException.BAD_REQUEST, error.exitCode());
    }

    @Test
    public void whatItSaysAndWhatStandsForAbsentKeys() {
        Manifest manifest = parse(Made.manifest());
        assertEquals("toy", manifest.name);
        assertEquals(16, manifest.vocabSize);
        assertEquals(4, manifest.layers.get(0).headDim);
        assertEquals(6, manifest.predictedMemoryBytes);
        assertNull(manifest.bosTokenId);
        assertTrue(manifest.isEos(0));
        assertArrayEquals(new int[] {11, 10, 2}, manifest.goldenCases.get(0).continuationIds);
        assertArrayEquals(new double[] {0, -1}, manifest.goldenCases.get(0).topLogits, 0);
        assertEquals("decoder", manifest.kind);
        assertEquals("functional", manifest.kvCache);
        assertEquals(0, manifest.maxPrefillTokens);
    }

    @Test
    public void anotherVersionIsNamedBeforeItsOtherKeys() {
        Map<String, Object> json = Made.manifest();
        json.put("schema", "paredown.bundle/9");
        json.put("new", 1);
        refused(json, "manifest has schema \"paredown.bundle/9\", not \"paredown.bundle/1\"");
        json.remove("schema");
        refused(json, "manifest has schema null, not \"paredown.bundle/1\"");
    }

    @Test
    public void unknownKeysAreRefusedAtEveryLevel() {
        Map<String, Object> json = Made.manifest();
        json.put("new", 1);
        refused(json, "manifest has an unknown key \"new\"");
        json = Made.manifest();
        Map<String, Object> golden = Made.golden();
        golden.put("extra", null);
        json.put("golden_cases", Made.list(golden));
        refused(json, "manifest.golden_cases[0] has an unknown key \"extra\"");
        json = Made.manifest();
        Json.object(json.get("provenance"), "").put("who", "me");
        refused(json, "manifest.provenance has an unknown key \"who\"");
    }

    @Test
    public void everyKeyWithoutADefaultMustBeThere() {
        for (String key : Made.manifest().keySet()) {
            if (!key.equals("schema")) {
                Map<String, Object> json = Made.manifest();
                json.remove(key);
                refused(json, "manifest lacks the key \"" + key + "\"");
            }
        }
    }

    @Test
    public void valuesOfTheWrongTypeAreNamed() {
        wrong("vocab_size", "16", "manifest.vocab_size is \"16\", not a whole number");
        wrong("vocab_size", 16.0, "manifest.vocab_size is 16.0, not a whole number");
        wrong("vocab_size", true, "manifest.vocab_size is true, not a whole number");
        wrong("vocab_size", 3_000_000_000L, "manifest.vocab_size is 3000000000, too large");
        wrong("name", null, "manifest.name is null, not a text");
        wrong("layers", Made.map(), "manifest.layers is an object, not an array");
        wrong("layers", Made.list(1), "manifest.layers[0] is 1, not an object");
        wrong("eos_token_ids", Made.list(1, "2"),
                "manifest.eos_token_ids[1] is \"2\", not a whole number");
        wrong("backend_versions", Made.map("onnx", 1),
                "manifest.backend_versions.onnx is 1, not a text");
        wrong("kv_cache", 1, "manifest.kv_cache is 1, not a text");
    }

    private static void wrong(String key, Object value, String message) {
        Map<String, Object> json = Made.manifest();
        json.put(key, value);
        refused(json, message);
    }

    @Test
    public void aProtocolOfNothingIsTheDefaultOneAndUnknownKeysAreRefused() {
        Protocol protocol = Protocol.parse("{\"schema\":\"paredown.protocol/2\"}", "protocol");
        assertEquals(128, protocol.promptTokens);
        assertEquals(64, protocol.generatedTokens);
        assertEquals("time", protocol.phase);
        assertNull(protocol.cooldownCelsius);
        ParedownException error =
                assertThrows(ParedownException.class, () -> Made.protocol("speed", 1));
        assertEquals("protocol has an unknown key \"speed\"", error.getMessage());
    }
}

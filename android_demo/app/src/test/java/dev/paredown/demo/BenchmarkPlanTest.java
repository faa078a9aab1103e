package dev.paredown.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNotEquals;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;

import dev.paredown.core.Manifest;
import dev.paredown.core.Spec;
import java.io.File;
import java.io.IOException;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;

/** What the screen asks the measuring process for is what that process accepts. */
public final class BenchmarkPlanTest {
    @Rule public final TemporaryFolder folder = new TemporaryFolder();

    @Test
    public void goldenCasesComeBeforeAnyNumber() {
        List<String> phases = plan(2048).phases();
        assertEquals(BenchmarkPlan.CHECK, phases.get(0));
        assertEquals(0, phases.lastIndexOf(BenchmarkPlan.CHECK));
        assertTrue(phases.contains("time"));
        assertTrue(phases.contains("memory"));
    }

    @Test
    public void everySpecIsOneThatTheCoreAccepts() throws IOException {
        BenchmarkPlan plan = plan(2048);
        Set<String> ids = new HashSet<>();
        int place = 0;
        for (String phase : plan.phases()) {
            File file = folder.newFile();
            plan.writeSpec(file, phase, ++place);
            Spec spec = Spec.read(file);
            assertTrue("two answers of one name", ids.add(spec.id));
            assertTrue(spec.emulated);
            assertEquals(2, spec.threads);
            if (phase.equals(BenchmarkPlan.CHECK)) {
                assertEquals("check", spec.verb);
                assertNull(spec.protocol);
            } else {
                assertEquals("measure", spec.verb);
                assertEquals(phase, spec.protocol.phase);
                assertFalse(spec.protocol.cold);
                spec.protocol.check(manifest(2048));
            }
        }
    }

    @Test
    public void aShortContextGetsAShorterWorkload() {
        assertEquals("pp128+tg64", plan(2048).label());
        assertEquals("pp64+tg63", plan(128).label());
        for (int context : new int[] {2, 3, 4, 5, 191, 192, 193, 256}) {
            BenchmarkPlan plan = plan(context);
            plan.protocol().check(manifest(context));
            assertNotEquals("", plan.label());
        }
    }

    private BenchmarkPlan plan(int context) {
        return new BenchmarkPlan(folder.getRoot(), manifest(context), 2, true);
    }

    static Manifest manifest(int context) {
        return Manifest.parse(
                "{\"schema\": \"paredown.bundle/1\", \"name\": \"tiny\", \"backend\": \"onnx\","
                        + " \"backend_versions\": {}, \"model_file\": \"model.onnx\","
                        + " \"files\": [],"
                        + " \"vocab_size\": 8, \"hidden_size\": 4, \"layers\": [],"
                        + " \"quantization\": \"none\", \"context_length\": " + context + ","
                        + " \"bos_token_id\": null, \"eos_token_ids\": [],"
                        + " \"provenance\": {\"dense\": " + identity() + ", \"checkpoint\": "
                        + identity() + ", \"checkpoint_path\": \"\", \"pruning\": {},"
                        + " \"paredown_version\": \"0\"}, \"predicted_memory\":"
                        + " {\"weights_bytes\": 1, \"kv_cache_bytes\": 1,"
                        + " \"activations_bytes\": 1},"
                        + " \"golden_cases\": [], \"parameters\": 1}",
                "manifest");
    }

    private static String identity() {
        return "{\"name\": \"tiny\", \"model_type\": \"llama\", \"weights_sha256\": \"\","
                + " \"config_sha256\": \"\", \"parameters\": 1}";
    }
}

package dev.paredown.core;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;

import java.io.File;
import java.util.Arrays;
import java.util.Collections;
import java.util.Map;
import org.junit.Before;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;

/** Whatever happens, there is an answer. */
public class HeadlessTest {
    @Rule public final TemporaryFolder folder = new TemporaryFolder();

    private final FakeClock clock = new FakeClock();
    private final Cancellation cancel = new Cancellation();
    private final FakeEvents events = new FakeEvents();
    private FakeFactory factory = new FakeFactory(clock);
    private File directory;
    private File reports;
    private Map<String, Object> spec;

    @Before
    public void makeBundle() throws Exception {
        directory = Made.bundle(folder.newFolder("bundle"), Made.manifest());
        reports = new File(folder.getRoot(), "made/reports");
        spec = Made.map(
                "schema", "paredown.android-spec/1", "id", "one", "verb", "check",
                "bundle", directory.toString(), "protocol", null, "prompt_ids", null,
                "prompt", null, "max_new_tokens", null, "threads", 1, "emulated", false);
    }

    private Outcome run() throws Exception {
        return run(Json.write(spec));
    }

    private Outcome run(String text) throws Exception {
        File file = new File(folder.getRoot(), "spec-7.json");
        Made.text(file, text);
        return headless().run(file, reports, cancel, events);
    }

    private Headless headless() {
        FakeSensors sensors = new FakeSensors(clock);
        return new Headless(
                Collections.<EngineFactory>singletonList(factory),
                bundle -> new Letters(),
                sensors,
                new ProcReader(folder.getRoot()),
                clock);
    }

    /** Token 1 is A, token 2 is B and so on. */
    private static final class Letters implements TextCodec {
        @Override
        public int[] promptIds(String text) {
            int[] ids = new int[text.length()];
            for (int i = 0; i < ids.length; i++) {
                ids[i] = text.charAt(i) - '@';
            }
            return ids;
        }

        @Override
        public TextStream stream(int[] promptIds) {
            return new Pairs();
        }
    }

    /** Two letters at a time. */
    private static final class Pairs implements TextStream {
        private String held = "";

        @Override
        public String push(int id) {
            held += (char) ('@' + id);
            return held.length() == 2 ? finish() : "";
        }

        @Override
        public String finish() {
            String text = held;
            held = "";
            return text;
        }
    }

    /** The answer, read back; the only file in the folder. */
    private Map<String, Object> answer(Outcome outcome, String name) {
        assertArrayEquals(new String[] {name}, reports.list());
        assertEquals(new File(reports, name), outcome.file);
        assertEquals(outcome.json, TextFiles.read(outcome.file));
        return Json.parseObject(outcome.json, "answer");
    }

    private void failed(String name, int exitCode, String what) throws Exception {
        failed(run(), name, exitCode, what);
    }

    private void failed(Outcome outcome, String name, int exitCode, String what) {
        Map<String, Object> answer = answer(outcome, name);
        assertEquals("paredown.android-failure/1", answer.get("schema"));
        String found = answer.get("what").toString();
        assertEquals(what, found.replace(folder.getRoot().toString(), "ROOT"));
        assertEquals((long) exitCode, answer.get("exit_code"));
        assertEquals(exitCode, outcome.exitCode);
        assertEquals(4, answer.size());
        assertTrue(outcome.failure.startsWith(found.replaceAll("\\s+", " ")));
    }

    @Test
    public void checking() throws Exception {
        Outcome outcome = run();
        Map<String, Object> answer = answer(outcome, "one.json");
        assertEquals(0, outcome.exitCode);
        assertEquals("", outcome.failure);
        assertEquals("paredown.check/1", answer.get("schema"));
        assertEquals(true, answer.get("passed"));
        assertTrue(factory.engine.closed);
    }

    @Test
    public void aFailedCaseIsAReportWithExitCode1() throws Exception {
        factory = new FakeFactory(clock) {
            @Override
            public Engine open(Bundle bundle, int threads) {
                return new FakeEngine(15, clock);
            }
        };
        Outcome outcome = run();
        assertEquals(1, outcome.exitCode);
        assertEquals(false, answer(outcome, "one.json").get("passed"));
    }

    @Test
    public void measuringWithTokensOfTheHost() throws Exception {
        spec.put("verb", "measure");
        spec.put("protocol", Made.protocolJson());
        spec.put("prompt_ids", Made.list(1, 2, 3, 4));
        spec.put("emulated", true);
        Map<String, Object> answer = answer(run(), "one.json");
        assertEquals("paredown.launch/2", answer.get("schema"));
        Map<String, Object> device = Json.object(answer.get("device"), "device");
        assertEquals("yes", Json.object(device.get("emulated"), "emulated").get("value"));
        assertEquals(Collections.singletonList("2/2"), events.told.subList(1, 2));
    }

    @Test
    public void measuringWithTheBundlesOwnTokensOnARealDevice() throws Exception {
        spec.put("verb", "measure");
        spec.put("protocol", Made.protocolJson());
        Map<String, Object> answer = answer(run(), "one.json");
        assertFalse(Json.object(answer.get("device"), "device").containsKey("emulated"));
    }

    @Test
    public void chatting() throws Exception {
        spec.put("verb", "chat");
        spec.put("prompt", "ABC");
        spec.put("max_new_tokens", 3);
        Map<String, Object> answer = answer(run(), "one.json");
        Map<String, Object> expected = Made.map(
                "schema", "paredown.android-chat/1", "text", "KJB", "prompt_tokens", 3L,
                "generated_tokens", 3L, "ttft_ms", 0.00301);
        assertEquals(expected, answer);
        assertEquals(Arrays.asList("KJ", "B"), events.told);
    }

    @Test
    public void aPieceOnOneLineOfStatus() {
        assertEquals("a\\\\n\\nb\\r", StatusText.escape("a\\n\nb\r"));
    }

    @Test
    public void anAnswerStopsWhereTheContextIsFull() throws Exception {
        spec.put("verb", "chat");
        spec.put("prompt", "ABCDEFGHIJKLMNOABCDEFGHIJKLMNO");
        spec.put("max_new_tokens", 100);
        assertEquals(2L, answer(run(), "one.json").get("generated_tokens"));
        spec.put("prompt", "ABCDEFGHIJKLMNOABCDEFGHIJKLMNOAB");
        failed("one.json", 2, "the prompt has 32 tokens, the context holds 32");
    }

    @Test
    public void aSpecThatCannotBeReadIsAnsweredUnderItsFilesName() throws Exception {
        failed(run("{"), "spec-7.json", 2,
                "ROOT/spec-7.json is not JSON: a key is expected, line 1 column 2");
        File absent = new File(folder.getRoot(), "spec-7.json");
        assertTrue(absent.delete());
        Outcome outcome = headless().run(absent, reports, cancel, events);
        failed(outcome, "spec-7.json", 2,
                "cannot read ROOT/spec-7.json (NoSuchFileException)");
    }

    @Test
    public void impossibleSpecs() throws Exception {
        refused("schema", "other", "ROOT/spec-7.json has schema \"other\", not "
                + "\"paredown.android-spec/1\"");
        refused("id", "../one", "spec: id is \"../one\"");
        refused("id", ".hidden", "spec: id is \".hidden\"");
        refused("verb", "dance", "spec: verb is \"dance\"");
        refused("bundle", "bundle", "spec: bundle is bundle");
        refused("threads", 0, "spec: threads is 0");
        refused("protocol", Made.protocolJson(), "spec: check and the protocol do not fit");
        refused("prompt_ids", Made.list(1), "spec: check takes no prompt_ids");
        refused("prompt", "A", "spec: check and the prompt do not fit");
        refused("max_new_tokens", 1, "spec: check and max_new_tokens do not fit");
        refused("more", 1, "ROOT/spec-7.json has an unknown key \"more\"");
        refused("verb", "measure", "spec: measure and the protocol do not fit");
        spec.remove("threads");
        failed("spec-7.json", 2, "ROOT/spec-7.json lacks the key \"threads\"");
    }

    private void refused(String key, Object value, String what) throws Exception {
        Object before = spec.put(key, value);
        failed("spec-7.json", 2, what);
        if (before == null && key.equals("more")) {
            spec.remove(key);
        } else {
            spec.put(key, before);
        }
    }

    @Test
    public void aBrokenBundle() throws Exception {
        Made.text(new File(directory, "model.onnx"), "MODEL.onnx");
        failed("one.json", 2, "ROOT/bundle/model.onnx was edited or damaged: its SHA-256 is not "
                + "the manifest's");
    }

    @Test
    public void aBundleOfAnotherEngine() throws Exception {
        Map<String, Object> manifest = Made.manifest();
        manifest.put("backend", "executorch");
        Made.bundle(directory, manifest);
        failed("one.json", 3, "this program has no engine for executorch bundles");
    }

    @Test
    public void aPromptOfAnotherLengthThanTheProtocols() throws Exception {
        spec.put("verb", "measure");
        spec.put("protocol", Made.protocolJson());
        spec.put("prompt_ids", Made.list(1));
        failed("one.json", 2, "there are 1 prompt tokens, the protocol says 4");
    }

    @Test
    public void otherThreadsThanTheProtocols() throws Exception {
        spec.put("verb", "measure");
        spec.put("protocol", Made.protocolJson("threads", 2));
        failed("spec-7.json", 2, "spec: threads is not the protocol's");
    }

    @Test
    public void errorsOfTheVirtualMachineToo() throws Exception {
        opening(new OutOfMemoryError("Java heap space"));
        failed("one.json", 1, "the process ran out of memory");
        opening(new UnsatisfiedLinkError("no onnxruntime in java.library.path"));
        failed("one.json", 3,
                "a library cannot be loaded: no onnxruntime in java.library.path");
        IllegalStateException defect = new IllegalStateException("odd");
        defect.setStackTrace(new StackTraceElement[] {
            new StackTraceElement("dev.paredown.Some", "method", "Some.java", 12)
        });
        opening(defect);
        failed("one.json", 70, "internal error: IllegalStateException: odd at "
                + "dev.paredown.Some.method(Some.java:12)");
    }

    private void opening(Throwable error) {
        factory = new FakeFactory(clock) {
            @Override
            public Engine open(Bundle bundle, int threads) {
                if (error instanceof Error) {
                    throw (Error) error;
                }
                throw (RuntimeException) error;
            }
        };
    }

    @Test
    public void aStoppedRun() throws Exception {
        cancel.cancel();
        failed("one.json", 130, "stopped");
    }

    @Test
    public void theAnswerOfAnEarlierRunGoesBeforeTheWorkBegins() throws Exception {
        Made.text(new File(reports, "one.json"), "old");
        boolean[] seen = {false};
        factory = new FakeFactory(clock) {
            @Override
            public Engine open(Bundle bundle, int threads) {
                seen[0] = new File(reports, "one.json").exists();
                return super.open(bundle, threads);
            }
        };
        answer(run(), "one.json");
        assertFalse(seen[0]);
    }

    @Test
    public void aFolderThatCannotBeWrittenLeavesTheTextAndSaysSo() throws Exception {
        reports = folder.newFile("reports");
        Outcome outcome = run();
        assertNull(outcome.file);
        assertEquals(2, outcome.exitCode);
        assertTrue(outcome.json.contains("paredown.check/1"));
        assertTrue(outcome.failure, outcome.failure.startsWith("cannot write "));
    }
}

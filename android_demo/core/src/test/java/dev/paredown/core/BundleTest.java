package dev.paredown.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.io.File;
import java.nio.file.Files;
import java.util.Map;
import org.junit.Before;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;

public class BundleTest {
    @Rule public final TemporaryFolder folder = new TemporaryFolder();

    private File directory;

    @Before
    public void makeBundle() throws Exception {
        directory = Made.bundle(folder.newFolder("bundle"), Made.manifest());
    }

    private Bundle open() {
        return Bundle.open(directory, new Cancellation());
    }

    private void refused(String message) {
        ParedownException error = assertThrows(ParedownException.class, this::open);
        assertEquals(message, error.getMessage().replace(directory.toString(), "DIR"));
        assertEquals(ParedownException.BAD_REQUEST, error.exitCode());
    }

    private void change(String key, Object value) throws Exception {
        File file = new File(directory, "manifest.json");
        Map<String, Object> json = Json.parseObject(TextFiles.read(file), "manifest");
        json.put(key, value);
        Made.text(file, Json.write(json));
    }

    private Map<String, Object> entry(String path) throws Exception {
        File file = new File(directory, "model.onnx");
        String sha256 = FileCheck.sha256(file, new Cancellation());
        return Made.map("path", path, "bytes", file.length(), "sha256", sha256);
    }

    @Test
    public void aWholeBundleIsOpened() {
        Bundle bundle = open();
        assertEquals(new File(directory, "model.onnx"), bundle.modelFile());
        assertEquals(2, bundle.modelFiles().size());
        assertEquals("model.onnx".length() + "model.onnx.data".length(),
                bundle.manifest().modelBytes());
    }

    @Test
    public void whatIsNoBundle() throws Exception {
        File file = new File(directory, "manifest.json");
        assertTrue(file.delete());
        refused("DIR is not a bundle: it has no manifest.json");
        directory = new File(directory, "absent");
        refused("no such bundle: DIR");
    }

    @Test
    public void aManifestThatIsNoJsonOrNoText() throws Exception {
        File file = new File(directory, "manifest.json");
        Made.text(file, "{");
        refused("DIR/manifest.json is not JSON: a key is expected, line 1 column 2");
        Files.write(file.toPath(), new byte[] {'"', (byte) 0xff, '"'});
        refused("DIR/manifest.json is not UTF-8 text");
    }

    @Test
    public void anEditedFile() throws Exception {
        Made.text(new File(directory, "model.onnx"), "MODEL.onnx");
        refused("DIR/model.onnx was edited or damaged: its SHA-256 is not the manifest's");
    }

    @Test
    public void aShortenedFile() throws Exception {
        Made.text(new File(directory, "model.onnx"), "model");
        refused("DIR/model.onnx has 5 bytes, the manifest says 10");
    }

    @Test
    public void aMissingFile() {
        assertTrue(new File(directory, "model.onnx.data").delete());
        refused("DIR/model.onnx.data is missing");
    }

    @Test
    public void anUnlistedFileAlsoInAFolder() throws Exception {
        Made.text(new File(directory, "sub/more.txt"), "x");
        refused("DIR/sub/more.txt is not listed in the manifest");
    }

    @Test
    public void namesOutsideOfTheBundle() throws Exception {
        for (String name : new String[] {"../model.onnx", "/etc/passwd", "", "a\\b", "a/../../b"}) {
            change("files", Made.list(entry("model.onnx"), entry(name)));
            refused("DIR: the manifest lists \"" + name + "\", outside of the bundle");
        }
    }

    @Test
    public void aLinkThatLeadsOutside() throws Exception {
        File outside = folder.newFile("outside");
        Files.createSymbolicLink(new File(directory, "link").toPath(), outside.toPath());
        change("files", Made.list(entry("model.onnx"), entry("link")));
        refused("DIR: the manifest lists \"link\", outside of the bundle");
    }

    @Test
    public void aNameTwiceAndAModelThatIsNotListed() throws Exception {
        change("files", Made.list(entry("model.onnx"), entry("model.onnx")));
        refused("DIR: the manifest lists \"model.onnx\" twice");
        change("files", Made.list(entry("model.onnx.data")));
        refused("DIR: the model file \"model.onnx\" is not among the manifest's files");
    }

    @Test
    public void aListToChooseFromReadsNoFile() throws Exception {
        Made.text(new File(directory, "model.onnx"), "MODEL.onnx");
        assertEquals("toy", Bundle.read(directory).manifest().name);
    }

    @Test
    public void hashingCanBeStopped() {
        Cancellation cancel = new Cancellation();
        cancel.cancel();
        ParedownException error =
                assertThrows(ParedownException.class, () -> Bundle.open(directory, cancel));
        assertEquals(ParedownException.INTERRUPTED, error.exitCode());
    }
}

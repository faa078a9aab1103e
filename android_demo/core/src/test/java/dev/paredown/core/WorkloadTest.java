package dev.paredown.core;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;

import java.io.File;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;

public class WorkloadTest {
    private static final double[] FIRST = {
        0.6316603086593645, 0.47641145683684816, 0.8172843011378103
    };
    private static final double THOUSANDTH = 0.5144327402966488;

    @Rule public final TemporaryFolder folder = new TemporaryFolder();

    @Test
    public void theGeneratorIsTheReferenceOne() {
        // Python: [random.Random(20240).random() for _ in range(3)] and the 1000th.
        MersenneTwister random = new MersenneTwister(20240);
        double[] first = {random.nextDouble(), random.nextDouble(), random.nextDouble()};
        assertArrayEquals(FIRST, first, 0);
        for (int i = 3; i < 999; i++) {
            random.nextDouble();
        }
        assertEquals(THOUSANDTH, random.nextDouble(), 0);
    }

    @Test
    public void specialTokensAreLeftOutAndMoreTokensBeginAlike() {
        Set<Integer> special = new HashSet<>();
        for (int id = 0; id < 90; id++) {
            special.add(id);
        }
        int[] few = Workload.randomTokens(100, special, 20);
        int[] more = Workload.randomTokens(100, special, 50);
        for (int i = 0; i < few.length; i++) {
            assertEquals(few[i], more[i]);
            assertEquals(true, few[i] >= 90 && few[i] < 100);
        }
        assertThrows(ParedownException.class,
                () -> Workload.randomTokens(1, Collections.singleton(0), 1));
    }

    @Test
    public void theDepthIsThePromptAsOftenAsItTakes() throws Exception {
        File directory = Made.bundle(folder.newFolder("bundle"), Made.manifest());
        Bundle bundle = Bundle.open(directory, new Cancellation());
        Protocol protocol = Made.protocol("prompt_tokens", 2, "depth", 5);
        Workload work = Workload.of(bundle, protocol, new int[] {8, 9});
        assertArrayEquals(new int[] {8, 9, 8, 9, 8}, work.depthIds);
        assertArrayEquals(new int[] {8, 9}, work.promptIds);
    }

    @Test
    public void tokensThatTheTokenizerCallsSpecialAreNoneOfThePrompt() throws Exception {
        File folderOfBundle = folder.newFolder("bundle");
        List<Object> added = Made.list();
        for (int id = 1; id < 15; id++) {
            added.add(Made.map("id", id, "content", "t" + id, "special", id != 7));
        }
        File directory = Made.bundle(folderOfBundle, Made.manifest());
        Made.text(new File(directory, "tokenizer.json"),
                Json.write(Made.map("added_tokens", added)));
        File file = new File(directory, "manifest.json");
        String manifest = TextFiles.read(file).replace("\"files\": [", "\"files\": [{\"path\":"
                + "\"tokenizer.json\",\"bytes\":1,\"sha256\":\"\"},");
        Made.text(file, manifest);
        Workload work = Workload.of(Bundle.read(directory), Made.protocol(), null);
        for (int id : work.promptIds) {
            assertEquals(true, id == 7 || id == 15);
        }
    }
}

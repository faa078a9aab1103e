import dev.paredown.core.Bundle;
import dev.paredown.core.Cancellation;
import dev.paredown.core.Engine;
import dev.paredown.core.GoldenCase;
import dev.paredown.core.GoldenCheck;
import dev.paredown.core.Json;
import dev.paredown.core.ParedownException;
import dev.paredown.executorch.ExecutorchEngineFactory;
import java.io.File;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Opens a bundle with the app's ExecuTorch engine and prints what came of it as JSON. */
public final class PteCheck {
    private PteCheck() {}

    public static void main(String[] arguments) {
        Map<String, Object> said = new LinkedHashMap<>();
        try {
            Bundle bundle = Bundle.open(new File(arguments[0]), new Cancellation());
            ExecutorchEngineFactory factory = new ExecutorchEngineFactory("1.2.3");
            factory.prepare();
            try (Engine engine = factory.open(bundle, 1)) {
                GoldenCheck check = new GoldenCheck(new Cancellation());
                said.put("report", check.run(engine, bundle.manifest()).toJson());
                said.put("versions", engine.versions());
                ask(engine, bundle, said);
            }
        } catch (ParedownException error) {
            said.put("error", error.sentence());
            said.put("exit_code", (long) error.exitCode());
        }
        System.out.println(Json.writeCompact(said));
    }

    /** The longest prompt at once and token by token; then what the engine must refuse. */
    private static void ask(Engine engine, Bundle bundle, Map<String, Object> said) {
        List<GoldenCase> cases = bundle.manifest().goldenCases;
        int[] ids = cases.get(cases.size() - 1).promptIds;
        engine.reset();
        float[] whole = engine.prefill(ids).clone();
        said.put("position", (long) engine.position());
        engine.reset();
        float[] single = {};
        for (int id : ids) {
            single = engine.step(id);
        }
        double largest = 0;
        for (int i = 0; i < whole.length; i++) {
            largest = Math.max(largest, Math.abs(whole[i] - single[i]));
        }
        said.put("prefill_differs_from_steps_by", largest);
        engine.reset();
        said.put("again", Arrays.equals(whole, engine.prefill(ids)));
        try {
            engine.step(bundle.manifest().vocabSize);
        } catch (ParedownException refused) {
            said.put("refused", refused.getMessage());
        }
    }
}

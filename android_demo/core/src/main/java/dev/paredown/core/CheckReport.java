package dev.paredown.core;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Every golden case of a bundle, run here; {@code CheckReport} of the schema. */
public final class CheckReport {
    /** The version of the format that this program writes. */
    public static final String SCHEMA = "paredown.check/1";

    /** Of the manifest. */
    public final String bundleName;
    /** The runtime. */
    public final String engine;
    /** One result per case. */
    public final List<CaseResult> cases;
    /** There were cases, and all passed. */
    public final boolean passed;

    CheckReport(String bundleName, String engine, List<CaseResult> cases) {
        this.bundleName = bundleName;
        this.engine = engine;
        this.cases = Collections.unmodifiableList(cases);
        boolean all = !cases.isEmpty();
        for (CaseResult result : cases) {
            all &= result.passed;
        }
        this.passed = all;
    }

    /** What failed, for a user; empty where all passed. */
    public String sentence() {
        for (CaseResult result : cases) {
            if (!result.passed) {
                return String.format(
                        java.util.Locale.ROOT,
                        "golden case '%s' failed on %s: %d of %d tokens, logits off by %.3g",
                        result.name, engine, result.matchingTokens, result.expectedTokens,
                        result.maxAbsLogitDifference);
            }
        }
        return passed ? "" : "the bundle has no golden cases to check itself with";
    }

    /** As {@code CheckReport} of the schema. */
    public Map<String, Object> toJson() {
        List<Object> list = new ArrayList<>();
        for (CaseResult result : cases) {
            list.add(result.toJson());
        }
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("bundle_name", bundleName);
        json.put("engine", engine);
        json.put("cases", list);
        json.put("passed", passed);
        json.put("schema", SCHEMA);
        return json;
    }
}

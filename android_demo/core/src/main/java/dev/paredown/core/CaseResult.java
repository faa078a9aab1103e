package dev.paredown.core;

import java.util.LinkedHashMap;
import java.util.Map;

/** Outcome of one golden case on this machine. */
public final class CaseResult {
    /** Of the case. */
    public final String name;
    /** Whether this machine computes what the exporter did. */
    public final boolean passed;
    /** Over the case's top logits. */
    public final double maxAbsLogitDifference;
    /** Length of the common greedy prefix. */
    public final int matchingTokens;
    /** Length of the expected continuation. */
    public final int expectedTokens;
    /** The first divergence, if any, was at a gap of at most the tolerance. */
    public final boolean nearTie;

    CaseResult(GoldenCase golden, double largest, int matching, boolean nearTie) {
        boolean complete = matching == golden.continuationIds.length;
        this.name = golden.name;
        this.passed = largest <= golden.tolerance && (complete || nearTie);
        this.maxAbsLogitDifference = largest;
        this.matchingTokens = matching;
        this.expectedTokens = golden.continuationIds.length;
        this.nearTie = nearTie;
    }

    /** As {@code CaseResult} of the schema. */
    public Map<String, Object> toJson() {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("name", name);
        json.put("passed", passed);
        json.put("max_abs_logit_difference", maxAbsLogitDifference);
        json.put("matching_tokens", matchingTokens);
        json.put("expected_tokens", expectedTokens);
        json.put("near_tie", nearTie);
        json.put("cosine", null);
        return json;
    }
}

package dev.paredown.core;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** A self-test that needs neither tokenizer nor network. */
public final class GoldenCase {
    /** What it is called. */
    public final String name;
    /** Token ids of the prompt. */
    public final int[] promptIds;
    /** Greedy continuation by the exported model's torch original. */
    public final int[] continuationIds;
    /** Tokens with the largest logits after the prompt, largest first. */
    public final int[] topTokenIds;
    /** Their logits. */
    public final double[] topLogits;
    /** Smallest gap between best and second logit along the continuation. */
    public final double minMargin;
    /** Largest |difference of a logit| that passes. */
    public final double tolerance;

    private GoldenCase(Fields f) {
        name = f.string("name");
        promptIds = f.ints("prompt_ids");
        continuationIds = f.ints("continuation_ids");
        List<Fields> top = f.objects("top_logits");
        topTokenIds = new int[top.size()];
        topLogits = new double[top.size()];
        for (int i = 0; i < topTokenIds.length; i++) {
            topTokenIds[i] = top.get(i).int32("token_id");
            topLogits[i] = top.get(i).number("logit");
            top.get(i).end();
        }
        minMargin = f.number("min_margin");
        tolerance = f.number("tolerance");
        f.end();
    }

    static List<GoldenCase> list(List<Fields> items) {
        List<GoldenCase> cases = new ArrayList<>();
        for (Fields item : items) {
            cases.add(new GoldenCase(item));
        }
        return Collections.unmodifiableList(cases);
    }
}

package dev.paredown.core.tokenizer;

import dev.paredown.core.Fields;
import dev.paredown.core.Json;
import dev.paredown.core.ParedownException;
import java.util.List;

/** Reads the model of a tokenizer.json. */
final class BpeReader {
    final Vocabulary vocabulary;
    final MergeTable merges;
    final boolean fusesUnknown;
    final boolean byteFallback;
    final boolean ignoresMerges;
    final int unknown;

    private final String where;

    /** @throws ParedownException a model that is not supported, or whose parts do not fit */
    BpeReader(Fields json, String where) {
        this.where = where;
        String type = json.string("type", "BPE");
        if (!"BPE".equals(type)) {
            throw Unsupported.because(where, "a model of type " + type);
        }
        refuse(json.nullableNumber("dropout"));
        refuseAffix(json, "continuing_subword_prefix");
        refuseAffix(json, "end_of_word_suffix");
        fusesUnknown = json.bool("fuse_unk", false);
        byteFallback = json.bool("byte_fallback", false);
        ignoresMerges = json.bool("ignore_merges", false);
        vocabulary = new Vocabulary(Json.object(json.any("vocab"), where), where);
        merges = merges(json.list("merges"));
        String token = json.nullableString("unk_token");
        unknown = token == null ? -1 : id(token);
        json.end();
    }

    private void refuse(Double dropout) {
        if (dropout != null && dropout != 0) {
            throw Unsupported.because(where, "a BPE with dropout");
        }
    }

    private void refuseAffix(Fields json, String key) {
        String affix = json.nullableString(key);
        if (affix != null && !affix.isEmpty()) {
            throw Unsupported.because(where, "a BPE with " + key + " \"" + affix + "\"");
        }
    }

    private MergeTable merges(List<?> json) {
        MergeTable table = new MergeTable(json.size());
        for (int rank = 0; rank < json.size(); rank++) {
            Object merge = json.get(rank);
            String left;
            String right;
            if (merge instanceof List && ((List<?>) merge).size() == 2) {
                left = String.valueOf(((List<?>) merge).get(0));
                right = String.valueOf(((List<?>) merge).get(1));
            } else {
                String pair = String.valueOf(merge);
                int space = pair.indexOf(' ');
                if (!(merge instanceof String) || space < 0 || pair.indexOf(' ', space + 1) >= 0) {
                    throw ParedownException.badRequest(
                            where + " has a merge that is no pair: number " + rank, "");
                }
                left = pair.substring(0, space);
                right = pair.substring(space + 1);
            }
            table.put(id(left), id(right), rank, id(left + right));
        }
        return table;
    }

    private int id(String token) {
        int id = vocabulary.id(token);
        if (id < 0) {
            throw ParedownException.badRequest(
                    where + " merges or names the token \"" + token + "\", which it does not have", "");
        }
        return id;
    }
}

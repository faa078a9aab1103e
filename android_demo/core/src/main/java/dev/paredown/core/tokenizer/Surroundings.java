package dev.paredown.core.tokenizer;

import dev.paredown.core.Fields;
import dev.paredown.core.ParedownException;

/** The post-processor of a tokenizer.json: special tokens before and after a text. */
final class Surroundings {
    private int[] before = new int[0];
    private int[] after = new int[0];
    private final String where;

    /**
     * @param json the post-processor, or null
     * @throws ParedownException it is of a kind that is not supported
     */
    Surroundings(Object json, String where) {
        this.where = where;
        if (json != null) {
            read(new Fields(json, where + ".post_processor"));
        }
    }

    /** The ids with what goes around them. */
    int[] around(int[] ids) {
        Ids all = new Ids();
        all.addAll(before);
        all.addAll(ids);
        all.addAll(after);
        return all.toArray();
    }

    private void read(Fields json) {
        String type = json.string("type");
        switch (type) {
            case "Sequence":
                for (Fields part : json.objects("processors")) {
                    read(part);
                }
                break;
            case "ByteLevel": // changes offsets, which nobody asks for
                json.bool("add_prefix_space", true);
                json.bool("trim_offsets", true);
                json.bool("use_regex", true);
                break;
            case "TemplateProcessing":
                template(json);
                break;
            default:
                throw Unsupported.because(where, "a post-processor of type " + type);
        }
        json.end();
    }

    private void template(Fields json) {
        json.any("pair");
        Fields special = json.object("special_tokens");
        Ids first = new Ids();
        Ids last = new Ids();
        boolean seen = false;
        for (Fields part : json.objects("single")) {
            if (part.has("Sequence")) {
                if (seen || !"A".equals(part.object("Sequence").string("id"))) {
                    throw Unsupported.because(where, "a template that repeats the text");
                }
                seen = true;
            } else {
                Fields token = special.object(part.object("SpecialToken").string("id"));
                (seen ? last : first).addAll(token.ints("ids"));
            }
            part.end();
        }
        if (!seen) {
            throw Unsupported.because(where, "a template without the text");
        }
        first.addAll(before);
        before = first.toArray();
        Ids all = new Ids();
        all.addAll(after);
        all.addAll(last.toArray());
        after = all.toArray();
    }
}

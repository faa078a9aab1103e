package dev.paredown.core.tokenizer;

import dev.paredown.core.Fields;
import java.util.ArrayList;
import java.util.List;

/** The decoder of a tokenizer.json: makes a fresh chain of stages for each text. */
final class Decoder {
    private interface Link {
        Stage before(Stage next, boolean streams);
    }

    private final List<Link> links = new ArrayList<>();
    private final String where;

    /** Whether what comes next sees all of the text as one token. */
    private boolean fused;

    /** Whether bytes were put together, which a stream does in other portions. */
    private boolean bytesDone;

    /**
     * @param json the decoder, or null
     * @throws dev.paredown.core.ParedownException it is of a kind that is not supported
     */
    Decoder(Object json, String where) {
        this.where = where;
        if (json == null) {
            links.add((next, streams) -> new Stage.Join(next));
        } else {
            read(new Fields(json, where + ".decoder"));
        }
    }

    /** @param streams whether text is taken out before the end */
    Stage open(Stage.Collector collector, boolean streams) {
        Stage stage = collector;
        for (int i = links.size() - 1; i >= 0; i--) {
            stage = links.get(i).before(stage, streams);
        }
        return stage;
    }

    private void read(Fields json) {
        String type = json.string("type");
        if (fused && !"Strip".equals(type) && !"Fuse".equals(type)) {
            throw Unsupported.because(where, "a decoder " + type + " over all of the text at once");
        }
        if (bytesDone && !fused && !"Fuse".equals(type)) {
            throw Unsupported.because(where, "a decoder " + type + " directly after ByteFallback");
        }
        byType(type, json);
        json.end();
    }

    private void byType(String type, Fields json) {
        switch (type) {
            case "Sequence":
                for (Fields part : json.objects("decoders")) {
                    read(part);
                }
                break;
            case "ByteLevel":
                json.bool("add_prefix_space", true);
                json.bool("trim_offsets", true);
                json.bool("use_regex", true);
                fused = true;
                links.add((next, streams) -> new Stage.Bytes(next));
                break;
            case "ByteFallback":
                bytesDone = true;
                links.add((next, streams) -> new Stage.ByteFallback(next, streams));
                break;
            case "Fuse":
                fused = true;
                break;
            case "Replace":
                TextPattern pattern = TextPattern.read(json, where + ".decoder");
                String content = json.string("content");
                links.add((next, streams) -> new Stage.Replace(next, pattern, content));
                break;
            case "Strip":
                strip(json);
                break;
            case "Metaspace":
                Metaspace metaspace = new Metaspace(json, where);
                links.add((next, streams) -> new Stage.Spaces(next, metaspace));
                break;
            default:
                throw Unsupported.because(where, "a decoder of type " + type);
        }
    }

    private void strip(Fields json) {
        String content = json.string("content");
        int start = json.int32("start");
        if (content.length() != 1 || json.int32("stop") != 0) {
            throw Unsupported.because(where, "a decoder Strip at the end, or of several characters");
        }
        boolean wholeText = fused;
        char character = content.charAt(0);
        links.add((next, streams) -> new Stage.Strip(next, character, start, wholeText));
    }
}

package dev.paredown.core.tokenizer;

import dev.paredown.core.Fields;
import java.util.ArrayList;
import java.util.List;

/** Reads the normalizer of a tokenizer.json. */
final class Normalizers {
    private final String where;
    private boolean shortens;

    Normalizers(String where) {
        this.where = where;
    }

    /** @throws dev.paredown.core.ParedownException it is of a kind that is not supported */
    Normalizer read(Fields json) {
        String type = json.string("type");
        Normalizer normalizer = byType(type, json);
        json.end();
        return normalizer;
    }

    /** Whether what was read may take characters away, so that the rest begins later. */
    boolean shortens() {
        return shortens;
    }

    private Normalizer byType(String type, Fields json) {
        switch (type) {
            case "Sequence":
                return sequence(json.objects("normalizers"));
            case "NFC":
                return new Nfc();
            case "Prepend":
                String prefix = json.string("prepend");
                return text -> text.isEmpty() ? text : prefix + text;
            case "Replace":
                TextPattern pattern = TextPattern.read(json, where + ".normalizer");
                String content = json.string("content");
                shortens |= content.isEmpty();
                return text -> pattern.replace(text, content);
            case "Strip":
                shortens = true;
                return strip(json.bool("strip_left"), json.bool("strip_right"));
            default:
                throw Unsupported.because(where, "a normalizer of type " + type);
        }
    }

    private Normalizer sequence(List<Fields> parts) {
        List<Normalizer> steps = new ArrayList<>();
        for (Fields part : parts) {
            steps.add(read(part));
        }
        return text -> {
            String changed = text;
            for (Normalizer step : steps) {
                changed = step.normalize(changed);
            }
            return changed;
        };
    }

    private static Normalizer strip(boolean left, boolean right) {
        return text -> {
            int start = left ? Spaces.atStart(text, 0) : 0;
            int end = right ? Math.max(start, Spaces.atEnd(text, text.length())) : text.length();
            return text.substring(start, end);
        };
    }
}

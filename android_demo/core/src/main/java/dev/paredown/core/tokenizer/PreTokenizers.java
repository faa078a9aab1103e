package dev.paredown.core.tokenizer;

import dev.paredown.core.Fields;
import dev.paredown.core.ParedownException;
import dev.paredown.core.tokenizer.regex.Regex;
import dev.paredown.core.tokenizer.regex.Unicode;
import java.util.ArrayList;
import java.util.List;

/** Reads the pre-tokenizer of a tokenizer.json. */
final class PreTokenizers {
    /** How GPT-2 splits text; a ByteLevel with use_regex stands for it. */
    private static final String GPT2 =
            "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

    private final String where;
    private final boolean normalizerShortens;

    /** @param normalizerShortens see {@link Normalizers#shortens} */
    PreTokenizers(String where, boolean normalizerShortens) {
        this.where = where;
        this.normalizerShortens = normalizerShortens;
    }

    /** @throws ParedownException it is of a kind that is not supported */
    PreTokenizer read(Fields json) {
        String type = json.string("type");
        PreTokenizer preTokenizer = byType(type, json);
        json.end();
        return preTokenizer;
    }

    private PreTokenizer byType(String type, Fields json) {
        switch (type) {
            case "Sequence":
                return sequence(json.objects("pretokenizers"));
            case "ByteLevel":
                json.bool("trim_offsets", true);
                return byteLevel(json.bool("add_prefix_space"), json.bool("use_regex", true));
            case "Split":
                return split(json);
            case "Digits":
                return digits(json.bool("individual_digits"));
            case "Metaspace":
                Metaspace metaspace = new Metaspace(json, where);
                if (metaspace.isFirstOnly() && normalizerShortens) {
                    throw Unsupported.because(
                            where, "a Metaspace for the first word after a normalizer that may remove it");
                }
                return metaspace;
            default:
                throw Unsupported.because(where, "a pre-tokenizer of type " + type);
        }
    }

    private PreTokenizer split(Fields json) {
        TextPattern pattern = TextPattern.read(json, where + ".pre_tokenizer");
        String name = json.string("behavior");
        SplitBehavior behavior = SplitBehavior.named(name);
        if (behavior == null) {
            throw Unsupported.because(where, "a Split with the behavior " + name);
        }
        boolean inverted = json.bool("invert");
        return (piece, parts) ->
                behavior.split(piece, pattern.matches(piece.text), inverted, parts);
    }

    private PreTokenizer byteLevel(boolean addsSpace, boolean splits) {
        Regex regex = Regex.compile(GPT2, where);
        return (piece, parts) -> {
            boolean spaced = addsSpace && !piece.text.startsWith(" ");
            Piece whole = spaced ? new Piece(" " + piece.text, piece.isFirst) : piece;
            List<Piece> words = new ArrayList<>();
            if (splits) {
                SplitBehavior.ISOLATED.split(whole, regex.matches(whole.text), false, words);
            } else {
                words.add(whole);
            }
            for (Piece word : words) {
                parts.add(new Piece(ByteAlphabet.spell(word.text), word.isFirst));
            }
        };
    }

    private static PreTokenizer digits(boolean individual) {
        SplitBehavior behavior = individual ? SplitBehavior.ISOLATED : SplitBehavior.CONTIGUOUS;
        return (piece, parts) -> {
            Ids found = new Ids();
            for (int at = 0; at < piece.text.length(); ) {
                int c = piece.text.codePointAt(at);
                int next = at + Character.charCount(c);
                if (Unicode.isNumeric(c)) {
                    found.add(at);
                    found.add(next);
                }
                at = next;
            }
            behavior.split(piece, found.toArray(), false, parts);
        };
    }

    private PreTokenizer sequence(List<Fields> steps) {
        List<PreTokenizer> preTokenizers = new ArrayList<>();
        for (Fields step : steps) {
            preTokenizers.add(read(step));
        }
        return (piece, parts) -> {
            List<Piece> pieces = new ArrayList<>();
            pieces.add(piece);
            for (PreTokenizer preTokenizer : preTokenizers) {
                List<Piece> smaller = new ArrayList<>();
                for (Piece each : pieces) {
                    if (!each.text.isEmpty()) {
                        preTokenizer.split(each, smaller);
                    }
                }
                pieces = smaller;
            }
            parts.addAll(pieces);
        };
    }
}

package dev.paredown.core.tokenizer;

import dev.paredown.core.Fields;
import java.util.List;

/** Writes spaces as a visible character, and one before the text; as pre-tokenizer and decoder. */
final class Metaspace implements PreTokenizer {
    private final char sign;
    private final String scheme;
    private final boolean splits;

    /** @throws dev.paredown.core.ParedownException values that are not supported */
    Metaspace(Fields json, String where) {
        String replacement = json.string("replacement");
        if (replacement.length() != 1) {
            throw Unsupported.because(where, "a Metaspace whose replacement is not one character");
        }
        sign = replacement.charAt(0);
        boolean adds = json.bool("add_prefix_space", true);
        scheme = json.string("prepend_scheme", adds ? "always" : "never");
        json.nullableString("str_rep");
        splits = json.bool("split", true);
        boolean known = "always".equals(scheme) || "first".equals(scheme) || "never".equals(scheme);
        if (!known || (!adds && prepends())) {
            throw Unsupported.because(where, "a Metaspace with the scheme " + scheme);
        }
    }

    /** Whether a sign goes before the first word and no other. */
    boolean isFirstOnly() {
        return "first".equals(scheme);
    }

    /** Whether a sign goes before the text. */
    boolean prepends() {
        return !"never".equals(scheme);
    }

    /** The sign that stands for a space. */
    char sign() {
        return sign;
    }

    @Override
    public void split(Piece piece, List<Piece> parts) {
        String text = piece.text.replace(' ', sign);
        boolean wanted = isFirstOnly() ? piece.isFirst : prepends();
        if (wanted && text.charAt(0) != sign) {
            text = sign + text;
        }
        Piece whole = new Piece(text, piece.isFirst);
        if (!splits) {
            parts.add(whole);
            return;
        }
        Ids signs = new Ids();
        for (int at = text.indexOf(sign); at >= 0; at = text.indexOf(sign, at + 1)) {
            signs.add(at);
            signs.add(at + 1);
        }
        SplitBehavior.MERGED_WITH_NEXT.split(whole, signs.toArray(), false, parts);
    }
}

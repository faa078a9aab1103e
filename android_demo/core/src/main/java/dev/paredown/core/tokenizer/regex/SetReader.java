package dev.paredown.core.tokenizer.regex;

/** Reads what is between the brackets of a set. */
final class SetReader {
    private final RegexReader reader;

    SetReader(RegexReader reader) {
        this.reader = reader;
    }

    /** Past the closing bracket. */
    void members(CharSet.Builder set) {
        boolean negated = reader.skip("^");
        if (reader.sees("]")) {
            throw reader.refuse("a set that begins with \"]\"");
        }
        while (!reader.skip("]")) {
            if (reader.isAtEnd()) {
                throw reader.refuse("a set without end");
            }
            if (reader.sees("[") || reader.sees("&&")) {
                throw reader.refuse("a set within a set");
            }
            if (!reader.sees("\\") || !reader.escapedKind(set)) {
                range(set);
            } else if (reader.sees("-") && !reader.sees("-]")) {
                throw reader.refuse("a range from a set");
            }
        }
        if (negated) {
            set.negate();
        }
    }

    private void range(CharSet.Builder set) {
        int first = reader.character();
        int last = first;
        if (reader.sees("-") && !reader.sees("-]")) {
            reader.skip("-");
            if (reader.sees("[") || (reader.sees("\\") && reader.escapedKind(set))) {
                throw reader.refuse("a range to a set");
            }
            last = reader.character();
        }
        if (last < first) {
            throw reader.refuse("an empty range");
        }
        set.range(first, last);
    }
}

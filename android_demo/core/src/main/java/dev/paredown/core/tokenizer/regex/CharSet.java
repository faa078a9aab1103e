package dev.paredown.core.tokenizer.regex;

import java.util.ArrayList;
import java.util.List;

/** A set of code points: what one step of a pattern takes. */
final class CharSet {
    /** Kinds of members besides ranges and categories. */
    enum Kind { SPACE, NOT_SPACE, WORD, NOT_WORD }

    private final boolean negated;
    private final int categories;
    private final int[] ranges;
    private final Kind[] kinds;
    private final boolean[] latin = new boolean[256];

    private CharSet(Builder builder) {
        negated = builder.negated;
        categories = builder.categories;
        ranges = new int[builder.ranges.size()];
        for (int i = 0; i < ranges.length; i++) {
            ranges[i] = builder.ranges.get(i);
        }
        kinds = builder.kinds.toArray(new Kind[0]);
        for (int c = 0; c < latin.length; c++) {
            latin[c] = compute(c);
        }
    }

    boolean contains(int codePoint) {
        return codePoint < latin.length ? latin[codePoint] : compute(codePoint);
    }

    private boolean compute(int c) {
        boolean found = (1 << Unicode.category(c) & categories) != 0 || Unicode.inRanges(c, ranges);
        for (int i = 0; i < kinds.length && !found; i++) {
            found = isOf(kinds[i], c);
        }
        return found != negated;
    }

    private static boolean isOf(Kind kind, int c) {
        switch (kind) {
            case SPACE:
                return Unicode.isSpace(c);
            case NOT_SPACE:
                return !Unicode.isSpace(c);
            case WORD:
                return Unicode.isPatternWord(c);
            default:
                return !Unicode.isPatternWord(c);
        }
    }

    /** Collects the members. */
    static final class Builder {
        private final List<Integer> ranges = new ArrayList<>();
        private final List<Kind> kinds = new ArrayList<>();
        private int categories;
        private boolean negated;

        Builder range(int first, int last) {
            ranges.add(first);
            ranges.add(last);
            return this;
        }

        Builder categories(int mask) {
            categories |= mask;
            return this;
        }

        Builder kind(Kind kind) {
            kinds.add(kind);
            return this;
        }

        Builder negate() {
            negated = !negated;
            return this;
        }

        /**
         * Add the other case of all members; the members are ASCII.
         *
         * <p>Two other characters fold to an ASCII letter: the long s and the Kelvin sign.
         */
        Builder foldAscii() {
            for (int i = 0, end = ranges.size(); i < end; i += 2) {
                for (int c = ranges.get(i); c <= ranges.get(i + 1); c++) {
                    fold(c);
                }
            }
            return this;
        }

        private void fold(int c) {
            int lower = c >= 'A' && c <= 'Z' ? c + 32 : c;
            if (lower < 'a' || lower > 'z') {
                return;
            }
            range(lower, lower).range(lower - 32, lower - 32);
            if (lower == 's') {
                range(0x17F, 0x17F);
            } else if (lower == 'k') {
                range(0x212A, 0x212A);
            }
        }

        /** Whether all members are ASCII characters. */
        boolean isAscii() {
            boolean ascii = categories == 0 && kinds.isEmpty();
            for (int bound : ranges) {
                ascii &= bound < 0x80;
            }
            return ascii;
        }

        CharSet build() {
            return new CharSet(this);
        }
    }
}

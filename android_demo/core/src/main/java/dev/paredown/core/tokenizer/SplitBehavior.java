package dev.paredown.core.tokenizer;

import java.util.ArrayList;
import java.util.List;

/** What becomes of the matches that text is split at. */
enum SplitBehavior {
    ISOLATED, REMOVED, CONTIGUOUS, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT;

    /** The name in a tokenizer.json, or null. */
    static SplitBehavior named(String name) {
        switch (name) {
            case "Isolated":
                return ISOLATED;
            case "Removed":
                return REMOVED;
            case "Contiguous":
                return CONTIGUOUS;
            case "MergedWithPrevious":
                return MERGED_WITH_PREVIOUS;
            case "MergedWithNext":
                return MERGED_WITH_NEXT;
            default:
                return null;
        }
    }

    /**
     * Split a piece.
     *
     * @param matches start and end of each, one after the other
     * @param inverted whether what lies between them counts as the matches
     */
    void split(Piece piece, int[] matches, boolean inverted, List<Piece> parts) {
        for (int[] span : join(spans(piece.text.length(), matches, inverted))) {
            String text = piece.text.substring(span[0], span[1]);
            parts.add(new Piece(text, piece.isFirst && span[0] == 0));
        }
    }

    /** All of a text as spans: start, end, 1 for a match. */
    private static List<int[]> spans(int length, int[] matches, boolean inverted) {
        List<int[]> spans = new ArrayList<>();
        int from = 0;
        for (int i = 0; i < matches.length; i += 2) {
            if (matches[i] > from) {
                spans.add(new int[] {from, matches[i], inverted ? 1 : 0});
            }
            spans.add(new int[] {matches[i], matches[i + 1], inverted ? 0 : 1});
            from = matches[i + 1];
        }
        if (from < length) {
            spans.add(new int[] {from, length, inverted ? 1 : 0});
        }
        return spans;
    }

    private List<int[]> join(List<int[]> spans) {
        List<int[]> joined = new ArrayList<>();
        int count = spans.size();
        boolean backwards = this == MERGED_WITH_NEXT;
        boolean previous = false;
        for (int i = 0; i < count; i++) {
            int[] span = spans.get(backwards ? count - 1 - i : i);
            boolean match = span[2] == 1;
            int[] last = joined.isEmpty() ? null : joined.get(joined.size() - 1);
            if (match && this == REMOVED) {
                continue;
            }
            if (last != null && joins(match, previous)) {
                last[backwards ? 0 : 1] = span[backwards ? 0 : 1];
            } else {
                joined.add(span);
            }
            previous = match;
        }
        if (backwards) {
            java.util.Collections.reverse(joined);
        }
        return joined;
    }

    private boolean joins(boolean match, boolean previous) {
        switch (this) {
            case CONTIGUOUS:
                return match == previous;
            case MERGED_WITH_PREVIOUS:
            case MERGED_WITH_NEXT:
                return match && !previous;
            default:
                return false;
        }
    }
}

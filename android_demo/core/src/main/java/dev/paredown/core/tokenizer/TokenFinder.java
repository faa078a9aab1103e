package dev.paredown.core.tokenizer;

import dev.paredown.core.ParedownException;
import dev.paredown.core.tokenizer.regex.Unicode;
import java.util.HashMap;
import java.util.Map;

/** Finds added tokens in text: the leftmost, of those the longest. */
final class TokenFinder {
    /** Takes the text in order: what lies between tokens, and tokens. */
    interface Sink {
        void text(int start, int end);

        void token(AddedToken token);
    }

    private static final class Node {
        private final Map<Character, Node> children = new HashMap<>();
        private AddedToken token;
        private int length;
    }

    private final Node root = new Node();

    /**
     * Look for a token.
     *
     * @param form the text that stands for it
     * @throws ParedownException another token has the same form, or it is empty
     */
    void add(String form, AddedToken token, String where) {
        Node node = root;
        for (int i = 0; i < form.length(); i++) {
            node = node.children.computeIfAbsent(form.charAt(i), letter -> new Node());
        }
        if (node.token != null || form.isEmpty()) {
            throw ParedownException.badRequest(
                    where + " has the added token \"" + token.content + "\", which is empty or the "
                            + "same as another one once normalized", "");
        }
        node.token = token;
        node.length = form.length();
    }

    /** Cut a text. */
    void find(String text, Sink sink) {
        int from = 0;
        for (int at = 0; at < text.length(); ) {
            Node found = root.children.isEmpty() ? null : longest(text, at);
            if (found == null) {
                at++;
                continue;
            }
            AddedToken token = found.token;
            int start = at;
            int end = at + found.length;
            at = end;
            if (token.singleWord && !standsAlone(text, start, end)) {
                continue;
            }
            start = token.takesLeft ? Math.max(Spaces.atEnd(text, start), from) : start;
            end = token.takesRight ? Spaces.atStart(text, end) : end;
            if (from < start) {
                sink.text(from, start);
            }
            sink.token(token);
            from = end;
        }
        if (from < text.length()) {
            sink.text(from, text.length());
        }
    }

    /** The longest form that begins at a place, or null. */
    private Node longest(String text, int start) {
        Node found = null;
        Node node = root;
        for (int at = start; at < text.length(); at++) {
            node = node.children.get(text.charAt(at));
            if (node == null) {
                break;
            }
            found = node.token != null ? node : found;
        }
        return found;
    }

    private static boolean standsAlone(String text, int start, int end) {
        return (start == 0 || !Unicode.isWord(text.codePointBefore(start)))
                && (end == text.length() || !Unicode.isWord(text.codePointAt(end)));
    }
}

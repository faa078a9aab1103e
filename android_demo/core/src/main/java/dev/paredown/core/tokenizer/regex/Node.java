package dev.paredown.core.tokenizer.regex;

/** One step of a compiled pattern; it knows what follows it. */
abstract class Node {
    /**
     * Match this step and all that follow.
     *
     * @param text all of the text; steps may look at what is around {@code at}
     * @param at where this step begins
     * @return where the whole match ends, or -1
     */
    abstract int match(String text, int at);

    /** The end of a pattern. */
    static final Node END = new Node() {
        @Override
        int match(String text, int at) {
            return at;
        }
    };

    /** One code point of a set. */
    static final class One extends Node {
        private final CharSet set;
        private final Node next;

        One(CharSet set, Node next) {
            this.set = set;
            this.next = next;
        }

        @Override
        int match(String text, int at) {
            if (at >= text.length()) {
                return -1;
            }
            int c = text.codePointAt(at);
            return set.contains(c) ? next.match(text, at + Character.charCount(c)) : -1;
        }
    }

    /** The first of several ways that leads to a match. */
    static final class Choice extends Node {
        private final Node[] ways;

        Choice(Node[] ways) {
            this.ways = ways;
        }

        @Override
        int match(String text, int at) {
            for (Node way : ways) {
                int end = way.match(text, at);
                if (end >= 0) {
                    return end;
                }
            }
            return -1;
        }
    }

    /** Code points of a set, as many as possible, giving back one by one. */
    static final class Greedy extends Node {
        private final CharSet set;
        private final int min;
        private final int max;
        private final boolean givesBack;
        private final Node next;

        Greedy(CharSet set, int min, int max, boolean givesBack, Node next) {
            this.set = set;
            this.min = min;
            this.max = max;
            this.givesBack = givesBack;
            this.next = next;
        }

        @Override
        int match(String text, int start) {
            int at = start;
            int count = 0;
            while (count < max && at < text.length()) {
                int c = text.codePointAt(at);
                if (!set.contains(c)) {
                    break;
                }
                at += Character.charCount(c);
                count++;
            }
            for (; count >= min; count--) {
                int end = next.match(text, at);
                if (end >= 0 || !givesBack || count == min) {
                    return end;
                }
                at -= Character.charCount(text.codePointBefore(at));
            }
            return -1;
        }
    }

    /** Code points of a set, as few as possible. */
    static final class Lazy extends Node {
        private final CharSet set;
        private final int min;
        private final int max;
        private final Node next;

        Lazy(CharSet set, int min, int max, Node next) {
            this.set = set;
            this.min = min;
            this.max = max;
            this.next = next;
        }

        @Override
        int match(String text, int start) {
            int at = start;
            for (int count = 0; ; count++) {
                int end = count >= min ? next.match(text, at) : -1;
                if (end >= 0 || count == max || at >= text.length()) {
                    return end;
                }
                int c = text.codePointAt(at);
                if (!set.contains(c)) {
                    return -1;
                }
                at += Character.charCount(c);
            }
        }
    }

    /** What must, or must not, follow; takes nothing. */
    static final class Ahead extends Node {
        private final Node what;
        private final boolean wanted;
        private final Node next;

        Ahead(Node what, boolean wanted, Node next) {
            this.what = what;
            this.wanted = wanted;
            this.next = next;
        }

        @Override
        int match(String text, int at) {
            return what.match(text, at) >= 0 == wanted ? next.match(text, at) : -1;
        }
    }

    /** A code point that must, or must not, be just before; takes nothing. */
    static final class Behind extends Node {
        private final CharSet set;
        private final boolean wanted;
        private final Node next;

        Behind(CharSet set, boolean wanted, Node next) {
            this.set = set;
            this.wanted = wanted;
            this.next = next;
        }

        @Override
        int match(String text, int at) {
            boolean found = at > 0 && set.contains(text.codePointBefore(at));
            return found == wanted ? next.match(text, at) : -1;
        }
    }

    /** A group whose first match is kept, whatever follows. */
    static final class Atomic extends Node {
        private final Node what;
        private final Node next;

        Atomic(Node what, Node next) {
            this.what = what;
            this.next = next;
        }

        @Override
        int match(String text, int at) {
            int end = what.match(text, at);
            return end < 0 ? -1 : next.match(text, end);
        }
    }

    /** A place in the text; takes nothing. */
    static final class Place extends Node {
        private final char kind;
        private final Node next;

        /** @param kind A, z, Z, ^, $, b or B, as in a pattern */
        Place(char kind, Node next) {
            this.kind = kind;
            this.next = next;
        }

        @Override
        int match(String text, int at) {
            return isHere(text, at) ? next.match(text, at) : -1;
        }

        private boolean isHere(String text, int at) {
            int end = text.length();
            switch (kind) {
                case 'A':
                    return at == 0;
                case 'z':
                    return at == end;
                case 'Z':
                    return at == end || (at == end - 1 && text.charAt(at) == '\n');
                case '^':
                    return at == 0 || (text.charAt(at - 1) == '\n' && at < end);
                case '$':
                    return at == end || text.charAt(at) == '\n';
                default:
                    return (isWord(text, at, true) != isWord(text, at, false)) == (kind == 'b');
            }
        }

        private static boolean isWord(String text, int at, boolean before) {
            if (before) {
                return at > 0 && Unicode.isPatternWord(text.codePointBefore(at));
            }
            return at < text.length() && Unicode.isPatternWord(text.codePointAt(at));
        }
    }
}

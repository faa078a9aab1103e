package dev.paredown.core.tokenizer.regex;

import java.util.List;

/** A part of a pattern as it was read, before it knows what follows it. */
interface Part {
    /** No limit to a repetition. */
    int MANY = Integer.MAX_VALUE;

    /** The part as a step that goes on with {@code next}. */
    Node before(Node next);

    /** How a repetition chooses its length. */
    enum Mode { GREEDY, LAZY, POSSESSIVE }

    /** One code point. */
    final class One implements Part {
        final CharSet set;

        One(CharSet set) {
            this.set = set;
        }

        @Override
        public Node before(Node next) {
            return new Node.One(set, next);
        }
    }

    /** Parts one after the other. */
    final class Row implements Part {
        private final List<Part> parts;

        Row(List<Part> parts) {
            this.parts = parts;
        }

        @Override
        public Node before(Node next) {
            Node node = next;
            for (int i = parts.size() - 1; i >= 0; i--) {
                node = parts.get(i).before(node);
            }
            return node;
        }
    }

    /** Alternatives. */
    final class Choice implements Part {
        private final List<Part> ways;

        Choice(List<Part> ways) {
            this.ways = ways;
        }

        @Override
        public Node before(Node next) {
            Node[] nodes = new Node[ways.size()];
            for (int i = 0; i < nodes.length; i++) {
                nodes[i] = ways.get(i).before(next);
            }
            return new Node.Choice(nodes);
        }
    }

    /** A set, repeated. */
    final class Repeat implements Part {
        private final CharSet set;
        private final int min;
        private final int max;
        private final Mode mode;

        Repeat(CharSet set, int min, int max, Mode mode) {
            this.set = set;
            this.min = min;
            this.max = max;
            this.mode = mode;
        }

        @Override
        public Node before(Node next) {
            if (mode == Mode.LAZY) {
                return new Node.Lazy(set, min, max, next);
            }
            return new Node.Greedy(set, min, max, mode == Mode.GREEDY, next);
        }
    }

    /** A group that may be absent. */
    final class Optional implements Part {
        private final Part part;
        private final Mode mode;

        Optional(Part part, Mode mode) {
            this.part = part;
            this.mode = mode;
        }

        @Override
        public Node before(Node next) {
            switch (mode) {
                case GREEDY:
                    return new Node.Choice(new Node[] {part.before(next), next});
                case LAZY:
                    return new Node.Choice(new Node[] {next, part.before(next)});
                default:
                    Node kept = new Node.Choice(new Node[] {part.before(Node.END), Node.END});
                    return new Node.Atomic(kept, next);
            }
        }
    }

    /** A group whose first match is kept. */
    final class Atomic implements Part {
        private final Part part;

        Atomic(Part part) {
            this.part = part;
        }

        @Override
        public Node before(Node next) {
            return new Node.Atomic(part.before(Node.END), next);
        }
    }

    /** Looking ahead. */
    final class Ahead implements Part {
        private final Part part;
        private final boolean wanted;

        Ahead(Part part, boolean wanted) {
            this.part = part;
            this.wanted = wanted;
        }

        @Override
        public Node before(Node next) {
            return new Node.Ahead(part.before(Node.END), wanted, next);
        }
    }

    /** Looking at the code point before. */
    final class Behind implements Part {
        private final CharSet set;
        private final boolean wanted;

        Behind(CharSet set, boolean wanted) {
            this.set = set;
            this.wanted = wanted;
        }

        @Override
        public Node before(Node next) {
            return new Node.Behind(set, wanted, next);
        }
    }

    /** A place in the text. */
    final class Place implements Part {
        private final char kind;

        Place(char kind) {
            this.kind = kind;
        }

        @Override
        public Node before(Node next) {
            return new Node.Place(kind, next);
        }
    }
}

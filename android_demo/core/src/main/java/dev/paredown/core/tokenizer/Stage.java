package dev.paredown.core.tokenizer;

/** One step from tokens to text; the last one collects. */
abstract class Stage {
    private final Stage next;

    Stage(Stage next) {
        this.next = next;
    }

    /** Take a token, or text that an earlier step made of it. */
    abstract void take(String token);

    /** No more tokens come. */
    void finish() {
        next.finish();
    }

    /** Hand on what became certain. */
    final void give(String text) {
        next.take(text);
    }

    /** The end of a chain. */
    static final class Collector extends Stage {
        private final StringBuilder text = new StringBuilder();

        Collector() {
            super(null);
        }

        @Override
        void take(String token) {
            text.append(token);
        }

        @Override
        void finish() {
            // Nothing is held back here.
        }

        /** What came since the last call. */
        String drain() {
            String drained = text.toString();
            text.setLength(0);
            return drained;
        }
    }

    /** Byte-level tokens to text. */
    static final class Bytes extends Stage {
        private final Utf8 decoder = new Utf8(false);
        private final StringBuilder out = new StringBuilder();

        Bytes(Stage next) {
            super(next);
        }

        @Override
        void take(String token) {
            for (byte b : ByteAlphabet.bytes(token)) {
                decoder.push(b & 0xFF, out);
            }
            emit();
        }

        @Override
        void finish() {
            decoder.finish(out);
            emit();
            super.finish();
        }

        private void emit() {
            if (out.length() > 0) {
                give(out.toString());
                out.setLength(0);
            }
        }
    }

    /**
     * Tokens like {@code <0xE2>} to the characters that they are the bytes of.
     *
     * <p>Of a whole text, a row of such tokens that is not all UTF-8 becomes U+FFFD for each of
     * them. A stream shows each character as soon as it is there, and U+FFFD for the broken ones.
     */
    static final class ByteFallback extends Stage {
        private final boolean streams;
        private final StringBuilder out = new StringBuilder();
        private Utf8 decoder = new Utf8(true);
        private int count;

        ByteFallback(Stage next, boolean streams) {
            super(next);
            this.streams = streams;
        }

        @Override
        void take(String token) {
            int value = value(token);
            if (value < 0) {
                endRow();
                give(token);
                return;
            }
            count++;
            decoder.push(value, out);
            if (streams) {
                emit();
            }
        }

        @Override
        void finish() {
            endRow();
            super.finish();
        }

        private void endRow() {
            decoder.finish(out);
            if (decoder.failed() && !streams) {
                out.setLength(0);
                for (int i = 0; i < count; i++) {
                    out.append(Utf8.REPLACEMENT);
                }
            }
            emit();
            decoder = new Utf8(true);
            count = 0;
        }

        private void emit() {
            if (out.length() > 0) {
                give(out.toString());
                out.setLength(0);
            }
        }

        /** The byte that a token stands for, or -1. */
        private static int value(String token) {
            if (token.length() != 6 || !token.startsWith("<0x") || token.charAt(5) != '>') {
                return -1;
            }
            int high = digit(token.charAt(3));
            int low = digit(token.charAt(4));
            return high < 0 || low < 0 ? -1 : high * 16 + low;
        }

        private static int digit(char c) {
            return c < 0x80 ? Character.digit(c, 16) : -1;
        }
    }

    /** Replaces in each token. */
    static final class Replace extends Stage {
        private final TextPattern pattern;
        private final String content;

        Replace(Stage next, TextPattern pattern, String content) {
            super(next);
            this.pattern = pattern;
            this.content = content;
        }

        @Override
        void take(String token) {
            give(pattern.replace(token, content));
        }
    }

    /** Takes a few characters from the start of each token, or of all of the text. */
    static final class Strip extends Stage {
        private final char character;
        private final int most;
        private final boolean wholeText;
        private int left;

        Strip(Stage next, char character, int most, boolean wholeText) {
            super(next);
            this.character = character;
            this.most = most;
            this.wholeText = wholeText;
            left = most;
        }

        @Override
        void take(String token) {
            left = wholeText ? left : most;
            int start = 0;
            while (left > 0 && start < token.length() && token.charAt(start) == character) {
                start++;
                left--;
            }
            left = start < token.length() ? 0 : left;
            give(token.substring(start));
        }
    }

    /** Visible spaces to spaces; those of the first token go, where one was put before the text. */
    static final class Spaces extends Stage {
        private final Metaspace metaspace;
        private boolean isFirst = true;

        Spaces(Stage next, Metaspace metaspace) {
            super(next);
            this.metaspace = metaspace;
        }

        @Override
        void take(String token) {
            String sign = String.valueOf(metaspace.sign());
            give(token.replace(sign, isFirst && metaspace.prepends() ? "" : " "));
            isFirst = false;
        }
    }

    /** A space between tokens: how tokens are shown where a file names no decoder. */
    static final class Join extends Stage {
        private boolean isFirst = true;

        Join(Stage next) {
            super(next);
        }

        @Override
        void take(String token) {
            give(isFirst ? token : " " + token);
            isFirst = false;
        }
    }
}

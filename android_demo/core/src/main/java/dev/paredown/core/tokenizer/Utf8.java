package dev.paredown.core.tokenizer;

/**
 * Bytes to text, with U+FFFD in place of what is no character: one for each longest beginning of a
 * character that is never finished, or one for each of its bytes.
 *
 * <p>Java's own decoders put another number of U+FFFD in such places on some platforms.
 */
final class Utf8 {
    static final char REPLACEMENT = '\uFFFD';

    private final boolean onePerByte;
    private boolean failed;

    /** Bounds of the next byte: no overlong forms, no surrogates. */
    private int least = 0x80;
    private int greatest = 0xBF;

    private int missing;
    private int codePoint;
    private int held;

    /** @param onePerByte whether each byte of a broken character is shown */
    Utf8(boolean onePerByte) {
        this.onePerByte = onePerByte;
    }

    /** Take a byte; what became certain goes to {@code out}. */
    void push(int unsignedByte, StringBuilder out) {
        if (missing > 0 && unsignedByte >= least && unsignedByte <= greatest) {
            codePoint = codePoint << 6 | (unsignedByte & 0x3F);
            least = 0x80;
            greatest = 0xBF;
            held++;
            if (--missing == 0) {
                held = 0;
                out.appendCodePoint(codePoint);
            }
            return;
        }
        finish(out);
        begin(unsignedByte, out);
    }

    /** No more bytes belong to what is held. */
    void finish(StringBuilder out) {
        failed |= held > 0;
        for (int i = onePerByte ? held : Math.min(held, 1); i > 0; i--) {
            out.append(REPLACEMENT);
        }
        missing = 0;
        held = 0;
    }

    /** Whether something was no character. */
    boolean failed() {
        return failed;
    }

    private void begin(int lead, StringBuilder out) {
        least = 0x80;
        greatest = 0xBF;
        if (lead < 0x80) {
            out.append((char) lead);
        } else if (lead >= 0xC2 && lead <= 0xDF) {
            hold(1, lead & 0x1F);
        } else if (lead >= 0xE0 && lead <= 0xEF) {
            hold(2, lead & 0x0F);
            least = lead == 0xE0 ? 0xA0 : least;
            greatest = lead == 0xED ? 0x9F : greatest;
        } else if (lead >= 0xF0 && lead <= 0xF4) {
            hold(3, lead & 0x07);
            least = lead == 0xF0 ? 0x90 : least;
            greatest = lead == 0xF4 ? 0x8F : greatest;
        } else {
            failed = true;
            out.append(REPLACEMENT);
        }
    }

    private void hold(int more, int bits) {
        missing = more;
        codePoint = bits;
        held = 1;
    }

    /** The text with U+FFFD for each half of a surrogate pair, which no UTF-8 can hold. */
    static String wellFormed(String text) {
        StringBuilder fixed = null;
        for (int i = 0; i < text.length(); ) {
            int c = text.codePointAt(i);
            if (c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE) {
                fixed = fixed == null ? new StringBuilder(text) : fixed;
                fixed.setCharAt(i, REPLACEMENT);
            }
            i += Character.charCount(c);
        }
        return fixed == null ? text : fixed.toString();
    }
}

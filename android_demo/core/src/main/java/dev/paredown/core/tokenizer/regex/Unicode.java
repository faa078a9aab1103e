package dev.paredown.core.tokenizer.regex;

/**
 * Facts about code points, with tables of our own.
 *
 * <p>{@code Character.getType} and {@code \p{..}} of java.util.regex know the Unicode version of
 * their platform: 13 on a JVM of Java 17, 9 on Android 8, 15 and later on new phones. A model was
 * trained on text that was split by one version, so the answer may not depend on the phone.
 */
public final class Unicode {
    /** General categories; the place in this list is the number of {@link #category}. */
    static final String[] CATEGORIES = {
        "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe",
        "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Co", "Cn"
    };

    private static final int NUMBER = mask("N");
    private static final int UNSEEN = mask("C") | mask("Z");
    private static final int WORD = mask("L") | mask("M") | mask("Nd") | mask("Nl") | mask("Pc");

    /** Symbols that count as letters: circled, squared and negative ones. */
    private static final int[] LETTER_LIKE = {
        0x24B6, 0x24E9, 0x1F130, 0x1F149, 0x1F150, 0x1F169, 0x1F170, 0x1F189
    };

    /** Digits that are newer than the table, which the Digits pre-tokenizer knows already. */
    private static final int[] NEW_NUMBERS = {0x11DE0, 0x11DE9, 0x16FF4, 0x16FF6};

    private static final int PAGE_BITS = 7;
    private static final byte[][] PAGES = pages();

    private Unicode() {}

    /** Number of the general category of a code point. */
    static int category(int codePoint) {
        return PAGES[codePoint >> PAGE_BITS][codePoint & ((1 << PAGE_BITS) - 1)];
    }

    /**
     * Bits of the categories with a name like {@code L} or {@code Lu}; 0 where no category has it.
     */
    static int mask(String name) {
        int mask = 0;
        for (int i = 0; i < CATEGORIES.length; i++) {
            if (name.length() <= 2 && !name.isEmpty() && CATEGORIES[i].startsWith(name)) {
                mask |= 1 << i;
            }
        }
        return mask;
    }

    /** Unicode's White_Space. */
    public static boolean isSpace(int c) {
        if (c < 0x80) {
            return c == ' ' || (c >= '\t' && c <= '\r');
        }
        return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A)
                || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
    }

    /** Whether Python would show a character as it is. */
    public static boolean isPrintable(int c) {
        return c == ' ' || (1 << category(c) & UNSEEN) == 0;
    }

    /** Any kind of number, as the Digits pre-tokenizer means it. */
    public static boolean isNumeric(int c) {
        return (1 << category(c) & NUMBER) != 0 || inRanges(c, NEW_NUMBERS);
    }

    /** A word character as added tokens with {@code single_word} mean it. */
    public static boolean isWord(int c) {
        return (1 << category(c) & WORD) != 0 || inRanges(c, LETTER_LIKE)
                || c == 0x200C || c == 0x200D;
    }

    /** {@code \w} of a pattern: differs by joiners, and by fractions and powers of Latin-1. */
    static boolean isPatternWord(int c) {
        return (1 << category(c) & WORD) != 0 || inRanges(c, LETTER_LIKE)
                || c == 0xB2 || c == 0xB3 || c == 0xB9 || (c >= 0xBC && c <= 0xBE);
    }

    /** Whether a code point lies in pairs of first and last ones. */
    static boolean inRanges(int c, int[] ranges) {
        for (int i = 0; i < ranges.length; i += 2) {
            if (c >= ranges[i] && c <= ranges[i + 1]) {
                return true;
            }
        }
        return false;
    }

    /** The table as pages, equal neighbours shared. */
    private static byte[][] pages() {
        byte[] all = expand();
        byte[][] pages = new byte[0x110000 >> PAGE_BITS][];
        for (int i = 0; i < pages.length; i++) {
            byte[] page = new byte[1 << PAGE_BITS];
            System.arraycopy(all, i << PAGE_BITS, page, 0, page.length);
            boolean repeats = i > 0 && java.util.Arrays.equals(page, pages[i - 1]);
            pages[i] = repeats ? pages[i - 1] : page;
        }
        return pages;
    }

    private static byte[] expand() {
        byte[] all = new byte[0x110000];
        String runs = CategoryRuns.TEXT;
        int to = 0;
        int at = 0;
        while (at < runs.length()) {
            char letter = runs.charAt(at++);
            int count = 0;
            while (at < runs.length() && runs.charAt(at) <= '9') {
                count = count * 10 + runs.charAt(at++) - '0';
            }
            int next = to + Math.max(count, 1);
            byte category = (byte) (letter >= 'a' ? letter - 'a' + 26 : letter - 'A');
            java.util.Arrays.fill(all, to, next, category);
            to = next;
        }
        return all;
    }
}

package dev.paredown.core.tokenizer;

import java.text.Normalizer.Form;

/**
 * Canonical composition as tokenizers does it, which is that of Unicode 9.
 *
 * <p>What Unicode 9 knows never changes, and every JVM and Android from 8 on knows it. Characters
 * that came later are left as they are there, but not by newer platforms: text is cut at those that
 * a later Unicode would move or compose, and what is between is normalized by the platform.
 */
final class Nfc implements dev.paredown.core.tokenizer.Normalizer {
    /** First and last code points of those newer characters, up to Unicode 17. */
    private static final int[] NEWER = {
        0x5C8, 0x5C9, 0x7FD, 0x7FD, 0x897, 0x89F, 0x8CA, 0x8D3, 0x9FE, 0x9FE, 0xC3C, 0xC3C,
        0xD3B, 0xD3C, 0xEBA, 0xEBA, 0x1715, 0x1715, 0x1ABF, 0x1AF0, 0x1DF6, 0x1DFA, 0xA82C, 0xA82C,
        0x105C9, 0x105C9, 0x105D2, 0x105D2, 0x105DA, 0x105DA, 0x105E4, 0x105E4, 0x10D24, 0x10D27,
        0x10D69, 0x10D6D, 0x10EAB, 0x10EAC, 0x10ECB, 0x10ECF, 0x10EF0, 0x10EFB, 0x10EFD, 0x10EFF,
        0x10F46, 0x10F50, 0x10F82, 0x10F85, 0x11070, 0x11070, 0x1133B, 0x1133B, 0x11382, 0x11391,
        0x113B8, 0x113D0, 0x1145E, 0x1145E, 0x11839, 0x1183A, 0x11930, 0x11943, 0x119E0, 0x119E0,
        0x11A34, 0x11A34, 0x11A47, 0x11A47, 0x11A99, 0x11A99, 0x11D42, 0x11D45, 0x11D97, 0x11D97,
        0x11F41, 0x11F42, 0x1611E, 0x1612F, 0x16D63, 0x16D6A, 0x16FF0, 0x16FF1, 0x1D127, 0x1D128,
        0x1D250, 0x1D281, 0x1E08F, 0x1E08F, 0x1E130, 0x1E136, 0x1E2AE, 0x1E2AE, 0x1E2EC, 0x1E2EF,
        0x1E4EC, 0x1E4EF, 0x1E5EE, 0x1E5EF, 0x1E6E3, 0x1E6F5
    };

    @Override
    public String normalize(String text) {
        StringBuilder out = new StringBuilder(text.length());
        int from = 0;
        for (int at = 0; at < text.length(); ) {
            int c = text.codePointAt(at);
            int next = at + Character.charCount(c);
            if (c >= NEWER[0] && isNewer(c)) {
                compose(text, from, at, out);
                out.append(text, at, next);
                from = next;
            }
            at = next;
        }
        compose(text, from, text.length(), out);
        return out.toString();
    }

    private static void compose(String text, int from, int to, StringBuilder out) {
        out.append(java.text.Normalizer.normalize(text.substring(from, to), Form.NFC));
    }

    private static boolean isNewer(int c) {
        for (int i = 0; i < NEWER.length; i += 2) {
            if (c <= NEWER[i + 1]) {
                return c >= NEWER[i];
            }
        }
        return false;
    }
}

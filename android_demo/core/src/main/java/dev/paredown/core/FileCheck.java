package dev.paredown.core;

import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;

/** Whether a file of a bundle is what the manifest says. */
final class FileCheck {
    private static final int BLOCK_BYTES = 1 << 20;
    private static final char[] HEX = "0123456789abcdef".toCharArray();

    private FileCheck() {}

    /** Size and SHA-256; throws ParedownException where they differ. */
    static void check(File file, FileEntry entry, Cancellation cancel) {
        if (!file.isFile()) {
            throw ParedownException.brokenBundle(file + " is missing");
        }
        if (file.length() != entry.bytes) {
            throw ParedownException.brokenBundle(
                    file + " has " + file.length() + " bytes, the manifest says " + entry.bytes);
        }
        if (!sha256(file, cancel).equals(entry.sha256)) {
            throw ParedownException.brokenBundle(
                    file + " was edited or damaged: its SHA-256 is not the manifest's");
        }
    }

    /** A path that leads to somewhere in the bundle, links followed. */
    static boolean staysInside(File bundle, String path) {
        boolean odd = path.isEmpty() || path.indexOf('\\') >= 0 || path.indexOf('\0') >= 0;
        if (odd || path.startsWith("/") || Arrays.asList(path.split("/")).contains("..")) {
            return false;
        }
        try {
            String inside = bundle.getCanonicalPath() + File.separator;
            return new File(bundle, path).getCanonicalPath().startsWith(inside);
        } catch (IOException unreadable) {
            return false;
        }
    }

    /** SHA-256 of a file in hexadecimal digits. */
    static String sha256(File file, Cancellation cancel) {
        MessageDigest digest = digest();
        byte[] block = new byte[BLOCK_BYTES];
        try (InputStream stream = new FileInputStream(file)) {
            for (int count = stream.read(block); count >= 0; count = stream.read(block)) {
                cancel.check();
                digest.update(block, 0, count);
            }
        } catch (IOException error) {
            String message = "cannot read " + file + ": " + error.getMessage();
            throw ParedownException.badRequest(message, "");
        }
        return hex(digest.digest());
    }

    /** A SHA-256, which every Java has. */
    static MessageDigest digest() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    private static String hex(byte[] bytes) {
        StringBuilder text = new StringBuilder();
        for (byte value : bytes) {
            text.append(HEX[value >> 4 & 15]).append(HEX[value & 15]);
        }
        return text.toString();
    }
}

package dev.paredown.core;

import java.io.BufferedReader;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** What the kernel says in /proc and /sys; the root is given, so that a test makes its own. */
public final class ProcReader {
    private static final long BYTES_PER_KIB = 1024;
    private static final Pattern PSS_LINE =
            Pattern.compile("^Pss:\\s*([0-9]+) kB$", Pattern.MULTILINE);

    private final File root;

    /** Of this machine. */
    public ProcReader() {
        this(new File("/"));
    }

    /** @param root where {@code proc} and {@code sys} are looked for */
    public ProcReader(File root) {
        this.root = root;
    }

    /** A size of /proc/self/status in bytes: VmRSS, VmHWM, RssAnon, RssFile; null: not said. */
    public Long statusBytes(String name) {
        return kibibytes("proc/self/status", name);
    }

    /** Largest resident set of this process (VmHWM) in bytes, or null. */
    public Long peakRssBytes() {
        return statusBytes("VmHWM");
    }

    /**
     * Pss of /proc/self/smaps_rollup in bytes, or null; reading it takes milliseconds. Kernels
     * before 4.14 (Android 9 and older) list the mappings, but do not add them up.
     */
    public Long pssBytes() {
        Long sum = kibibytes("proc/self/smaps_rollup", "Pss");
        return sum != null ? sum : addedPss(read("proc/self/smaps"));
    }

    private static Long addedPss(String mappings) {
        Matcher line = PSS_LINE.matcher(mappings == null ? "" : mappings);
        Long sum = null;
        while (line.find()) {
            sum = (sum == null ? 0 : sum) + Long.parseLong(line.group(1)) * BYTES_PER_KIB;
        }
        return sum;
    }

    /** A {@code name: 123 kB} line in bytes, or null. */
    public Long kibibytes(String path, String name) {
        String value = field(path, name);
        if (value == null || !value.endsWith("kB")) {
            return null;
        }
        try {
            long kib = Long.parseLong(value.substring(0, value.length() - 2).trim());
            return kib < 0 ? null : Long.valueOf(kib * BYTES_PER_KIB);
        } catch (NumberFormatException strange) {
            return null;
        }
    }

    /** The value of the first {@code name : value} line, or null. */
    public String field(String path, String name) {
        String text = read(path);
        if (text == null) {
            return null;
        }
        for (String line : text.split("\n")) {
            int colon = line.indexOf(':');
            if (colon >= 0 && line.substring(0, colon).trim().equals(name)) {
                String value = line.substring(colon + 1).trim();
                if (!value.isEmpty()) {
                    return value;
                }
            }
        }
        return null;
    }

    /** A file's text, or null where it cannot be read. */
    public String read(String path) {
        StringBuilder text = new StringBuilder();
        try (BufferedReader reader = reader(new File(root, path))) {
            char[] block = new char[4096];
            for (int count = reader.read(block); count >= 0; count = reader.read(block)) {
                text.append(block, 0, count);
            }
        } catch (IOException unreadable) {
            return null;
        }
        return text.toString();
    }

    /** A file's text without blanks at its ends, or null where it is empty or cannot be read. */
    public String text(String path) {
        String text = read(path);
        String trimmed = text == null ? "" : text.replace("\0", "").trim();
        return trimmed.isEmpty() ? null : trimmed;
    }

    /** A file's content as a number, or null. */
    public Double number(String path) {
        String text = text(path);
        try {
            return text == null ? null : Double.valueOf(text);
        } catch (NumberFormatException strange) {
            return null;
        }
    }

    /** Names in a folder, sorted; none where it cannot be listed. */
    public String[] names(String path) {
        String[] names = new File(root, path).list();
        if (names == null) {
            return new String[0];
        }
        java.util.Arrays.sort(names);
        return names;
    }

    private static BufferedReader reader(File file) throws IOException {
        return new BufferedReader(
                new InputStreamReader(new FileInputStream(file), StandardCharsets.UTF_8));
    }
}

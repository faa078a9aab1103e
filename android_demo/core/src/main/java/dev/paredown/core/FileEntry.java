package dev.paredown.core;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** One file of a bundle. */
public final class FileEntry {
    /** Relative to the bundle, with '/'. */
    public final String path;
    /** Its size. */
    public final long bytes;
    /** SHA-256 in hexadecimal digits. */
    public final String sha256;

    private FileEntry(Fields f) {
        path = f.string("path");
        bytes = f.integer("bytes");
        sha256 = f.string("sha256");
        f.end();
    }

    static List<FileEntry> list(List<Fields> items) {
        List<FileEntry> entries = new ArrayList<>();
        for (Fields item : items) {
            entries.add(new FileEntry(item));
        }
        return Collections.unmodifiableList(entries);
    }
}

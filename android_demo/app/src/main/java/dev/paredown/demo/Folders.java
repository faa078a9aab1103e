package dev.paredown.demo;

import android.content.Context;
import dev.paredown.core.Bundle;
import dev.paredown.core.Manifest;
import dev.paredown.core.ParedownException;
import java.io.File;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Where bundles are looked for, and where reports go. */
final class Folders {
    /** Where adb may write and apps may read. */
    static final File SHARED = new File("/data/local/tmp/paredown");

    private static final String REPORTS = "reports";
    private static final String BUNDLES = "bundles";
    /** The host puts a bundle into a folder of its own, two levels below. */
    private static final int DEPTH = 3;

    private Folders() {}

    /** A folder that has a manifest, sound or not. */
    static final class Found {
        final File folder;
        /** What a list shows. */
        final String label;

        Found(File folder, String label) {
            this.folder = folder;
            this.label = label;
        }

        @Override
        public String toString() {
            return label;
        }
    }

    /** Folder of reports, which a computer can read over adb; made where it is absent. */
    static File reports(Context context) {
        File external = context.getExternalFilesDir(REPORTS);
        if (external != null && (external.isDirectory() || external.mkdirs())) {
            return external;
        }
        return new File(context.getFilesDir(), REPORTS);
    }

    /** Every bundle below the app's own folders and {@link #SHARED}. */
    static List<Found> bundles(Context context) {
        List<Found> found = new ArrayList<>();
        collect(new File(context.getFilesDir(), BUNDLES), DEPTH, found);
        File external = context.getExternalFilesDir(BUNDLES);
        if (external != null) {
            collect(external, DEPTH, found);
        }
        collect(SHARED, DEPTH, found);
        return found;
    }

    private static void collect(File folder, int depth, List<Found> found) {
        if (new File(folder, Manifest.FILE_NAME).isFile()) {
            found.add(new Found(folder, label(folder)));
            return;
        }
        File[] entries = depth == 0 ? null : folder.listFiles();
        if (entries == null) {
            return;
        }
        Arrays.sort(entries);
        for (File entry : entries) {
            if (entry.isDirectory()) {
                collect(entry, depth - 1, found);
            }
        }
    }

    private static String label(File folder) {
        try {
            Manifest manifest = Bundle.read(folder).manifest();
            return manifest.name + " · " + manifest.backend + " · " + manifest.quantization;
        } catch (ParedownException broken) { // choosing it says what is wrong
            return folder.getName();
        }
    }
}

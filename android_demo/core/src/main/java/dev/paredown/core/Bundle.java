package dev.paredown.core;

import java.io.File;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/** A folder whose every byte is what its manifest says. */
public final class Bundle {
    private static final String MADE_BY = "give a folder made by 'paredown export'";

    private final File directory;
    private final Manifest manifest;

    private Bundle(File directory, Manifest manifest) {
        this.directory = directory;
        this.manifest = manifest;
    }

    /**
     * Read and check a bundle: its manifest, and size and SHA-256 of every file.
     *
     * @param cancel looked at between blocks of a file
     * @throws ParedownException it is not a bundle, or a file is missing, edited, unlisted or
     *     outside of it; the message names the file
     */
    public static Bundle open(File directory, Cancellation cancel) {
        Bundle bundle = read(directory);
        for (FileEntry entry : bundle.manifest.files) {
            FileCheck.check(bundle.file(entry.path), entry, cancel);
        }
        return bundle;
    }

    /**
     * As {@link #open}, without hashing the files: enough for a list to choose from, not to run.
     *
     * @throws ParedownException as {@link #open}
     */
    public static Bundle read(File directory) {
        if (!directory.isDirectory()) {
            throw ParedownException.badRequest("no such bundle: " + directory, MADE_BY);
        }
        File file = new File(directory, Manifest.FILE_NAME);
        if (!file.isFile()) {
            String message = directory + " is not a bundle: it has no " + Manifest.FILE_NAME;
            throw ParedownException.badRequest(message, MADE_BY);
        }
        Manifest manifest = Manifest.parse(TextFiles.read(file), file.toString());
        Bundle bundle = new Bundle(directory, manifest);
        bundle.checkNames();
        return bundle;
    }

    /** The folder. */
    public File directory() {
        return directory;
    }

    /** What it says about itself. */
    public Manifest manifest() {
        return manifest;
    }

    /** A file of the bundle, which need not exist. */
    public File file(String path) {
        return new File(directory, path);
    }

    /** The model file. */
    public File modelFile() {
        return file(manifest.modelFile);
    }

    /** The model file and its external data. */
    public List<File> modelFiles() {
        List<File> found = new ArrayList<>();
        for (FileEntry entry : manifest.modelFiles()) {
            found.add(file(entry.path));
        }
        return found;
    }

    /** Every listed name lies in the bundle, once, and every file of the bundle is listed. */
    private void checkNames() {
        Set<String> listed = new HashSet<>();
        for (FileEntry entry : manifest.files) {
            requireInside(entry.path);
            if (!listed.add(entry.path)) {
                throw broken("the manifest lists \"" + entry.path + "\" twice");
            }
        }
        requireInside(manifest.modelFile);
        if (!listed.contains(manifest.modelFile)) {
            String file = "\"" + manifest.modelFile + "\"";
            throw broken("the model file " + file + " is not among the manifest's files");
        }
        listed.add(Manifest.FILE_NAME);
        requireListed(directory, "", listed);
    }

    private void requireInside(String path) {
        if (!FileCheck.staysInside(directory, path)) {
            throw broken("the manifest lists \"" + path + "\", outside of the bundle");
        }
    }

    private static void requireListed(File folder, String prefix, Set<String> listed) {
        File[] entries = folder.listFiles();
        if (entries == null) {
            throw ParedownException.badRequest("cannot list " + folder, "check its permissions");
        }
        java.util.Arrays.sort(entries);
        for (File entry : entries) {
            String path = prefix + entry.getName();
            if (entry.isDirectory()) {
                requireListed(entry, path + "/", listed);
            } else if (!listed.contains(path)) {
                throw new ParedownException(
                        entry + " is not listed in the manifest",
                        "remove it or export again",
                        ParedownException.BAD_REQUEST);
            }
        }
    }

    private ParedownException broken(String what) {
        return ParedownException.brokenBundle(directory + ": " + what);
    }
}

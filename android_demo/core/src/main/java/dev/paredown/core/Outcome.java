package dev.paredown.core;

import java.io.File;

/** How a headless run ended. */
public final class Outcome {
    /** 0, or why not; see {@link ParedownException}. */
    public final int exitCode;
    /** The JSON of the answer, a failure included. */
    public final String json;
    /** Where it was written; null where even that failed. */
    public final File file;
    /** What failed and the way out on one line; empty where nothing did. */
    public final String failure;

    Outcome(int exitCode, String json, File file, String failure) {
        this.exitCode = exitCode;
        this.json = json;
        this.file = file;
        this.failure = failure;
    }
}

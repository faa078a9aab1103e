package dev.paredown.core;

/** A failure that a user can act on: what was wrong, the way out, and an exit code. */
public class ParedownException extends RuntimeException {
    /** A golden case failed, or something else that is neither the request nor a missing part. */
    public static final int HOLD = 1;
    /** The request itself cannot be served: a wrong value, file or combination. */
    public static final int BAD_REQUEST = 2;
    /** A library, an engine or a device is not here. */
    public static final int MISSING = 3;
    /** A defect of this program (sysexits' EX_SOFTWARE). */
    public static final int INTERNAL = 70;
    /** Stopped by the user or by the system. */
    public static final int INTERRUPTED = 130;

    private static final long serialVersionUID = 1L;

    private final String hint;
    private final int exitCode;

    /**
     * @param message what was wrong, with the value
     * @param hint the way out, may be empty
     * @param exitCode one of the constants above
     */
    public ParedownException(String message, String hint, int exitCode) {
        super(message);
        this.hint = hint;
        this.exitCode = exitCode;
    }

    /** A wrong value, file or combination. */
    public static ParedownException badRequest(String message, String hint) {
        return new ParedownException(message, hint, BAD_REQUEST);
    }

    /** Something that would be needed is not here. */
    public static ParedownException missing(String message, String hint) {
        return new ParedownException(message, hint, MISSING);
    }

    /** A bundle whose bytes are not what its manifest says. */
    public static ParedownException brokenBundle(String message) {
        return new ParedownException(message, "export it again or copy it again", BAD_REQUEST);
    }

    /** The way out, or an empty text. */
    public String hint() {
        return hint;
    }

    /** The exit code of a program that ends with this. */
    public int exitCode() {
        return exitCode;
    }

    /** Message and hint as one line for a user. */
    public String sentence() {
        return hint.isEmpty() ? getMessage() : getMessage() + "; " + hint;
    }
}

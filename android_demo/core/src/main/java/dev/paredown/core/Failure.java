package dev.paredown.core;

import java.util.LinkedHashMap;
import java.util.Map;

/** Why there is no result; as JSON an answer like every other. */
public final class Failure {
    /** The version of the format that this program writes. */
    public static final String SCHEMA = "paredown.android-failure/1";

    /** What was wrong. */
    public final String what;
    /** The way out, may be empty. */
    public final String hint;
    /** See {@link ParedownException}. */
    public final int exitCode;

    private Failure(String what, String hint, int exitCode) {
        this.what = what;
        this.hint = hint;
        this.exitCode = exitCode;
    }

    /** Of anything that was thrown; a defect of ours names its class. */
    public static Failure of(Throwable error) {
        if (error instanceof ParedownException) {
            ParedownException known = (ParedownException) error;
            return new Failure(known.getMessage(), known.hint(), known.exitCode());
        }
        if (error instanceof OutOfMemoryError) {
            String hint = "use a smaller model or a shorter context";
            return new Failure("the process ran out of memory", hint, ParedownException.HOLD);
        }
        if (error instanceof LinkageError) {
            String hint = "install the app that is built for this processor";
            String what = "a library cannot be loaded: " + error.getMessage();
            return new Failure(what, hint, ParedownException.MISSING);
        }
        String name = error.getClass().getSimpleName();
        String place = error.getStackTrace().length > 0 ? " at " + error.getStackTrace()[0] : "";
        String what = "internal error: " + name + ": " + error.getMessage() + place;
        return new Failure(what, "", ParedownException.INTERNAL);
    }

    /** What and hint on one line. */
    public String sentence() {
        return (hint.isEmpty() ? what : what + "; " + hint).replaceAll("\\s+", " ").trim();
    }

    /** As the host reads it. */
    public Map<String, Object> toJson() {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("schema", SCHEMA);
        json.put("what", what);
        json.put("hint", hint);
        json.put("exit_code", exitCode);
        return json;
    }
}

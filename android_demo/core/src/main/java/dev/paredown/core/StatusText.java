package dev.paredown.core;

/** Text as one line of instrumentation status: backslash, line feed and carriage return escaped. */
public final class StatusText {
    private StatusText() {}

    /** The text on one line. */
    public static String escape(String text) {
        return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r");
    }
}

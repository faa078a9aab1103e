package dev.paredown.core;

/** A flag that one thread sets and the working thread looks at between two tokens. */
public final class Cancellation {
    private volatile boolean cancelled;

    /** Ask the work to stop; from any thread, as often as wanted. */
    public void cancel() {
        cancelled = true;
    }

    /** Whether somebody asked. */
    public boolean isCancelled() {
        return cancelled;
    }

    /**
     * Return unless somebody asked to stop.
     *
     * @throws ParedownException with exit code 130
     */
    public void check() {
        if (cancelled) {
            throw new ParedownException("stopped", "", ParedownException.INTERRUPTED);
        }
    }
}

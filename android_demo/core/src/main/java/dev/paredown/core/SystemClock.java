package dev.paredown.core;

/** The clocks of this machine. */
public final class SystemClock implements Clock {
    private static final long NS_PER_MS = 1_000_000L;

    @Override
    public long monotonicNs() {
        return System.nanoTime();
    }

    @Override
    public long wallNs() {
        return System.currentTimeMillis() * NS_PER_MS;
    }
}

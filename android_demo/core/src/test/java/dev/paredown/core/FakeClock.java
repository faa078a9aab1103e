package dev.paredown.core;

/** A clock that only its readings and the fakes move. */
final class FakeClock implements Clock {
    static final long READ_NS = 10;
    long nowNs;
    long wallAheadNs = 1_000_000;

    @Override
    public long monotonicNs() {
        long now = nowNs;
        nowNs += READ_NS;
        return now;
    }

    @Override
    public long wallNs() {
        return nowNs + wallAheadNs;
    }
}

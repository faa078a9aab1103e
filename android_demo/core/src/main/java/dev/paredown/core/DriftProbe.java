package dev.paredown.core;

import java.security.MessageDigest;

/**
 * A fixed computation without the engine: SHA-256 of a megabyte of zeros. The fastest of several
 * rounds, because an interruption only ever makes one slower: what is left is how fast the
 * processor is now.
 */
final class DriftProbe {
    private static final int BYTES = 1 << 20;
    private static final int ROUNDS = 15;

    private final Clock clock;

    DriftProbe(Clock clock) {
        this.clock = clock;
    }

    /** Nanoseconds of the fastest round. */
    long run() {
        byte[] block = new byte[BYTES];
        MessageDigest digest = FileCheck.digest();
        long fastest = Long.MAX_VALUE;
        for (int round = 0; round < ROUNDS; round++) {
            long start = clock.monotonicNs();
            digest.digest(block);
            fastest = Math.min(fastest, clock.monotonicNs() - start);
        }
        return fastest;
    }
}

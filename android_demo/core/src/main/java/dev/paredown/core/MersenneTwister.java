package dev.paredown.core;

/**
 * MT19937 of Matsumoto and Nishimura (ACM TOMACS 8:3, 1998), seeded and drawn from as Python's
 * {@code random.Random(seed).random()} promises to stay, so that every device measures one prompt.
 */
final class MersenneTwister {
    private static final int N = 624;
    private static final int M = 397;
    private static final int MATRIX = 0x9908b0df;
    private static final int UPPER = 0x80000000;
    private static final int LOWER = 0x7fffffff;
    private static final double PER_DRAW = 1.0 / 9007199254740992.0; // 2^-53

    private final int[] state = new int[N];
    private int next = N;

    /** @param seed 0 or more, below 2^31 */
    MersenneTwister(int seed) {
        seedByArray(seed);
    }

    /** Uniform in [0, 1), 53 bits from two draws. */
    double nextDouble() {
        long high = nextInt() >>> 5;
        long low = nextInt() >>> 6;
        return (high * 67108864.0 + low) * PER_DRAW;
    }

    private int nextInt() {
        if (next == N) {
            twist();
        }
        int y = state[next++];
        y ^= y >>> 11;
        y ^= (y << 7) & 0x9d2c5680;
        y ^= (y << 15) & 0xefc60000;
        return y ^ (y >>> 18);
    }

    private void twist() {
        for (int i = 0; i < N; i++) {
            int y = (state[i] & UPPER) | (state[(i + 1) % N] & LOWER);
            state[i] = state[(i + M) % N] ^ (y >>> 1) ^ ((y & 1) == 0 ? 0 : MATRIX);
        }
        next = 0;
    }

    private void seedBySingle(int seed) {
        state[0] = seed;
        for (int i = 1; i < N; i++) {
            int before = state[i - 1] ^ (state[i - 1] >>> 30);
            state[i] = 1812433253 * before + i;
        }
    }

    /** The authors' init_by_array for a key of one word. */
    private void seedByArray(int key) {
        seedBySingle(19650218);
        int i = 1;
        for (int k = 0; k < N; k++) {
            int before = state[i - 1] ^ (state[i - 1] >>> 30);
            state[i] = (state[i] ^ before * 1664525) + key;
            i = advance(i);
        }
        for (int k = 0; k < N - 1; k++) {
            int before = state[i - 1] ^ (state[i - 1] >>> 30);
            state[i] = (state[i] ^ before * 1566083941) - i;
            i = advance(i);
        }
        state[0] = UPPER;
    }

    private int advance(int i) {
        if (i + 1 < N) {
            return i + 1;
        }
        state[0] = state[N - 1];
        return 1;
    }
}

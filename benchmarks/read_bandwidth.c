/* How fast this machine reads memory: read_bandwidth THREADS prints bytes per second.
 *
 * Each thread sums its part of a gigabyte that no cache holds, with as much parallelism as the
 * compiler finds in integer additions; the best of several passes over all of it counts.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MOST_THREADS = 64, PASSES = 5 };

static const size_t WORDS = (size_t)1 << 27;
static uint64_t *data;

struct part {
    size_t first, last;
    uint64_t sum;
};

static void *fill(void *argument) {
    struct part *part = argument;
    for (size_t i = part->first; i < part->last; i++) data[i] = i;
    return NULL;
}

static void *add(void *argument) {
    struct part *part = argument;
    uint64_t sum = 0;
    for (size_t i = part->first; i < part->last; i++) sum += data[i];
    part->sum = sum;
    return NULL;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

static void run(void *(*work)(void *), struct part *parts, int threads) {
    pthread_t ids[MOST_THREADS];
    for (int t = 0; t < threads; t++) pthread_create(&ids[t], NULL, work, &parts[t]);
    for (int t = 0; t < threads; t++) pthread_join(ids[t], NULL);
}

int main(int count, char **arguments) {
    int threads = count > 1 ? atoi(arguments[1]) : 1;
    if (threads < 1 || threads > MOST_THREADS) return 2;
    data = malloc(WORDS * sizeof *data);
    if (!data) return 3;
    struct part parts[MOST_THREADS];
    for (int t = 0; t < threads; t++) {
        parts[t].first = WORDS / threads * t;
        parts[t].last = t == threads - 1 ? WORDS : WORDS / threads * (t + 1);
    }
    run(fill, parts, threads);
    double best = 0;
    uint64_t total = 0;
    for (int pass = 0; pass < PASSES; pass++) {
        double start = seconds();
        run(add, parts, threads);
        double rate = WORDS * sizeof *data / (seconds() - start);
        if (rate > best) best = rate;
        for (int t = 0; t < threads; t++) total += parts[t].sum;
    }
    fprintf(stderr, "%llu\n", (unsigned long long)total); /* so that no sum is left out */
    printf("%.0f\n", best);
    return 0;
}

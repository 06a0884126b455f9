/* SPDX-License-Identifier: Apache-2.0 */
/* The loops of which a CPU's ceilings are measured, compiled once for each instruction set. Arrays begin at a
 * cache line, and counts are multiples of LOOP_BLOCK words. */
#ifndef RATECL_BENCH_LOOPS_H
#define RATECL_BENCH_LOOPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LOOP_BLOCK = 4096,     /* words that are read before others are written */
    LOOP_ACCUMULATORS = 12 /* vectors; covers the latency of two multiply-adds a cycle */
};

typedef struct loops {
    const char *isa;
    int (*supported)(void);
    int lanes; /* floats in a vector */
    /* The sum of the words, read in so many places at once: 1, 2, 4 or 8; `ahead`: words prefetched. */
    uint32_t (*read)(const uint32_t *x, size_t count, int streams, size_t ahead);
    /* x = value, y = x and x = y + scale z; non-temporal: past the caches, where there are such stores. */
    void (*write)(float *x, float value, size_t count, bool non_temporal);
    void (*copy)(float *y, const float *x, size_t count, bool non_temporal, size_t ahead);
    void (*triad)(float *x, const float *y, const float *z, float scale, size_t count, bool non_temporal,
                  size_t ahead);
    /* x = x * factor + term, `rounds` times, for LOOP_ACCUMULATORS x lanes numbers x. */
    void (*multiply_add)(float *x, float factor, float term, int64_t rounds);
} loops;

/* The best that this CPU has. */
const loops *choose_loops(void);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a device can do at most, each the best of several kernels whose results are checked. An OpenCL CPU
 * device shares cores and memory with the OpenMP loops: its ceilings are the higher ones of both.
 */
#ifndef RATECL_BENCH_CEILINGS_H
#define RATECL_BENCH_CEILINGS_H

#include "target.h"

typedef struct ceilings {
    double read, write;  /* bytes a second */
    double copy, triad;  /* likewise, of all that is read and written: two arrays, and three */
    double multiply_add; /* f32 operations a second, a multiply-add being two */
    double launch;       /* seconds: an empty kernel, or parallel region, and its wait */
    double to_device,
        from_device; /* bytes a second from and to pinned host memory; 0 where it is the host's */
} ceilings;

/* How the loops are best run on this CPU. */
typedef struct gauge gauge;

/* Measure the ceilings with arrays of so many bytes. */
gauge *new_gauge(size_t bytes, ceilings *found);
void release_gauge(gauge *g);

typedef struct span {
    void *memory;
    size_t bytes;
} span;

/* Where an array lies, and what others do to a shared machine, changes what its memory allows: raise the read
 * ceiling to that of these arrays, together and now, and the write ceiling to that of `written`, which is
 * overwritten. Arrays that are too small for the loops change nothing. */
void raise_to_now(const gauge *g, const span *read, size_t read_count, span written, ceilings *of);

#ifdef RATECL_WITH_OPENCL
ceilings ceilings_of_kernels(const target *where, size_t bytes);
#endif

/* Of each a device's own, but for a CPU, which has what the loops reach too. */
ceilings join_ceilings(ceilings kernels, ceilings cpu);

/* Keep the best; true for a new one. */
static inline bool raise(double *ceiling, double rate)
{
    const bool best = rate > *ceiling;
    if (best)
        *ceiling = rate;
    return best;
}

#endif

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
} ceilings;

/* The loops on arrays of so many bytes, kept so that they can be run again. */
typedef struct gauge gauge;
gauge *open_gauge(size_t bytes);
void close_gauge(gauge *g);
ceilings ceilings_of_loops(gauge *g);

/* What others do to a shared machine changes its memory's ceilings: raise the read and write ceilings to
 * those of this moment. */
void raise_to_now(const gauge *g, ceilings *of);

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

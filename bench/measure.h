/* SPDX-License-Identifier: Apache-2.0 */
/* A line, checked and then timed on a target. */
#ifndef RATECL_BENCH_MEASURE_H
#define RATECL_BENCH_MEASURE_H

#include "ceilings.h"
#include "lines.h"
#include "profile.h"
#include "timing.h"

/* What an evaluation gives, in numbers to compare: the values; of each gradient the norm, and the sum of its
 * elements with pseudo-random signs, which knows their places. */
typedef struct outcome {
    double values[TERMS_MAX];
    double norms[2], sums[2]; /* to S, to W */
} outcome;

/* The outcome in f64 arithmetic on the OpenMP path. */
outcome expected_outcome(const target *cpu, const problem *p, arrays *host);

/* Times after runs whose outcome was found to be the expected one; `found` receives it, and `kernels` the
 * times of the kernels where profiling is enabled. */
timing measure(target *where, const problem *p, arrays *host, int runs, const outcome *expected,
               outcome *found, profile *kernels);

/* Seconds that the work takes at least, and the name of the ceiling that says so. */
typedef struct bound {
    double seconds;
    const char *name;
} bound;
bound bound_of(work done, const ceilings *of);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Times of the kernels that the library launches, by the events of a profiling queue. */
#ifndef RATECL_BENCH_PROFILE_H
#define RATECL_BENCH_PROFILE_H

#include "target.h"

enum { KERNELS_MAX = 32 };

/* The launches of one kernel on the same arrays, in one evaluation. */
typedef struct kernel_time {
    char name[40];
    size_t groups, items; /* work-groups of the first launch, and work-items in each */
    int launches;
    unsigned arrays; /* a bit 1 << array for each of the caller's buffers among its arguments */
    double seconds;  /* of all launches together, in the fastest evaluation */
} kernel_time;

typedef struct profile {
    kernel_time kernels[KERNELS_MAX]; /* in order of their first launch */
    size_t count;
} profile;

/* Let queues that are created from now on, the library's own ones too, take times of what they execute. */
void enable_profiling(void);

/* Record launches from now on; `where` tells whose buffers count as the caller's. Nothing is recorded unless
 * profiling is enabled. Call it before the plan is created, since arguments may be set then. */
void begin_profile(const target *where);
/* Mark the start of an evaluation that counts; launches before the first one do not. */
void begin_profiled_run(void);
/* Stop recording, and return the kernels of all evaluations since begin_profile(), which must have finished.
 */
profile end_profile(void);

#endif

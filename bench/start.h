/* SPDX-License-Identifier: Apache-2.0 */
/* How long it takes until a plan is there, and its first values, in a process of its own. */
#ifndef RATECL_BENCH_START_H
#define RATECL_BENCH_START_H

#include "lines.h"
#include "timing.h"

/* Seconds of making a plan; and of making a context and a plan and evaluating it once. */
typedef struct start {
    timing plan, values;
} start;

/* On a device, by a program that is this one. Cold: each process finds the caches of ratecl and of PoCL
 * empty; else as one process before it left them. */
start measure_start(const char *program, const char *device, bool cold, int runs);

/* What such a process does; it prints what was measured. */
void start_here(const char *device, const problem *p, arrays *host);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Times of repeated runs, and what is said of them. */
#ifndef RATECL_BENCH_TIMING_H
#define RATECL_BENCH_TIMING_H

#include <stdbool.h>

enum { RUNS_MAX = 1000 };

typedef struct timing {
    double minimum, median; /* seconds */
    double spread;          /* the upper quartile less the lower one, in seconds */
    int runs;
} timing;

/* Runs that are under way. */
typedef struct stopwatch {
    double times[RUNS_MAX];
    double budget; /* seconds after which no more runs begin, once there are five */
    double begun, total;
    int runs, wanted;
} stopwatch;

double seconds_now(void);

/* At most `wanted` runs, of `budget` seconds together. */
stopwatch new_stopwatch(int wanted, double budget);

/* Between these two lies a run. */
void start_run(stopwatch *watch);
void end_run(stopwatch *watch);

bool wants_more(const stopwatch *watch);
timing summary(stopwatch *watch);

#endif

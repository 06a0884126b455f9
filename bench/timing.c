/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L
#include "timing.h"

#include <stdlib.h>
#include <time.h>

double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

stopwatch new_stopwatch(int wanted, double budget)
{
    return (stopwatch){ .wanted = wanted < RUNS_MAX ? wanted : RUNS_MAX, .budget = budget };
}

void start_run(stopwatch *watch)
{
    watch->begun = seconds_now();
}

void end_run(stopwatch *watch)
{
    const double time = seconds_now() - watch->begun;
    watch->times[watch->runs++] = time;
    watch->total += time;
}

bool wants_more(const stopwatch *watch)
{
    enum { RUNS_LEAST = 5 };
    return watch->runs < watch->wanted && (watch->runs < RUNS_LEAST || watch->total < watch->budget);
}

static int compare_times(const void *left, const void *right)
{
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Of sorted times, the one that a fraction of them lies below. */
static double quantile(const stopwatch *watch, double fraction)
{
    const double place = fraction * (watch->runs - 1);
    const int below = (int)place, above = below + 1 < watch->runs ? below + 1 : below;
    return watch->times[below] + (place - below) * (watch->times[above] - watch->times[below]);
}

timing summary(stopwatch *watch)
{
    qsort(watch->times, (size_t)watch->runs, sizeof *watch->times, compare_times);
    return (timing){ .minimum = watch->times[0],
                     .median = quantile(watch, 0.5),
                     .spread = quantile(watch, 0.75) - quantile(watch, 0.25),
                     .runs = watch->runs };
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lines of the benchmark: which terms, outputs, elements and layout, and on which shape. What a line must
 * do at least is counted by formula.
 *
 * Bytes read: the states and, with population_kl, the reference, once for the values; the states once more
 * for a gradient to them, but where the terms are firing_rate and firing_rate_dist alone (whose gradient is
 * the same in each row); W once for hebbian.
 *
 * Bytes written: the gradients.
 *
 * Operations: hebbian's multiply-adds, two operations each: those of the half i <= j, R N (N + 1), for the
 * value; those of the product S (W + W^T), 2 R N^2, for the gradient to the states, of which the value is a
 * by-product; the half (once more) for the gradient to W.
 *
 * Launches: a sweep and the end of its sums, a correlation with hebbian, one more for each gradient.
 *
 * Bytes sent and received, where the states lie in host memory and the device has its own: each input and
 * each gradient once. The two directions add up, since a gradient needs all states first.
 */
#ifndef RATECL_BENCH_LINES_H
#define RATECL_BENCH_LINES_H

#include <stdbool.h>
#include <stdint.h>

#include "target.h"

enum { TERMS_MAX = 6 };

typedef enum order { BATCH_FIRST, TIME_FIRST, NEURON_FIRST } order;

/* Which shape a line takes. SAME_BYTES: the sweeps' with more batches, so that short elements fill as many
 * bytes as f32 does. FROM_HOST: the sweeps', measured with host memory alone. The last four hold one number
 * fixed, and the number of states about constant. */
typedef enum family {
    SWEEP,
    SAME_BYTES,
    FROM_HOST,
    PRODUCT,
    PRODUCT_LARGE,
    TINY,
    OVER_N,
    OVER_T,
    OVER_B,
    PRODUCT_OVER_N
} family;

/* The sizes that a run was asked for. */
typedef struct scale {
    int64_t sweep[3], product[3], product_large[3], tiny[3]; /* B, T, N */
} scale;

typedef struct line {
    const char *name;
    unsigned criteria;  /* a bit 1 << criterion each */
    uint32_t gradients; /* RATECL_OUTPUT_GRADIENT_STATES, _WEIGHTS */
    ratecl_element element;
    order memory;
    family shapes;
    int64_t size; /* the number that the family holds fixed */
} line;

extern const line lines[];
extern const size_t line_count;

/* A line at a scale. */
typedef struct problem {
    const line *of;
    int64_t shape[3]; /* B, T, N */
    operands used;
} problem;

typedef struct work {
    double read, written; /* bytes */
    double operations;
    double launches;
    double sent, received; /* bytes between the host's memory and the device's */
} work;

/* False where the scale has too few states for the line. */
bool new_problem(const line *of, const scale *sizes, problem *made);
work work_of(const problem *p);

/* The part of the work that the launches of a kernel do, by the pass that its name begins with and a bit
 * 1 << array for each array that it was given:
 *
 *     sweep       reads the states and the reference, as given
 *     gradient    reads the states and writes the gradient to them
 *     correlate   multiplies: S (W + W^T) where the line has a gradient to the states, else the half i <= j;
 * the half where its name also contains "weights"
 *
 * Other kernels, such as merges, do none that is counted. */
work work_of_kernel(const problem *p, const char *name, unsigned given);
size_t problem_states(const problem *p);

/* Room for the problem's arrays. */
void reserve_arrays(arrays *host, const problem *p);
/* The gradients' bytes; 0 where the problem has no such gradient. */
size_t gradient_bytes(const problem *p, uint32_t gradient);

ratecl_plan *new_plan(ratecl_context *context, const problem *p, ratecl_precision precision);

#endif

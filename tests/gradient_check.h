/* SPDX-License-Identifier: Apache-2.0 */
/* A problem's gradients: what the oracle says of them, and evaluated on a device and compared. */
#ifndef RATECL_TESTS_GRADIENT_CHECK_H
#define RATECL_TESTS_GRADIENT_CHECK_H

#include "problem.h"

/* The terms of a problem whose values are finite and whose gradients are determined. Each term's weight
 * becomes 1 or -1 over the norm of its gradient, so that in a plan of many every one counts. */
typedef struct gradients {
    problem given;
    double *cotangents;        /* (n,N), of the n terms with reduction none */
    size_t *vectors;           /* term_count + 1: how many of those come before each term */
    oracle_gradient *expected; /* (term_count, INPUT_COUNT), not weighted */
} gradients;

/* Takes the problem over, and leaves its other terms out. */
void gradients_take(gradients *made, const problem *given);
void gradients_free(gradients *made);

/* The gradients that one of the terms [first, first + count) has: RATECL_OUTPUT_GRADIENT_STATES, ... */
uint32_t gradients_outputs(const gradients *of, size_t first, size_t count);

/* How an evaluation writes them. */
typedef struct gradient_options {
    double scale; /* 0: none is given, which is a scale of 1 */
    bool accumulates;
    ratecl_element element; /* of the gradients in memory */
    array_order order;
    /* Instead of ratecl_evaluate(); NULL for that. Sizes are given with all pointers. */
    ratecl_status (*evaluate)(ratecl_plan *plan, const ratecl_inputs *inputs, const ratecl_outputs *outputs,
                              const void *argument);
    const void *argument;
} gradient_options;

/* Plan the terms [first, first + count), evaluate them twice; assert that values and gradients are the
 * oracle's, that both gave the same bits, and that nothing outside the gradients' elements has changed. */
void gradients_check(const gradients *of, ratecl_context *context, const char *device, size_t first,
                     size_t count, const gradient_options *how);

/* Evaluate once. Gives the gradients, in C order, or NULL where there is none; the caller frees them. */
void gradients_evaluate(const gradients *of, ratecl_context *context, size_t first, size_t count,
                        double *made[INPUT_COUNT]);

double gradients_norm(const double *values, size_t n);
/* The elements of an input. */
size_t gradients_size(const gradients *of, int input);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The criteria straight from their definitions: plain loops in long double, and for each value the scale
 * that its allowed error is a fraction of. */
#ifndef RATECL_TESTS_ORACLE_H
#define RATECL_TESTS_ORACLE_H

#include <ratecl/ratecl.h>
#include <stdbool.h>

/* The arrays that a loss is a function of. */
enum { STATES, REFERENCE, WEIGHTS, INPUT_COUNT };

typedef struct oracle_array {
    int64_t shape[3];     /* B, T, N */
    const double *values; /* (B,T,N) in C order */
} oracle_array;

typedef struct oracle_inputs {
    oracle_array states;
    oracle_array reference; /* read by population_kl */
    const double *weights;  /* (N,N), row-major; read by hebbian */
} oracle_inputs;

typedef struct oracle_moments {
    long double mean, variance, square; /* square: mean over rows of S_i^2 */
} oracle_moments;

/* Of neuron i over all rows. A constant neuron has a variance of exactly 0. */
oracle_moments oracle_moments_of(const oracle_array *array, int64_t i);

/* N for reduction none, else 1. */
size_t oracle_count(const ratecl_term *term, int64_t N);

/* Write oracle_count() values and scales. Returns how many neurons degenerate = skip left out. */
int64_t oracle_values(const ratecl_term *term, const oracle_inputs *inputs, double *values, double *scales);

/* The allowed error of a value of this scale. */
double oracle_tolerance(const ratecl_term *term, ratecl_precision precision, double scale);

/* ---- Gradients ---- */

/* Of the shape of the input, in C order. The magnitudes are those of what is added up in the gradient: where
 * that cancels, the gradient is known to a fraction of them only. */
typedef struct oracle_gradient {
    double *values, *magnitudes;
} oracle_gradient;

/* Whether the term's value depends on an input at all. */
bool oracle_depends(const ratecl_term *term, int input);

/* Add the gradient of the term's value, or of sum_i u_i value_i where reduction is none, to each of the
 * inputs that the value depends on. */
void oracle_gradients(const ratecl_term *term, const oracle_inputs *inputs, const double *u /* (N) */,
                      const oracle_gradient gradients[INPUT_COUNT]);

/* Whether the gradient's choices (signs, ties, a variance above or below its floor) are the same for sums
 * that are rounded in this precision. */
bool oracle_determines(const ratecl_term *term, const oracle_inputs *inputs, ratecl_precision precision);

#endif

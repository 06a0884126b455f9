/* SPDX-License-Identifier: Apache-2.0 */
/* The criteria straight from their definitions: plain loops in long double, and for each value the scale
 * that its allowed error is a fraction of. */
#ifndef RATECL_TESTS_ORACLE_H
#define RATECL_TESTS_ORACLE_H

#include <ratecl/ratecl.h>

typedef struct oracle_array {
    int64_t shape[3];     /* B, T, N */
    const double *values; /* (B,T,N) in C order */
} oracle_array;

typedef struct oracle_inputs {
    oracle_array states;
    oracle_array reference; /* read by population_kl */
    const double *weights;  /* (N,N), row-major; read by hebbian */
} oracle_inputs;

/* N for reduction none, else 1. */
size_t oracle_count(const ratecl_term *term, int64_t N);

/* Write oracle_count() values and scales. Returns how many neurons degenerate = skip left out. */
int64_t oracle_values(const ratecl_term *term, const oracle_inputs *inputs, double *values, double *scales);

/* The allowed error of a value of this scale. */
double oracle_tolerance(const ratecl_term *term, ratecl_precision precision, double scale);

#endif

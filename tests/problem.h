/* SPDX-License-Identifier: Apache-2.0 */
/* A problem: inputs, terms, and what the oracle says of them; evaluated on a device and compared. */
#ifndef RATECL_TESTS_PROBLEM_H
#define RATECL_TESTS_PROBLEM_H

#include "arrays.h"
#include "oracle.h"
#include "suite.h"

typedef struct problem {
    ratecl_precision precision;
    array inputs[INPUT_COUNT];
    size_t term_count;
    ratecl_term *terms;
    const char **texts; /* of the terms, for messages */
    size_t *first;      /* term_count + 1: where each term's values begin */
    double *values;     /* first[term_count] */
    double *tolerances;
    int64_t *skipped; /* term_count */
    char name[192];
} problem;

/* The other two inputs that go with states: a reference of the same kind, element type and layout, with
 * its own B and T, and weights in f32. */
void problem_specs(array_spec specs[INPUT_COUNT], const array_spec *states);

/* Powers of two by which states and reference are multiplied, and, besides, every fourth neuron of them. */
typedef struct problem_scale {
    int exponent[2], neuron_exponent[2];
} problem_scale;

enum { PROBLEM_SCALES = 14 };
extern const problem_scale problem_scales[PROBLEM_SCALES];
void problem_scaled_specs(array_spec specs[INPUT_COUNT], const array_spec *states,
                          const problem_scale *scale);

/* Make a problem with the terms of these texts, or with every option of every criterion that the shape
 * allows when `texts` is NULL. The texts are kept. */
void problem_make(problem *made, const array_spec specs[INPUT_COUNT], const char *const *texts, size_t count);
/* The same from arrays that are there already; the problem takes them over. */
void problem_adopt(problem *made, const char *name, ratecl_precision precision,
                   const array inputs[INPUT_COUNT], const char *const *texts, size_t count);
/* Leave the other terms out. */
void problem_keep(problem *made, const bool *keep /* (term_count) */);
void problem_free(problem *made);

typedef struct outcome {
    ratecl_status status;
    size_t value_count, term_count;
    double *values; /* (value_count) */
    double total;
    int64_t *skipped; /* (term_count) */
} outcome;

/* Plan the terms [first, first + count), evaluate them twice, assert that both gave the same bits. */
outcome problem_evaluate(const problem *given, ratecl_context *context, size_t first, size_t count);
void outcome_free(outcome *given);

/* Assert the outcome of the terms [first, first + outcome.term_count) against the oracle. */
void problem_check(const problem *given, const outcome *got, size_t first, const char *device);
void outcome_assert_same_bits(const outcome *left, const outcome *right, const char *what);

/* What the oracle takes. It points into the problem. */
oracle_inputs problem_oracle_inputs(const problem *given);

/* Options of a plan of the terms [first, first + count), which point into the problem; a plan; and its
 * inputs, for tests that evaluate on their own. */
ratecl_plan_options problem_options(const problem *given, size_t first, size_t count);
ratecl_plan *problem_plan(const problem *given, ratecl_context *context, size_t first, size_t count);
ratecl_inputs problem_inputs(const problem *given);

#endif

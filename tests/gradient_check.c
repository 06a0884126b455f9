/* SPDX-License-Identifier: Apache-2.0 */
#include "gradient_check.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[INPUT_COUNT] = { "states", "reference", "weights" };

double gradients_norm(const double *values, size_t n)
{
    long double sum = 0;
    for (size_t k = 0; k < n; k++)
        sum += (long double)values[k] * values[k];
    return (double)sqrtl(sum);
}

size_t gradients_size(const gradients *of, int input)
{
    const int64_t *shape = of->given.inputs[input].layout.shape;
    return (size_t)(shape[0] * shape[1] * shape[2]);
}

/* ---- Making ---- */

static const double *cotangents_of(const gradients *of, size_t term)
{
    const size_t N = (size_t)of->given.inputs[STATES].layout.shape[2];
    return of->cotangents + of->vectors[term] * N;
}

static void count_vectors(gradients *made)
{
    const problem *given = &made->given;
    for (size_t k = 0; k < given->term_count; k++)
        made->vectors[k + 1] = made->vectors[k] + (given->terms[k].reduction == RATECL_REDUCTION_NONE);
}

/* In [-1, 1), of a recurrence that repeats after 2^16. */
static void make_cotangents(gradients *made)
{
    const problem *given = &made->given;
    const size_t N = (size_t)given->inputs[STATES].layout.shape[2];
    made->vectors = suite_allocate((given->term_count + 1) * sizeof *made->vectors);
    count_vectors(made);
    const size_t count = made->vectors[given->term_count] * N;
    made->cotangents = suite_allocate(count * sizeof *made->cotangents);
    unsigned state = 1;
    for (size_t k = 0; k < count; k++) {
        state = (state * 25173 + 13849) % 65536;
        made->cotangents[k] = state / 32768.0 - 1;
    }
}

static bool is_finite(const double *values, size_t n)
{
    for (size_t k = 0; k < n; k++)
        if (!isfinite(values[k]))
            return false;
    return true;
}

static oracle_gradient *expected_of(const gradients *of, size_t term)
{
    return of->expected + term * INPUT_COUNT;
}

static void ask_oracle(gradients *made, size_t term)
{
    const problem *given = &made->given;
    const oracle_inputs inputs = problem_oracle_inputs(given);
    oracle_gradient *expected = expected_of(made, term);
    for (int k = 0; k < INPUT_COUNT; k++) {
        if (!oracle_depends(&given->terms[term], k))
            continue;
        expected[k].values = suite_allocate(gradients_size(made, k) * sizeof(double));
        expected[k].magnitudes = suite_allocate(gradients_size(made, k) * sizeof(double));
    }
    oracle_gradients(&given->terms[term], &inputs, cotangents_of(made, term), expected);
}

static bool is_usable(const gradients *made, size_t term)
{
    const problem *given = &made->given;
    const oracle_inputs inputs = problem_oracle_inputs(given);
    const size_t first = given->first[term];
    bool usable = is_finite(given->values + first, given->first[term + 1] - first) &&
                  oracle_determines(&given->terms[term], &inputs, given->precision);
    for (int k = 0; k < INPUT_COUNT && usable; k++)
        if (oracle_depends(&given->terms[term], k))
            usable = is_finite(expected_of(made, term)[k].values, gradients_size(made, k));
    return usable;
}

static void even_out(gradients *made)
{
    for (size_t term = 0; term < made->given.term_count; term++) {
        double largest = 0;
        for (int k = 0; k < INPUT_COUNT; k++)
            if (oracle_depends(&made->given.terms[term], k))
                largest =
                    fmax(largest, gradients_norm(expected_of(made, term)[k].values, gradients_size(made, k)));
        made->given.terms[term].weight = (term % 3 == 1 ? -1 : 1) / (largest > 0 ? largest : 1);
    }
}

static void free_expected(oracle_gradient expected[INPUT_COUNT])
{
    for (int k = 0; k < INPUT_COUNT; k++) {
        free(expected[k].values);
        free(expected[k].magnitudes);
    }
}

static void keep(gradients *made, const bool *usable /* (term_count) */)
{
    const size_t N = (size_t)made->given.inputs[STATES].layout.shape[2];
    size_t kept = 0, vector = 0;
    for (size_t k = 0; k < made->given.term_count; k++) {
        if (!usable[k]) {
            free_expected(expected_of(made, k));
            continue;
        }
        const size_t vectors = made->vectors[k + 1] - made->vectors[k];
        memmove(made->cotangents + vector * N, cotangents_of(made, k), vectors * N * sizeof(double));
        memmove(expected_of(made, kept), expected_of(made, k), INPUT_COUNT * sizeof *made->expected);
        vector += vectors;
        kept++;
    }
    problem_keep(&made->given, usable);
    count_vectors(made);
}

void gradients_take(gradients *made, const problem *given)
{
    made->given = *given;
    make_cotangents(made);
    made->expected = suite_allocate(given->term_count * INPUT_COUNT * sizeof *made->expected);
    bool *usable = suite_allocate(given->term_count * sizeof *usable);
    for (size_t k = 0; k < given->term_count; k++) {
        ask_oracle(made, k);
        usable[k] = is_usable(made, k);
    }
    keep(made, usable);
    even_out(made);
    free(usable);
}

void gradients_free(gradients *made)
{
    for (size_t k = 0; k < made->given.term_count; k++)
        free_expected(expected_of(made, k));
    free(made->expected);
    free(made->cotangents);
    free(made->vectors);
    problem_free(&made->given);
}

/* ---- Where gradients land ---- */

enum { ZONE = 64 }; /* bytes on either side that nobody may write */
static const unsigned char pattern = 0xa5;

/* The start holds, in each element, what is added to, or else NaN. */
typedef struct landing {
    array start;
    unsigned char *zones;
} landing;

static void *element_of(const landing *at, void *memory, size_t n)
{
    const int64_t *shape = at->start.layout.shape;
    const int64_t i = (int64_t)n % shape[2], row = (int64_t)n / shape[2];
    return (char *)memory + array_place(&at->start.layout, row / shape[1], row % shape[1], i);
}

static landing landing_make(const gradients *of, int input, const gradient_options *how)
{
    const int64_t *shape = of->given.inputs[input].layout.shape;
    const array_spec spec = { .shape = { shape[0], shape[1], shape[2] },
                              .kind = ARRAY_WEIGHTS,
                              .element = how->element,
                              .order = how->order,
                              .precision = RATECL_PRECISION_F64,
                              .seed = 61 };
    landing made;
    array_make(&made.start, &spec);
    const size_t n = gradients_size(of, input);
    for (size_t k = 0; k < n; k++) {
        void *element = element_of(&made, made.start.memory, k);
        array_store(how->element, element,
                    how->accumulates ? made.start.values[k] / sqrt((double)n) : (double)NAN);
        made.start.values[k] = array_load(how->element, element);
    }
    made.zones = suite_allocate(made.start.bytes + 2 * ZONE);
    memset(made.zones, pattern, made.start.bytes + 2 * ZONE);
    memcpy(made.zones + ZONE, made.start.memory, made.start.bytes);
    return made;
}

static void landing_free(landing *made)
{
    free(made->zones);
    array_free(&made->start);
}

static void *memory_of(const landing *at)
{
    return at->zones + ZONE;
}

/* Read the gradient, and assert that all else is as it was. */
static double *take(const landing *at, size_t n, const char *what)
{
    double *values = suite_allocate(n * sizeof *values);
    const ratecl_element element = at->start.layout.element;
    for (size_t k = 0; k < n; k++) {
        values[k] = array_load(element, element_of(at, memory_of(at), k));
        memcpy(element_of(at, memory_of(at), k), element_of(at, at->start.memory, k),
               array_element_bytes[element]);
    }
    ck_assert_msg(memcmp(memory_of(at), at->start.memory, at->start.bytes) == 0, "%s: gaps were written",
                  what);
    for (size_t k = 0; k < ZONE; k++)
        ck_assert_msg(at->zones[k] == pattern && at->zones[ZONE + at->start.bytes + k] == pattern,
                      "%s: written outside the array", what);
    return values;
}

/* ---- Evaluating ---- */

uint32_t gradients_outputs(const gradients *of, size_t first, size_t count)
{
    static const uint32_t outputs[INPUT_COUNT] = { RATECL_OUTPUT_GRADIENT_STATES,
                                                   RATECL_OUTPUT_GRADIENT_REFERENCE,
                                                   RATECL_OUTPUT_GRADIENT_WEIGHTS };
    uint32_t wanted = 0;
    for (size_t term = first; term < first + count; term++)
        for (int k = 0; k < INPUT_COUNT; k++)
            wanted |= oracle_depends(&of->given.terms[term], k) ? outputs[k] : 0;
    return wanted;
}

static ratecl_plan *make_plan(const gradients *of, ratecl_context *context, size_t first, size_t count,
                              const landing landings[INPUT_COUNT], bool accumulates)
{
    ratecl_plan_options options = problem_options(&of->given, first, count);
    const uint32_t wanted = gradients_outputs(of, first, count);
    options.outputs |= wanted;
    options.accumulate = accumulates ? wanted : 0;
    options.gradient_states = &landings[STATES].start.layout;
    options.gradient_reference = &landings[REFERENCE].start.layout;
    options.gradient_weights = &landings[WEIGHTS].start.layout;
    ratecl_plan *plan = NULL;
    const ratecl_status status = ratecl_plan_create(context, &options, &plan);
    ck_assert_msg(status == RATECL_OK, "%s: %s", of->given.name, ratecl_last_error());
    return plan;
}

static outcome evaluate(const gradients *of, ratecl_plan *plan, size_t first, size_t count,
                        const gradient_options *how, const landing landings[INPUT_COUNT])
{
    const size_t N = (size_t)of->given.inputs[STATES].layout.shape[2];
    ratecl_inputs inputs = problem_inputs(&of->given);
    inputs.scale = how->scale != 0 ? &how->scale : NULL;
    inputs.cotangents = cotangents_of(of, first);
    inputs.cotangent_count = (of->vectors[first + count] - of->vectors[first]) * N;

    outcome got = { .value_count = ratecl_plan_value_count(plan), .term_count = count };
    got.values = suite_allocate(got.value_count * sizeof *got.values);
    got.skipped = suite_allocate(count * sizeof *got.skipped);
    const ratecl_outputs outputs = { .size = sizeof outputs,
                                     .values = got.values,
                                     .value_count = got.value_count,
                                     .total = &got.total,
                                     .skipped = got.skipped,
                                     .skipped_count = count,
                                     .gradient_states = memory_of(&landings[STATES]),
                                     .gradient_states_bytes = landings[STATES].start.bytes,
                                     .gradient_reference = memory_of(&landings[REFERENCE]),
                                     .gradient_reference_bytes = landings[REFERENCE].start.bytes,
                                     .gradient_weights = memory_of(&landings[WEIGHTS]),
                                     .gradient_weights_bytes = landings[WEIGHTS].start.bytes };
    got.status = how->evaluate ? how->evaluate(plan, &inputs, &outputs, how->argument)
                               : ratecl_evaluate(plan, &inputs, &outputs);
    return got;
}

void gradients_evaluate(const gradients *of, ratecl_context *context, size_t first, size_t count,
                        double *made[INPUT_COUNT])
{
    const bool is_single = of->given.precision == RATECL_PRECISION_F32;
    const gradient_options how = { .element = is_single ? RATECL_F32 : RATECL_F64 };
    const uint32_t outputs = gradients_outputs(of, first, count);
    landing landings[INPUT_COUNT];
    for (int k = 0; k < INPUT_COUNT; k++)
        landings[k] = landing_make(of, k, &how);
    ratecl_plan *plan = make_plan(of, context, first, count, landings, false);
    outcome got = evaluate(of, plan, first, count, &how, landings);
    problem_check(&of->given, &got, first, "gradients");
    for (int k = 0; k < INPUT_COUNT; k++) {
        made[k] = outputs & (uint32_t)RATECL_OUTPUT_GRADIENT_STATES << k
                      ? take(&landings[k], gradients_size(of, k), of->given.name)
                      : NULL;
        landing_free(&landings[k]);
    }
    outcome_free(&got);
    ratecl_plan_release(plan);
}

/* ---- Comparing ---- */

/* 1e-5 in f32 and 1e-10 in f64 of the norm, or a twentieth of that of the magnitudes where they cancel.
 * Errors of several terms are independent. What is stored is rounded to its element. */
static double allowed(const gradients *of, size_t first, size_t count, int input, const gradient_options *how,
                      double start)
{
    const double relative = of->given.precision == RATECL_PRECISION_F32 ? 1e-5 : 1e-10;
    const double stored = how->element == RATECL_F32 ? FLT_EPSILON : DBL_EPSILON;
    const size_t n = gradients_size(of, input);
    double squares = 0, norms = 0;
    for (size_t term = first; term < first + count; term++) {
        const oracle_gradient *expected = &expected_of(of, term)[input];
        if (!expected->values)
            continue;
        const double norm = gradients_norm(expected->values, n),
                     magnitude = gradients_norm(expected->magnitudes, n),
                     weight = of->given.terms[term].weight;
        const double part = weight * relative * fmax(norm, magnitude / 20);
        squares += part * part;
        norms += fabs(weight) * norm;
    }
    const double scale = how->scale != 0 ? fabs(how->scale) : 1;
    return scale * sqrt(squares) + stored * (start + scale * norms);
}

static void compare(const gradients *of, size_t first, size_t count, int input, const gradient_options *how,
                    const landing *at, const char *device)
{
    const size_t n = gradients_size(of, input);
    char what[sizeof of->given.name + 128];
    snprintf(what, sizeof what, "%s: %s: gradient to the %s of %s%s", device, of->given.name, names[input],
             of->given.texts[first], count > 1 ? " and others" : "");
    double *got = take(at, n, what), *errors = suite_allocate(n * sizeof *errors);
    double largest = 0;
    size_t worst = 0;
    for (size_t k = 0; k < n; k++) {
        long double expected = 0;
        for (size_t term = first; term < first + count; term++)
            if (expected_of(of, term)[input].values)
                expected +=
                    (long double)of->given.terms[term].weight * expected_of(of, term)[input].values[k];
        errors[k] = (double)(got[k] - (expected * (how->scale != 0 ? how->scale : 1) +
                                       (how->accumulates ? at->start.values[k] : 0)));
        if (!(fabs(errors[k]) <= largest)) {
            largest = fabs(errors[k]);
            worst = k;
        }
    }
    const double start = how->accumulates ? gradients_norm(at->start.values, n) : 0;
    const double error = gradients_norm(errors, n), limit = allowed(of, first, count, input, how, start);
    ck_assert_msg(error <= limit,
                  "%s: off by %.3g in norm, %.3g allowed; most at element %zu: got %.9g, off by %.3g", what,
                  error, limit, worst, got[worst], errors[worst]);
    free(errors);
    free(got);
}

void gradients_check(const gradients *of, ratecl_context *context, const char *device, size_t first,
                     size_t count, const gradient_options *how)
{
    const uint32_t outputs = gradients_outputs(of, first, count);
    landing once[INPUT_COUNT], again[INPUT_COUNT];
    for (int k = 0; k < INPUT_COUNT; k++) {
        once[k] = landing_make(of, k, how);
        again[k] = landing_make(of, k, how);
    }
    ratecl_plan *plan = make_plan(of, context, first, count, once, how->accumulates);
    outcome got = evaluate(of, plan, first, count, how, once),
            same = evaluate(of, plan, first, count, how, again);
    problem_check(&of->given, &got, first, device);
    outcome_assert_same_bits(&got, &same, device);
    for (int k = 0; k < INPUT_COUNT; k++) {
        ck_assert_msg(memcmp(once[k].zones, again[k].zones, once[k].start.bytes + 2 * ZONE) == 0,
                      "%s: %s: other gradients to the %s the second time", device, of->given.name, names[k]);
        if (outputs & (uint32_t)RATECL_OUTPUT_GRADIENT_STATES << k)
            compare(of, first, count, k, how, &once[k], device);
        landing_free(&once[k]);
        landing_free(&again[k]);
    }
    outcome_free(&got);
    outcome_free(&same);
    ratecl_plan_release(plan);
}

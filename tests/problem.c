/* SPDX-License-Identifier: Apache-2.0 */
#include "problem.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Terms ---- */

/* Every option of every criterion, with the smallest shape that allows it. */
typedef struct menu_entry {
    const char *text;
    int64_t T, N;
} menu_entry;

static const menu_entry menu[] = {
    { "firing_rate", 1, 1 },
    { "firing_rate:metric=l2,target=0.75", 1, 1 },
    { "firing_rate:metric=l1", 1, 1 },
    { "firing_rate:metric=l1,target=1.5,weight=0.5", 1, 1 },
    { "firing_rate_dist", 1, 1 },
    { "firing_rate_dist:metric=sd,ddof=1", 1, 2 },
    { "firing_rate_dist:metric=cv", 1, 1 },
    { "firing_rate_dist:metric=cv,ddof=2", 1, 3 },
    { "firing_rate_dist:metric=mean_ad", 1, 1 },
    { "firing_rate_dist:metric=max_ad,ddof=1", 1, 2 },
    { "state_prediction", 2, 1 },
    { "state_prediction:tau=2,weight=-3", 3, 1 },
    { "hebbian", 1, 1 },
    { "hebbian:over=step,weight=2", 1, 1 },
    { "entropy", 1, 1 },
    { "entropy:reg=0", 1, 1 },
    { "entropy:reg=0.5,eps=1e-8", 1, 1 },
    { "entropy:reg=0,eps=0.01", 1, 1 },
    { "population_kl", 1, 1 },
    { "population_kl:degenerate=skip", 1, 1 },
    { "population_kl:var_floor=1e-4,reg=0", 1, 1 },
    { "population_kl:symmetric=false,reduction=sum,var_floor=0.01", 1, 1 },
    { "population_kl:symmetric=false,log=sigma,degenerate=skip,reg=0", 1, 1 },
    { "population_kl:log=sigma,reduction=sum,degenerate=skip", 1, 1 },
    { "population_kl:reduction=none,degenerate=skip", 1, 1 },
    { "population_kl:symmetric=false,reduction=none,var_floor=1e-3,reg=0.1,weight=7", 1, 1 },
};

/* W meets every pair of neurons in every row: beyond this the oracle's loops take seconds. */
static const int64_t hebbian_pairs_max = 40000000;

static bool allows(const array *states, const menu_entry *entry)
{
    const int64_t *shape = states->layout.shape;
    const int64_t pairs = shape[0] * shape[1] * shape[2] * shape[2];
    return shape[1] >= entry->T && shape[2] >= entry->N &&
           (pairs <= hebbian_pairs_max || strncmp(entry->text, "hebbian", 7) != 0);
}

static void take_terms(problem *made, const char *const *texts, size_t count)
{
    made->term_count = 0;
    made->texts = suite_allocate((texts ? count : COUNT(menu)) * sizeof *made->texts);
    for (size_t k = 0; k < (texts ? count : COUNT(menu)); k++)
        if (texts || allows(&made->inputs[STATES], &menu[k]))
            made->texts[made->term_count++] = texts ? texts[k] : menu[k].text;

    made->terms = suite_allocate(made->term_count * sizeof *made->terms);
    for (size_t k = 0; k < made->term_count; k++)
        ASSERT_OK(ratecl_term_parse(&made->terms[k], made->texts[k]));
}

/* ---- Making ---- */

void problem_specs(array_spec specs[INPUT_COUNT], const array_spec *states)
{
    specs[STATES] = specs[REFERENCE] = specs[WEIGHTS] = *states;
    specs[REFERENCE].shape[0] = 1 + states->shape[0] % 3;
    specs[REFERENCE].shape[1] = 1 + states->shape[1] * 3 / 4;
    specs[REFERENCE].seed = states->seed + 1;
    specs[WEIGHTS].shape[0] = 1;
    specs[WEIGHTS].shape[1] = states->shape[2];
    specs[WEIGHTS].kind = ARRAY_WEIGHTS;
    specs[WEIGHTS].element = RATECL_F32;
    specs[WEIGHTS].seed = states->seed + 2;
}

/* Alike, nearly alike and unlike. */
const problem_scale problem_scales[PROBLEM_SCALES] = {
    { { -120, -120 }, { 0, 0 } }, { { -64, -64 }, { 0, 0 } },    { { -40, -40 }, { 0, 0 } },
    { { 64, 64 }, { 0, 0 } },     { { 100, 100 }, { 0, 0 } },    { { -120, -118 }, { 0, 0 } },
    { { 100, 97 }, { 0, 0 } },    { { -64, -40 }, { 0, 0 } },    { { 64, 40 }, { 0, 0 } },
    { { -40, 64 }, { 0, 0 } },    { { 0, 0 }, { -86, -86 } },    { { 0, 0 }, { -60, -59 } },
    { { 0, 0 }, { 70, 68 } },     { { -20, -20 }, { -98, -98 } }
};

void problem_scaled_specs(array_spec specs[INPUT_COUNT], const array_spec *states, const problem_scale *scale)
{
    problem_specs(specs, states);
    for (int k = STATES; k <= REFERENCE; k++) {
        specs[k].exponent = scale->exponent[k];
        specs[k].neuron_exponent = scale->neuron_exponent[k];
    }
}

oracle_inputs problem_oracle_inputs(const problem *given)
{
    oracle_array arrays[INPUT_COUNT];
    for (int k = 0; k < INPUT_COUNT; k++) {
        arrays[k].values = given->inputs[k].values;
        memcpy(arrays[k].shape, given->inputs[k].layout.shape, sizeof arrays[k].shape);
    }
    return (oracle_inputs){ arrays[STATES], arrays[REFERENCE], arrays[WEIGHTS].values };
}

static void ask_oracle(problem *made)
{
    const oracle_inputs inputs = problem_oracle_inputs(made);
    const int64_t N = inputs.states.shape[2];

    made->first = suite_allocate((made->term_count + 1) * sizeof *made->first);
    for (size_t k = 0; k < made->term_count; k++)
        made->first[k + 1] = made->first[k] + oracle_count(&made->terms[k], N);
    const size_t count = made->first[made->term_count];
    made->values = suite_allocate(count * sizeof *made->values);
    made->tolerances = suite_allocate(count * sizeof *made->tolerances);
    made->skipped = suite_allocate(made->term_count * sizeof *made->skipped);
    for (size_t k = 0; k < made->term_count; k++) {
        double *scales = made->tolerances + made->first[k];
        made->skipped[k] = oracle_values(&made->terms[k], &inputs, made->values + made->first[k], scales);
        for (size_t v = made->first[k]; v < made->first[k + 1]; v++)
            if (made->precision == RATECL_PRECISION_F32 && fabs(made->values[v]) > (double)FLT_MAX)
                made->values[v] = (double)INFINITY; /* an f32 plan gives no such value */
        for (size_t v = 0; v < oracle_count(&made->terms[k], N); v++)
            scales[v] = oracle_tolerance(&made->terms[k], made->precision, scales[v]);
    }
}

void problem_adopt(problem *made, const char *name, ratecl_precision precision,
                   const array inputs[INPUT_COUNT], const char *const *texts, size_t count)
{
    memset(made, 0, sizeof *made);
    made->precision = precision;
    memcpy(made->inputs, inputs, sizeof made->inputs);
    snprintf(made->name, sizeof made->name, "%s", name);
    take_terms(made, texts, count);
    ask_oracle(made);
}

void problem_make(problem *made, const array_spec specs[INPUT_COUNT], const char *const *texts, size_t count)
{
    const array_spec *states = &specs[STATES];
    char name[sizeof made->name];
    snprintf(name, sizeof name, "(%" PRId64 ",%" PRId64 ",%" PRId64 ") %s %s x 2^%d (2^%d), %s order, in %s",
             states->shape[0], states->shape[1], states->shape[2], array_element_names[states->element],
             array_kind_names[states->kind], states->exponent, states->exponent + states->neuron_exponent,
             array_order_names[states->order], states->precision == RATECL_PRECISION_F64 ? "f64" : "f32");
    array inputs[INPUT_COUNT];
    for (int k = 0; k < INPUT_COUNT; k++)
        array_make(&inputs[k], &specs[k]);
    problem_adopt(made, name, states->precision, inputs, texts, count);
}

void problem_keep(problem *made, const bool *keep)
{
    size_t kept = 0, value = 0;
    for (size_t k = 0; k < made->term_count; k++) {
        const size_t begin = made->first[k], count = made->first[k + 1] - begin;
        if (!keep[k])
            continue;
        made->terms[kept] = made->terms[k];
        made->texts[kept] = made->texts[k];
        made->skipped[kept] = made->skipped[k];
        memmove(made->values + value, made->values + begin, count * sizeof *made->values);
        memmove(made->tolerances + value, made->tolerances + begin, count * sizeof *made->tolerances);
        made->first[kept++] = value;
        value += count;
    }
    made->first[kept] = value;
    made->term_count = kept;
}

void problem_free(problem *made)
{
    for (int k = 0; k < INPUT_COUNT; k++)
        array_free(&made->inputs[k]);
    free(made->terms);
    free(made->texts);
    free(made->first);
    free(made->values);
    free(made->tolerances);
    free(made->skipped);
    memset(made, 0, sizeof *made);
}

/* ---- Evaluating ---- */

ratecl_plan_options problem_options(const problem *given, size_t first, size_t count)
{
    ratecl_plan_options options = RATECL_PLAN_OPTIONS_INIT;
    options.precision = given->precision;
    options.states = &given->inputs[STATES].layout;
    options.reference = &given->inputs[REFERENCE].layout;
    options.weights = &given->inputs[WEIGHTS].layout;
    options.terms = given->terms + first;
    options.term_count = count;
    return options;
}

ratecl_plan *problem_plan(const problem *given, ratecl_context *context, size_t first, size_t count)
{
    const ratecl_plan_options options = problem_options(given, first, count);
    ratecl_plan *plan = NULL;
    const ratecl_status status = ratecl_plan_create(context, &options, &plan);
    ck_assert_msg(status == RATECL_OK, "%s: %s", given->name, ratecl_last_error());
    ck_assert_uint_eq(ratecl_plan_value_count(plan), given->first[first + count] - given->first[first]);
    for (size_t k = 0; k <= count; k++)
        ck_assert_uint_eq(ratecl_plan_value_index(plan, k), given->first[first + k] - given->first[first]);
    return plan;
}

ratecl_inputs problem_inputs(const problem *given)
{
    ratecl_inputs inputs = RATECL_INPUTS_INIT;
    inputs.states = given->inputs[STATES].memory;
    inputs.states_bytes = given->inputs[STATES].bytes;
    inputs.reference = given->inputs[REFERENCE].memory;
    inputs.reference_bytes = given->inputs[REFERENCE].bytes;
    inputs.weights = given->inputs[WEIGHTS].memory;
    inputs.weights_bytes = given->inputs[WEIGHTS].bytes;
    return inputs;
}

static outcome evaluate(ratecl_plan *plan, const ratecl_inputs *inputs, size_t term_count)
{
    outcome got = { .value_count = ratecl_plan_value_count(plan), .term_count = term_count };
    got.values = suite_allocate(got.value_count * sizeof *got.values);
    got.skipped = suite_allocate(term_count * sizeof *got.skipped);
    ratecl_outputs outputs = RATECL_OUTPUTS_INIT;
    outputs.values = got.values;
    outputs.value_count = got.value_count;
    outputs.total = &got.total;
    outputs.skipped = got.skipped;
    outputs.skipped_count = term_count;
    got.status = ratecl_evaluate(plan, inputs, &outputs);
    return got;
}

outcome problem_evaluate(const problem *given, ratecl_context *context, size_t first, size_t count)
{
    ratecl_plan *plan = problem_plan(given, context, first, count);
    const ratecl_inputs inputs = problem_inputs(given);
    outcome once = evaluate(plan, &inputs, count), again = evaluate(plan, &inputs, count);
    ratecl_device_info device = { .size = sizeof device };
    ASSERT_OK(ratecl_context_device(context, &device));
    char what[sizeof given->name + sizeof device.id + 32];
    snprintf(what, sizeof what, "%s: %s, evaluated twice", device.id, given->name);
    outcome_assert_same_bits(&once, &again, what);
    outcome_free(&again);
    ratecl_plan_release(plan);
    return once;
}

void outcome_free(outcome *given)
{
    free(given->values);
    free(given->skipped);
    memset(given, 0, sizeof *given);
}

/* ---- Comparing ---- */

static void check_value(const problem *given, size_t term, size_t at, double got, const char *device)
{
    const double expected = given->values[at], tolerance = given->tolerances[at];
    const bool agrees = isfinite(expected) ? fabs(got - expected) <= tolerance : !isfinite(got);
    ck_assert_msg(agrees, "%s: %s: %s [%zu]: got %.17g, expected %.17g, off by %.3g of the allowed %.3g",
                  device, given->name, given->texts[term], at - given->first[term], got, expected,
                  fabs(got - expected), tolerance);
}

static void check_status(const problem *given, const outcome *got, size_t first, const char *device)
{
    bool is_finite = true;
    for (size_t at = given->first[first]; at < given->first[first + got->term_count]; at++)
        is_finite = is_finite && isfinite(given->values[at]);
    const ratecl_status expected = is_finite ? RATECL_OK : RATECL_ERROR_DOMAIN;
    ck_assert_msg(got->status == expected, "%s: %s: %s, expected %s: %s", device, given->name,
                  ratecl_status_name(got->status), ratecl_status_name(expected), ratecl_last_error());
}

void problem_check(const problem *given, const outcome *got, size_t first, const char *device)
{
    double total = 0, magnitude = 0;
    const size_t origin = given->first[first];
    ck_assert_msg(got->status == RATECL_OK || got->status == RATECL_ERROR_DOMAIN, "%s: %s: %s: %s", device,
                  given->name, ratecl_status_name(got->status), ratecl_last_error());
    for (size_t k = 0; k < got->term_count; k++) {
        const size_t term = first + k, begin = given->first[term], end = given->first[term + 1];
        for (size_t at = begin; at < end; at++)
            check_value(given, term, at, got->values[at - origin], device);
        ck_assert_msg(got->skipped[k] == given->skipped[term],
                      "%s: %s: %s: skipped %" PRId64 ", expected %" PRId64, device, given->name,
                      given->texts[term], got->skipped[k], given->skipped[term]);
        if (given->terms[term].reduction != RATECL_REDUCTION_NONE) {
            const double weighted = given->terms[term].weight * got->values[begin - origin];
            total += weighted;
            magnitude += fabs(weighted);
        }
    }
    check_status(given, got, first, device);
    const bool agrees =
        isfinite(total) ? fabs(got->total - total) <= 1e-14 * magnitude : !isfinite(got->total);
    ck_assert_msg(agrees, "%s: %s: total %.17g, the terms' sum is %.17g", device, given->name, got->total,
                  total);
}

void outcome_assert_same_bits(const outcome *left, const outcome *right, const char *what)
{
    ck_assert_msg(left->status == right->status, "%s: status %s, then %s", what,
                  ratecl_status_name(left->status), ratecl_status_name(right->status));
    ck_assert_uint_eq(left->value_count, right->value_count);
    for (size_t k = 0; k < left->value_count; k++)
        ck_assert_msg(memcmp(&left->values[k], &right->values[k], sizeof(double)) == 0,
                      "%s: value %zu: %.17g, then %.17g", what, k, left->values[k], right->values[k]);
    ck_assert_msg(memcmp(&left->total, &right->total, sizeof(double)) == 0, "%s: total", what);
    ck_assert_msg(memcmp(left->skipped, right->skipped, left->term_count * sizeof *left->skipped) == 0,
                  "%s: skipped", what);
}

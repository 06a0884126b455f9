/* SPDX-License-Identifier: Apache-2.0 */
/* Many threads on one context, each with its own plans: the same bits as alone. And one result whatever the
 * number of the CPU path's threads, and whether a recording is swept whole or in pieces. */
#include "gradient_check.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, ROUNDS = 8 };

/* ---- Threads of the caller ---- */

static const char *const menus[THREADS][3] = {
    { "firing_rate:metric=l1,target=1", "firing_rate_dist:metric=cv", "state_prediction:tau=3" },
    { "entropy", "entropy:eps=1e-8,reg=0", "firing_rate" },
    { "hebbian", "hebbian:over=step", "state_prediction" },
    { "population_kl:degenerate=skip", "population_kl:reduction=none,var_floor=0.1", "firing_rate_dist" },
};

typedef struct worker {
    ratecl_context *context;
    problem given;
    outcome alone;
    float *gradient;     /* to the states, alone */
    char complaint[512]; /* Check's assertions belong to the main thread */
} worker;

static size_t gradient_size(const worker *w)
{
    const int64_t *shape = w->given.inputs[STATES].layout.shape;
    return (size_t)(shape[0] * shape[1] * shape[2]);
}

static bool same(const worker *w, const double *values, double total, const float *gradient)
{
    return memcmp(w->alone.values, values, w->alone.value_count * sizeof *values) == 0 &&
           memcmp(&w->alone.total, &total, sizeof total) == 0 &&
           memcmp(w->gradient, gradient, gradient_size(w) * sizeof *gradient) == 0;
}

static ratecl_status evaluate_once(const worker *w, double *values, double *total, float *gradient)
{
    ratecl_plan_options options = RATECL_PLAN_OPTIONS_INIT;
    options.outputs = RATECL_OUTPUT_VALUES | RATECL_OUTPUT_GRADIENT_STATES;
    options.states = &w->given.inputs[STATES].layout;
    options.reference = &w->given.inputs[REFERENCE].layout;
    options.weights = &w->given.inputs[WEIGHTS].layout;
    options.terms = w->given.terms;
    options.term_count = w->given.term_count;
    ratecl_plan *plan = NULL;
    ratecl_status status = ratecl_plan_create(w->context, &options, &plan);
    if (status != RATECL_OK)
        return status;
    const ratecl_inputs inputs = problem_inputs(&w->given);
    ratecl_outputs outputs = RATECL_OUTPUTS_INIT;
    outputs.values = values;
    outputs.value_count = w->alone.value_count;
    outputs.total = total;
    outputs.gradient_states = gradient;
    for (int k = 0; k < 3 && status == RATECL_OK; k++)
        status = ratecl_evaluate(plan, &inputs, &outputs);
    ratecl_plan_release(plan);
    return status;
}

static void *work(void *argument)
{
    worker *w = argument;
    double values[128], total;
    float *gradient = malloc(gradient_size(w) * sizeof *gradient);
    if (!gradient) {
        snprintf(w->complaint, sizeof w->complaint, "no memory");
        return NULL;
    }
    for (int round = 0; round < ROUNDS && !w->complaint[0]; round++) {
        const ratecl_status status = evaluate_once(w, values, &total, gradient);
        if (status != RATECL_OK)
            snprintf(w->complaint, sizeof w->complaint, "round %d: %.400s", round, ratecl_last_error());
        else if (!same(w, values, total, gradient))
            snprintf(w->complaint, sizeof w->complaint, "round %d: other bits than alone", round);
    }
    free(gradient);
    return NULL;
}

static void share_context(const char *device)
{
    ratecl_context *context = suite_context(device);
    worker workers[THREADS];
    pthread_t threads[THREADS];
    for (int k = 0; k < THREADS; k++) {
        const array_spec states = { .shape = { 2, suite_is_small() ? 5 : 65, 33 },
                                    .kind = ARRAY_RATES,
                                    .seed = 31u + (unsigned)k };
        array_spec specs[INPUT_COUNT];
        problem_specs(specs, &states);
        memset(&workers[k], 0, sizeof workers[k]);
        workers[k].context = context;
        problem_make(&workers[k].given, specs, menus[k], COUNT(menus[k]));
        workers[k].alone = problem_evaluate(&workers[k].given, context, 0, COUNT(menus[k]));
        problem_check(&workers[k].given, &workers[k].alone, 0, device);
        workers[k].gradient = suite_allocate(gradient_size(&workers[k]) * sizeof(float));
        /* A plan with gradients may round its values in another way. */
        outcome *alone = &workers[k].alone;
        ASSERT_OK(evaluate_once(&workers[k], alone->values, &alone->total, workers[k].gradient));
        problem_check(&workers[k].given, alone, 0, device);
    }
    for (int k = 0; k < THREADS; k++)
        ck_assert_int_eq(pthread_create(&threads[k], NULL, work, &workers[k]), 0);
    for (int k = 0; k < THREADS; k++)
        ck_assert_int_eq(pthread_join(threads[k], NULL), 0);
    for (int k = 0; k < THREADS; k++) {
        ck_assert_msg(!workers[k].complaint[0], "%s: thread %d: %s", device, k, workers[k].complaint);
        outcome_free(&workers[k].alone);
        free(workers[k].gradient);
        problem_free(&workers[k].given);
    }
    ratecl_context_release(context);
}

START_TEST(shared_context)
{
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t count = suite_devices(devices);
    for (size_t d = 0; d < count; d++)
        share_context(devices[d].id);
}
END_TEST

/* ---- Threads of the library ---- */

static problem long_problem(ratecl_precision precision)
{
    const array_spec states = { .shape = { 3, suite_is_small() ? 9 : 401, 33 },
                                .kind = ARRAY_RATES,
                                .precision = precision,
                                .seed = 37 };
    array_spec specs[INPUT_COUNT];
    problem_specs(specs, &states);
    problem made;
    problem_make(&made, specs, NULL, 0);
    return made;
}

static void free_gradients(double *made[INPUT_COUNT])
{
    for (int k = 0; k < INPUT_COUNT; k++)
        free(made[k]);
}

/* Evaluate again, and assert the same bits. */
static void expect_gradients(const gradients *of, ratecl_context *context,
                             double *const expected[INPUT_COUNT], const char *what)
{
    double *got[INPUT_COUNT];
    gradients_evaluate(of, context, 0, of->given.term_count, got);
    for (int k = 0; k < INPUT_COUNT; k++)
        ck_assert_msg(memcmp(got[k], expected[k], gradients_size(of, k) * sizeof(double)) == 0,
                      "%s: other gradients to input %d", what, k);
    free_gradients(got);
}

START_TEST(any_number_of_threads)
{
    static const int32_t numbers[] = { 1, 2, 5 };
    for (int precision = 0; precision < 2; precision++) {
        problem given = long_problem((ratecl_precision)precision);
        outcome got[COUNT(numbers)];
        for (size_t k = 0; k < COUNT(numbers); k++) {
            ratecl_context *context = suite_context_with("cpu", numbers[k], 0);
            got[k] = problem_evaluate(&given, context, 0, given.term_count);
            ratecl_context_release(context);
            outcome_assert_same_bits(&got[0], &got[k], "cpu threads");
        }
        for (size_t k = 0; k < COUNT(numbers); k++)
            outcome_free(&got[k]);
        problem_free(&given);
    }
}
END_TEST

START_TEST(gradients_with_any_number_of_threads)
{
    static const int32_t numbers[] = { 2, 5 };
    for (int precision = 0; precision < 2; precision++) {
        const problem given = long_problem((ratecl_precision)precision);
        gradients of;
        gradients_take(&of, &given);
        double *expected[INPUT_COUNT];
        ratecl_context *context = suite_context_with("cpu", 1, 0);
        gradients_evaluate(&of, context, 0, of.given.term_count, expected);
        ratecl_context_release(context);
        for (size_t k = 0; k < COUNT(numbers); k++) {
            context = suite_context_with("cpu", numbers[k], 0);
            expect_gradients(&of, context, expected, "cpu threads");
            ratecl_context_release(context);
        }
        free_gradients(expected);
        gradients_free(&of);
    }
}
END_TEST

/* ---- Pieces ---- */

/* Limits from a few rows up: lags reach across pieces, and one batch takes several. */
static const uint64_t limits[] = { 4000, 10000, 70000 };

START_TEST(pieces)
{
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t count = suite_devices(devices);
    problem given = long_problem(RATECL_PRECISION_F32);
    for (size_t d = 0; d < count; d++) {
        ratecl_context *context = suite_context(devices[d].id);
        outcome whole = problem_evaluate(&given, context, 0, given.term_count);
        problem_check(&given, &whole, 0, devices[d].id);
        ratecl_context_release(context);
        for (size_t k = 0; k < COUNT(limits); k++) {
            context = suite_context_with(devices[d].id, 0, limits[k]);
            outcome in_pieces = problem_evaluate(&given, context, 0, given.term_count);
            problem_check(&given, &in_pieces, 0, devices[d].id);
            outcome_assert_same_bits(&whole, &in_pieces, devices[d].id);
            outcome_free(&in_pieces);
            ratecl_context_release(context);
        }
        outcome_free(&whole);
    }
    problem_free(&given);
}
END_TEST

START_TEST(gradients_in_pieces)
{
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t count = suite_devices(devices);
    const problem given = long_problem(RATECL_PRECISION_F32);
    gradients of;
    gradients_take(&of, &given);
    for (size_t d = 0; d < count; d++) {
        double *whole[INPUT_COUNT];
        ratecl_context *context = suite_context(devices[d].id);
        gradients_evaluate(&of, context, 0, of.given.term_count, whole);
        ratecl_context_release(context);
        for (size_t k = 0; k < COUNT(limits); k++) {
            context = suite_context_with(devices[d].id, 0, limits[k]);
            expect_gradients(&of, context, whole, devices[d].id);
            ratecl_context_release(context);
        }
        free_gradients(whole);
    }
    gradients_free(&of);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { shared_context, any_number_of_threads,
                                   gradients_with_any_number_of_threads, pieces, gradients_in_pieces };
    return suite_run("threads", tests, COUNT(tests));
}

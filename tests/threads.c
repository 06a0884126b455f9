/* SPDX-License-Identifier: Apache-2.0 */
/* Many threads on one context, each with its own plans: the same bits as alone. And one result whatever the
 * number of the CPU path's threads, and whether a recording is swept whole or in pieces. */
#include "problem.h"

#include <pthread.h>
#include <stdio.h>
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
    char complaint[512]; /* Check's assertions belong to the main thread */
} worker;

static bool same(const outcome *left, const double *values, double total)
{
    return memcmp(left->values, values, left->value_count * sizeof *values) == 0 &&
           memcmp(&left->total, &total, sizeof total) == 0;
}

static ratecl_status evaluate_once(const worker *w, double *values, double *total)
{
    ratecl_plan_options options = RATECL_PLAN_OPTIONS_INIT;
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
    for (int k = 0; k < 3 && status == RATECL_OK; k++)
        status = ratecl_evaluate(plan, &inputs, &outputs);
    ratecl_plan_release(plan);
    return status;
}

static void *work(void *argument)
{
    worker *w = argument;
    double values[128], total;
    for (int round = 0; round < ROUNDS && !w->complaint[0]; round++) {
        const ratecl_status status = evaluate_once(w, values, &total);
        if (status != RATECL_OK)
            snprintf(w->complaint, sizeof w->complaint, "round %d: %.400s", round, ratecl_last_error());
        else if (!same(&w->alone, values, total))
            snprintf(w->complaint, sizeof w->complaint, "round %d: other bits than alone", round);
    }
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
    }
    for (int k = 0; k < THREADS; k++)
        ck_assert_int_eq(pthread_create(&threads[k], NULL, work, &workers[k]), 0);
    for (int k = 0; k < THREADS; k++)
        ck_assert_int_eq(pthread_join(threads[k], NULL), 0);
    for (int k = 0; k < THREADS; k++) {
        ck_assert_msg(!workers[k].complaint[0], "%s: thread %d: %s", device, k, workers[k].complaint);
        outcome_free(&workers[k].alone);
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

/* ---- Pieces ---- */

/* Limits from a few rows up: lags reach across pieces, and one batch takes several. */
START_TEST(pieces)
{
    static const uint64_t limits[] = { 4000, 10000, 70000 };
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

int main(void)
{
    const TTest *const tests[] = { shared_context, any_number_of_threads, pieces };
    return suite_run("threads", tests, COUNT(tests));
}

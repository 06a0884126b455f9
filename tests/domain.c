/* SPDX-License-Identifier: Apache-2.0 */
/* Values outside a criterion's domain: the status, a message that says which input, how many and where the
 * first is, and a plan that stays usable. */
#include "problem.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Inputs of every criterion; a test spoils some elements of one. */
static const char *const all_terms[] = { "firing_rate", "firing_rate_dist", "state_prediction",
                                         "hebbian",     "entropy",          "population_kl:degenerate=skip" };

typedef struct place {
    int64_t b, t, i;
} place;

static void *element_at(const array *of, place at)
{
    return (char *)of->memory + array_place(&of->layout, at.b, at.t, at.i);
}

static problem good_problem(ratecl_element element, array_order order, const char *const *texts, size_t count)
{
    const array_spec states = {
        .shape = { 2, 9, 5 }, .kind = ARRAY_RATES, .element = element, .order = order, .seed = 3
    };
    array_spec specs[INPUT_COUNT];
    problem_specs(specs, &states);
    specs[WEIGHTS].element = element;
    problem made;
    problem_make(&made, specs, texts, count);
    return made;
}

static ratecl_status evaluate(ratecl_plan *plan, const problem *given)
{
    double values[64], total;
    int64_t skipped[8];
    ratecl_outputs outputs = RATECL_OUTPUTS_INIT;
    outputs.values = values;
    outputs.value_count = COUNT(values);
    outputs.total = &total;
    outputs.skipped = skipped;
    outputs.skipped_count = COUNT(skipped);
    const ratecl_inputs inputs = problem_inputs(given);
    return ratecl_evaluate(plan, &inputs, &outputs);
}

/* Spoil elements of an input and expect the message to name it, their number and the first place; then
 * mend them and expect the plan to work. */
static void expect_found(ratecl_plan *plan, problem *given, int input, double bad, const place *places,
                         size_t count)
{
    static const char *const names[INPUT_COUNT] = { "states", "reference", "weights" };
    const array *spoiled = &given->inputs[input];
    double before[8];
    char many[32], first[64];
    for (size_t k = 0; k < count; k++) {
        before[k] = array_load(spoiled->layout.element, element_at(spoiled, places[k]));
        array_store(spoiled->layout.element, element_at(spoiled, places[k]), bad);
    }
    const int64_t *shape = spoiled->layout.shape;
    snprintf(many, sizeof many, "%zu of %" PRId64, count, shape[0] * shape[1] * shape[2]);
    snprintf(first, sizeof first, "[%" PRId64 ",%" PRId64 ",%" PRId64 "]", places[0].b, places[0].t,
             places[0].i);
    ASSERT_FAILS(evaluate(plan, given), RATECL_ERROR_DOMAIN, names[input], many, first);

    for (size_t k = 0; k < count; k++)
        array_store(spoiled->layout.element, element_at(spoiled, places[k]), before[k]);
    ASSERT_OK(evaluate(plan, given));
}

/* Run `test` on each device, element type that can hold `bad`, and two layouts. */
static void on_each(void (*test)(ratecl_context *context, problem *given), const char *const *texts,
                    size_t count)
{
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t device_count = suite_devices(devices);
    static const ratecl_element elements[] = { RATECL_F32, RATECL_F64, RATECL_F16 };
    static const array_order orders[] = { ORDER_C, ORDER_REVERSED };
    for (size_t d = 0; d < device_count; d++) {
        ratecl_context *context = suite_context(devices[d].id);
        for (size_t e = 0; e < (suite_is_small() ? 1 : COUNT(elements)); e++)
            for (size_t o = 0; o < (suite_is_small() ? 1 : COUNT(orders)); o++) {
                if (!suite_can(&devices[d], RATECL_PRECISION_F32, elements[e])) {
                    printf("%s: f64 states skipped: no fp64\n", devices[d].id);
                    continue;
                }
                problem given = good_problem(elements[e], orders[o], texts, count);
                test(context, &given);
                problem_free(&given);
            }
        ratecl_context_release(context);
    }
}

static void spoil_everywhere(ratecl_context *context, problem *given)
{
    static const place one[] = { { 1, 8, 4 } };
    static const place three[] = { { 0, 3, 2 }, { 0, 8, 0 }, { 1, 0, 1 } };
    static const place weights[] = { { 0, 2, 3 }, { 0, 4, 4 } };
    static const place reference[] = { { 0, 0, 0 }, { 1, 5, 4 } };
    const double bad[] = { (double)NAN, (double)INFINITY, -(double)INFINITY };
    ratecl_plan *plan = problem_plan(given, context, 0, given->term_count);
    for (size_t k = 0; k < (suite_is_small() ? 1 : COUNT(bad)); k++) {
        expect_found(plan, given, STATES, bad[k], one, COUNT(one));
        expect_found(plan, given, STATES, bad[k], three, COUNT(three));
        expect_found(plan, given, REFERENCE, bad[k], reference, COUNT(reference));
        expect_found(plan, given, WEIGHTS, bad[k], weights, COUNT(weights));
    }
    expect_found(plan, given, STATES, -0.5, three, COUNT(three));
    ratecl_plan_release(plan);
}

START_TEST(not_finite_or_negative)
{
    on_each(spoil_everywhere, all_terms, COUNT(all_terms));
}
END_TEST

/* Each criterion alone must notice a NaN and an infinity in the states. */
static void spoil_each_criterion(ratecl_context *context, problem *given)
{
    static const place last[] = { { 1, 8, 4 } };
    for (size_t k = 0; k < given->term_count; k++) {
        ratecl_plan *plan = problem_plan(given, context, k, 1);
        expect_found(plan, given, STATES, (double)NAN, last, 1);
        expect_found(plan, given, STATES, (double)INFINITY, last, 1);
        ratecl_plan_release(plan);
    }
}

START_TEST(each_criterion)
{
    static const char *const texts[] = {
        "firing_rate:metric=l1",
        "firing_rate:metric=l2",
        "firing_rate_dist:metric=sd",
        "firing_rate_dist:metric=cv",
        "firing_rate_dist:metric=mean_ad",
        "firing_rate_dist:metric=max_ad",
        "state_prediction:tau=3",
        "hebbian",
        "hebbian:over=step",
        "entropy:reg=0",
        "entropy:reg=0,eps=1e-8",
        "population_kl:degenerate=skip",
        "population_kl:var_floor=0.1,reduction=none",
    };
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t device_count = suite_devices(devices);
    const size_t step = suite_is_small() ? 3 : 1;
    for (size_t d = 0; d < device_count; d++) {
        ratecl_context *context = suite_context(devices[d].id);
        for (size_t k = 0; k < COUNT(texts); k += step) {
            problem given = good_problem(RATECL_F32, ORDER_C, &texts[k], 1);
            spoil_each_criterion(context, &given);
            problem_free(&given);
        }
        ratecl_context_release(context);
    }
}
END_TEST

/* A double beyond float's range is infinite in f32 arithmetic: the message must say so too. */
START_TEST(beyond_the_precision)
{
    static const place at[] = { { 1, 2, 3 } };
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t device_count = suite_devices(devices);
    for (size_t d = 0; d < device_count; d++) {
        if (!devices[d].fp64) {
            printf("%s: f64 states skipped: no fp64\n", devices[d].id);
            continue;
        }
        ratecl_context *context = suite_context(devices[d].id);
        problem given = good_problem(RATECL_F64, ORDER_C, all_terms, 1);
        ratecl_plan *plan = problem_plan(&given, context, 0, 1);
        expect_found(plan, &given, STATES, 1e300, at, 1);
        ratecl_plan_release(plan);
        problem_free(&given);
        ratecl_context_release(context);
    }
}
END_TEST

static void make_constant(const array *of, int64_t i, double value)
{
    for (int64_t b = 0; b < of->layout.shape[0]; b++)
        for (int64_t t = 0; t < of->layout.shape[1]; t++)
            array_store(of->layout.element, element_at(of, (place){ b, t, i }), value);
}

/* Neuron 4 is constant in the reference, neurons 1 and 3 in the states. */
static void no_variance(ratecl_context *context, problem *given)
{
    ratecl_plan *plan = problem_plan(given, context, 0, 1);
    ASSERT_OK(evaluate(plan, given));
    make_constant(&given->inputs[REFERENCE], 4, 0.1);
    ASSERT_FAILS(evaluate(plan, given), RATECL_ERROR_DOMAIN, "population_kl", "1 of 5", "states: 0",
                 "reference: 1", "[0,0,4]", "var_floor");
    make_constant(&given->inputs[STATES], 1, 0.1);
    make_constant(&given->inputs[STATES], 3, 7);
    ASSERT_FAILS(evaluate(plan, given), RATECL_ERROR_DOMAIN, "population_kl", "3 of 5", "states: 2",
                 "reference: 1", "[0,0,1]");
    ratecl_plan_release(plan);
}

START_TEST(degenerate_neurons)
{
    static const char *const texts[] = { "population_kl", "population_kl:symmetric=false,reduction=none" };
    for (size_t k = 0; k < COUNT(texts); k++)
        on_each(no_variance, &texts[k], 1);
}
END_TEST

/* How many neurons were skipped, in each term; with reg = 0 reduction none gives them 0, and no other one. */
START_TEST(skipped_neurons)
{
    static const char *const texts[] = { "population_kl:degenerate=skip",
                                         "firing_rate",
                                         "population_kl:degenerate=skip,reduction=none,reg=0",
                                         "population_kl:degenerate=skip,var_floor=0.01",
                                         "population_kl:degenerate=skip,reduction=none,reg=0.5",
                                         "population_kl:degenerate=skip,reduction=sum,reg=0.5" };
    static const int64_t expected[] = { 3, 0, 3, 0, 3, 3 };
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t device_count = suite_devices(devices);
    for (size_t d = 0; d < device_count; d++) {
        problem given = good_problem(RATECL_F32, ORDER_C, texts, COUNT(texts));
        make_constant(&given.inputs[REFERENCE], 4, 0.1);
        make_constant(&given.inputs[STATES], 1, 0.1);
        make_constant(&given.inputs[STATES], 3, 7);
        ratecl_context *context = suite_context(devices[d].id);
        outcome got = problem_evaluate(&given, context, 0, given.term_count);
        ck_assert_int_eq(got.status, RATECL_OK);
        ck_assert_mem_eq(got.skipped, expected, sizeof expected);
        const double *none = got.values + given.first[2];
        for (int i = 0; i < 5; i++)
            ck_assert_msg((none[i] == 0) == (i == 1 || i == 3 || i == 4), "neuron %d: %g", i, none[i]);
        double sum = 0;
        for (int i = 0; i < 5; i++)
            sum += got.values[given.first[4] + (size_t)i];
        ck_assert_double_eq_tol(sum, got.values[given.first[5]], 1e-6 * sum);
        outcome_free(&got);
        ratecl_context_release(context);
        problem_free(&given);
    }
}
END_TEST

/* Where skip leaves out every neuron there is no divergence, which is not 0: that says that nothing differs.
 */
static void nothing_to_compare(ratecl_context *context, problem *given)
{
    for (size_t k = 0; k < given->term_count; k++) {
        ratecl_plan *plan = problem_plan(given, context, k, 1);
        for (int64_t i = 0; i < 5; i++)
            make_constant(&given->inputs[i % 2 ? STATES : REFERENCE], i, i == 0 ? 0 : 0.1);
        ASSERT_FAILS(evaluate(plan, given), RATECL_ERROR_DOMAIN, "population_kl", "5 of 5", "states: 2",
                     "reference: 3", "[0,0,0] of reference", "nothing is left to compare");
        array_store(given->inputs[STATES].layout.element,
                    element_at(&given->inputs[STATES], (place){ 1, 3, 1 }), 2);
        ASSERT_OK(evaluate(plan, given));
        ratecl_plan_release(plan);
    }
}

START_TEST(all_skipped)
{
    static const char *const texts[] = { "population_kl:degenerate=skip",
                                         "population_kl:degenerate=skip,reduction=sum,reg=0",
                                         "population_kl:degenerate=skip,reduction=none" };
    on_each(nothing_to_compare, texts, COUNT(texts));
}
END_TEST

/* No term reads the steps 4 to 6 of 11 that a lag of 7 leaves out. */
static void spoil_unread(ratecl_context *context, problem *given)
{
    float gradient[2 * 11 * 5];
    array *states = &given->inputs[STATES];
    ratecl_plan_options options = problem_options(given, 0, 1);
    options.outputs |= RATECL_OUTPUT_GRADIENT_STATES;
    ratecl_plan *plan = NULL;
    ASSERT_OK(ratecl_plan_create(context, &options, &plan));
    const ratecl_inputs inputs = problem_inputs(given);
    ratecl_outputs outputs = RATECL_OUTPUTS_INIT;
    outputs.gradient_states = gradient;
    array_store(RATECL_F32, element_at(states, (place){ 1, 5, 2 }), (double)NAN);
    ASSERT_OK(ratecl_evaluate(plan, &inputs, &outputs));
    for (size_t k = 0; k < COUNT(gradient); k++)
        ck_assert_msg(isfinite(gradient[k]), "element %zu of the gradient is %g", k, (double)gradient[k]);
    ratecl_plan_release(plan);
    plan = problem_plan(given, context, 0, 1);
    array_store(RATECL_F32, element_at(states, (place){ 0, 1, 3 }), 3e38);
    ASSERT_FAILS(evaluate(plan, given), RATECL_ERROR_DOMAIN, "state_prediction", "range");
    array_store(RATECL_F32, element_at(states, (place){ 0, 1, 3 }), 1);
    array_store(RATECL_F32, element_at(states, (place){ 1, 8, 0 }), (double)INFINITY);
    ASSERT_FAILS(evaluate(plan, given), RATECL_ERROR_DOMAIN, "states: 1 of 110", "[1,8,0]");
    ratecl_plan_release(plan);
}

START_TEST(unread_steps)
{
    static const char *const texts[] = { "state_prediction:tau=7" };
    static const array_order orders[] = { ORDER_C, ORDER_REVERSED, ORDER_NEURON_FIRST };
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t device_count = suite_devices(devices);
    for (size_t d = 0; d < device_count; d++)
        for (size_t o = 0; o < COUNT(orders); o++) {
            const array_spec states = {
                .shape = { 2, 11, 5 }, .kind = ARRAY_RATES, .order = orders[o], .seed = 5
            };
            array_spec specs[INPUT_COUNT];
            problem_specs(specs, &states);
            problem given;
            problem_make(&given, specs, texts, COUNT(texts));
            ratecl_context *context = suite_context(devices[d].id);
            spoil_unread(context, &given);
            ratecl_context_release(context);
            problem_free(&given);
        }
}
END_TEST

static void no_mean_rate(ratecl_context *context, problem *given)
{
    ratecl_plan *plan = problem_plan(given, context, 0, 1);
    for (int64_t i = 0; i < 5; i++)
        make_constant(&given->inputs[STATES], i, 0);
    ASSERT_FAILS(evaluate(plan, given), RATECL_ERROR_DOMAIN, "firing_rate_dist", "states", "90", "[0,0,0]",
                 "cv");
    for (int64_t i = 0; i < 5; i++)
        make_constant(&given->inputs[STATES], i, (double)(i - 2));
    ASSERT_FAILS(evaluate(plan, given), RATECL_ERROR_DOMAIN, "firing_rate_dist", "states", "cv");
    make_constant(&given->inputs[STATES], 0, 3);
    ASSERT_OK(evaluate(plan, given));
    ratecl_plan_release(plan);
}

START_TEST(mean_rate_of_zero)
{
    static const char *const texts[] = { "firing_rate_dist:metric=cv" };
    on_each(no_mean_rate, texts, 1);
}
END_TEST

/* Finite inputs of which the squares leave float's range. */
START_TEST(overflow_in_the_arithmetic)
{
    static const char *const texts[] = { "state_prediction" };
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t device_count = suite_devices(devices);
    for (size_t d = 0; d < device_count; d++) {
        ratecl_context *context = suite_context(devices[d].id);
        problem given = good_problem(RATECL_F32, ORDER_C, texts, 1);
        ratecl_plan *plan = problem_plan(&given, context, 0, 1);
        array_store(RATECL_F32, element_at(&given.inputs[STATES], (place){ 0, 1, 0 }), 3e38);
        ASSERT_FAILS(evaluate(plan, &given), RATECL_ERROR_DOMAIN, "state_prediction", "range");
        ratecl_plan_release(plan);
        problem_free(&given);
        ratecl_context_release(context);
    }
}
END_TEST

/* Where f32 has no room for a divergence, the message names the neuron and the remedy, and f64 has room. */
START_TEST(beyond_f32)
{
    static const char *const texts[] = { "population_kl:reg=0" };
    static const problem_scale unlike = { { 0, 0 }, { -40, 50 } };
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t device_count = suite_devices(devices);
    const array_spec states = { .shape = { 2, 9, 5 }, .kind = ARRAY_RATES, .seed = 3 };
    array_spec specs[INPUT_COUNT];
    problem_scaled_specs(specs, &states, &unlike);
    problem given;
    problem_make(&given, specs, texts, COUNT(texts));
    for (size_t d = 0; d < device_count; d++) {
        ratecl_context *context = suite_context(devices[d].id);
        given.precision = RATECL_PRECISION_F32;
        ratecl_plan *plan = problem_plan(&given, context, 0, 1);
        ASSERT_FAILS(evaluate(plan, &given), RATECL_ERROR_DOMAIN, "population_kl", "neuron 1", "states",
                     "reference", "f32", "--precision f64");
        ratecl_plan_release(plan);
        given.precision = RATECL_PRECISION_F64;
        plan = devices[d].fp64 ? problem_plan(&given, context, 0, 1) : NULL;
        if (plan)
            ASSERT_OK(evaluate(plan, &given));
        ratecl_plan_release(plan);
        ratecl_context_release(context);
    }
    problem_free(&given);
}
END_TEST

/* ---- Parameters ---- */

/* What f32 cannot hold is refused alike on every device, and allowed in f64. */
START_TEST(parameters_beyond_f32)
{
    static const struct {
        const char *text, *key;
    } cases[] = {
        { "firing_rate:target=1e39", "target" },
        { "firing_rate:weight=-1e40", "weight" },
        { "entropy:reg=1e39", "reg" },
        { "entropy:eps=1e39", "eps" },
        { "population_kl:reg=-1e39", "reg" },
        { "population_kl:var_floor=1e39", "var_floor" },
        { "population_kl:var_floor=1e-80", "var_floor" },
    };
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t device_count = suite_devices(devices);
    for (size_t d = 0; d < device_count; d++) {
        ratecl_context *context = suite_context(devices[d].id);
        for (size_t k = 0; k < COUNT(cases); k++) {
            const char *const texts[] = { "firing_rate", cases[k].text };
            problem given = good_problem(RATECL_F32, ORDER_C, texts, COUNT(texts));
            ratecl_plan_options options = problem_options(&given, 0, given.term_count);
            ratecl_plan *plan = NULL;
            ASSERT_REFUSED(ratecl_plan_create(context, &options, &plan), "options.terms[1]", cases[k].key,
                           "f32");
            options.precision = RATECL_PRECISION_F64;
            if (devices[d].fp64)
                ASSERT_OK(ratecl_plan_create(context, &options, &plan));
            ratecl_plan_release(plan);
            problem_free(&given);
        }
        ratecl_context_release(context);
    }
}
END_TEST

/* ---- Gradients ---- */

/* Values that are finite although a gradient is not: as an argument says, of a plan of this term on states
 * and reference of this scale. */
typedef struct spoiled_gradient {
    const char *text;
    int exponent, weights_exponent;
    uint32_t output;
    const char *message;
} spoiled_gradient;

static const spoiled_gradient spoiled_gradients[] = {
    { "population_kl:reg=0,weight=1e37", -60, 0, RATECL_OUTPUT_GRADIENT_STATES, "gradient to states" },
    { "population_kl:reg=0,weight=1e37", -60, 0, RATECL_OUTPUT_GRADIENT_REFERENCE, "gradient to reference" },
    { "entropy:reg=0,weight=1e37", -60, 0, RATECL_OUTPUT_GRADIENT_STATES, "gradient to states" },
    { "hebbian:over=step", 66, -100, RATECL_OUTPUT_GRADIENT_WEIGHTS, "gradient to weights" },
};

static ratecl_status evaluate_gradient(ratecl_context *context, const problem *given, uint32_t output)
{
    size_t bytes = 0;
    for (int k = 0; k < INPUT_COUNT; ++k)
        bytes = given->inputs[k].bytes > bytes ? given->inputs[k].bytes : bytes;
    float *gradient = suite_allocate(bytes);
    ratecl_plan_options options = problem_options(given, 0, 1);
    options.outputs |= output;
    ratecl_plan *plan = NULL;
    ASSERT_OK(ratecl_plan_create(context, &options, &plan));
    const ratecl_inputs inputs = problem_inputs(given);
    ratecl_outputs outputs = RATECL_OUTPUTS_INIT;
    outputs.gradient_states = outputs.gradient_reference = outputs.gradient_weights = gradient;
    const ratecl_status status = ratecl_evaluate(plan, &inputs, &outputs);
    ratecl_plan_release(plan);
    free(gradient);
    return status;
}

START_TEST(gradients_beyond_f32)
{
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t device_count = suite_devices(devices);
    for (size_t k = 0; k < COUNT(spoiled_gradients); k++) {
        const spoiled_gradient *at = &spoiled_gradients[k];
        const array_spec states = {
            .shape = { 2, 9, 5 }, .kind = ARRAY_RATES, .seed = 3, .exponent = at->exponent
        };
        array_spec specs[INPUT_COUNT];
        problem_specs(specs, &states);
        specs[WEIGHTS].exponent = at->weights_exponent;
        problem given;
        problem_make(&given, specs, &at->text, 1);
        for (size_t d = 0; d < device_count; d++) {
            ratecl_context *context = suite_context(devices[d].id);
            ratecl_plan *plan = problem_plan(&given, context, 0, 1);
            ASSERT_OK(evaluate(plan, &given));
            ratecl_plan_release(plan);
            ASSERT_FAILS(evaluate_gradient(context, &given, at->output), RATECL_ERROR_DOMAIN, at->message,
                         "[0,0,", "f32", "--precision f64");
            ratecl_context_release(context);
        }
        problem_free(&given);
    }
}
END_TEST

/* A failed evaluation leaves nothing behind that a later gradient would show. */
static void gradient_after_failure(ratecl_context *context, problem *given)
{
    const array *states = &given->inputs[STATES];
    float before[2 * 9 * 5], after[COUNT(before)];
    ratecl_plan_options options = problem_options(given, 0, given->term_count);
    options.outputs |= RATECL_OUTPUT_GRADIENT_STATES;
    ratecl_plan *plan = NULL;
    ASSERT_OK(ratecl_plan_create(context, &options, &plan));
    const ratecl_inputs inputs = problem_inputs(given);
    ratecl_outputs outputs = RATECL_OUTPUTS_INIT;
    outputs.gradient_states = before;
    ASSERT_OK(ratecl_evaluate(plan, &inputs, &outputs));

    static const place spoiled = { 1, 4, 2 };
    const double good = array_load(states->layout.element, element_at(states, spoiled));
    array_store(states->layout.element, element_at(states, spoiled), (double)NAN);
    outputs.gradient_states = after;
    ASSERT_FAILS(ratecl_evaluate(plan, &inputs, &outputs), RATECL_ERROR_DOMAIN, "states", "[1,4,2]");

    array_store(states->layout.element, element_at(states, spoiled), good);
    memset(after, 0xff, sizeof after);
    ASSERT_OK(ratecl_evaluate(plan, &inputs, &outputs));
    ck_assert_mem_eq(before, after, sizeof after);
    ratecl_plan_release(plan);
}

START_TEST(gradients_after_failures)
{
    on_each(gradient_after_failure, all_terms, COUNT(all_terms));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { not_finite_or_negative,
                                   each_criterion,
                                   beyond_the_precision,
                                   degenerate_neurons,
                                   skipped_neurons,
                                   all_skipped,
                                   unread_steps,
                                   mean_rate_of_zero,
                                   overflow_in_the_arithmetic,
                                   beyond_f32,
                                   parameters_beyond_f32,
                                   gradients_beyond_f32,
                                   gradients_after_failures };
    return suite_run("domain", tests, COUNT(tests));
}

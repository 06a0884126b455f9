/* SPDX-License-Identifier: Apache-2.0 */
/* The ends of what a size can be, on every device: one element; a long recording of one neuron; many short
 * trials; many neurons. And a gradient that is large enough to come in pieces. */
#include "gradient_check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct extreme {
    int64_t shape[3]; /* B, T, N */
    array_kind kind;
    const char *texts[7];
} extreme;

static const extreme extremes[] = {
    { { 1, 1, 1 },
      ARRAY_RATES,
      { "firing_rate", "firing_rate_dist", "hebbian", "hebbian:over=step", "entropy",
        "population_kl:var_floor=0.1" } },
    { { 1, 10000000, 1 }, ARRAY_RATES, { "firing_rate", "state_prediction:tau=7" } },
    { { 1000000, 1, 3 },
      ARRAY_SPIKES,
      { "firing_rate:metric=l1", "firing_rate_dist:metric=cv", "hebbian:over=step" } },
    { { 1, 3, 1000000 },
      ARRAY_RATES,
      { "firing_rate", "firing_rate_dist", "state_prediction:tau=2", "entropy",
        "population_kl:reduction=none,var_floor=1e-3" } },
};

static size_t count_texts(const extreme *of)
{
    size_t count = 0;
    while (count < COUNT(of->texts) && of->texts[count])
        count++;
    return count;
}

static gradients make(const array_spec *states, const char *const *texts, size_t count)
{
    array_spec specs[INPUT_COUNT];
    problem_specs(specs, states);
    if (states->shape[2] > 1000) /* no term takes weights of N x N then */
        specs[WEIGHTS].shape[1] = specs[WEIGHTS].shape[2] = 1;
    problem given;
    gradients made;
    problem_make(&given, specs, texts, count);
    gradients_take(&made, &given);
    ck_assert_uint_eq(made.given.term_count, count);
    return made;
}

static void check_on_each_device(const gradients *of)
{
    const gradient_options how = { .element = RATECL_F32 };
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t count = suite_devices(devices);
    for (size_t d = 0; d < count; d++) {
        ratecl_context *context = suite_context(devices[d].id);
        gradients_check(of, context, devices[d].id, 0, of->given.term_count, &how);
        ratecl_context_release(context);
    }
}

START_TEST(ends)
{
    for (size_t k = 0; k < COUNT(extremes); k++) {
        array_spec states = { .kind = extremes[k].kind, .seed = 83 + k };
        for (int axis = 0; axis < 3; axis++) {
            const int64_t size = extremes[k].shape[axis];
            states.shape[axis] = suite_is_small() && size > 1000 ? size / 1000 : size;
        }
        gradients of = make(&states, extremes[k].texts, count_texts(&extremes[k]));
        check_on_each_device(&of);
        gradients_free(&of);
    }
}
END_TEST

/* Where memory is not shared the gradient comes back in more than one piece. */
START_TEST(large_enough_for_pieces)
{
    static const char *const texts[] = { "firing_rate", "state_prediction:tau=300" };
    const array_spec states = { .shape = { 3, 2900, 1024 }, .kind = ARRAY_RATES, .seed = 89 };
    gradients of = make(&states, texts, COUNT(texts));
    check_on_each_device(&of);
    gradients_free(&of);
}
END_TEST

/* ---- Many tiles and blocks ---- */

typedef struct evaluated {
    double values[2];
    float *gradient; /* to the states, in C order */
} evaluated;

/* Evaluate hebbian and entropy with their gradient to the states. */
static evaluated evaluate_both(const problem *given, const char *device)
{
    ratecl_context *context = suite_context(device);
    ratecl_plan_options options = problem_options(given, 0, given->term_count);
    options.outputs = RATECL_OUTPUT_VALUES | RATECL_OUTPUT_GRADIENT_STATES;
    ratecl_plan *plan = NULL;
    ASSERT_OK(ratecl_plan_create(context, &options, &plan));
    evaluated made;
    made.gradient = suite_allocate(given->inputs[STATES].bytes);
    const ratecl_inputs inputs = problem_inputs(given);
    ratecl_outputs outputs = RATECL_OUTPUTS_INIT;
    outputs.values = made.values;
    outputs.value_count = COUNT(made.values);
    outputs.gradient_states = made.gradient;
    ASSERT_OK(ratecl_evaluate(plan, &inputs, &outputs));
    ratecl_plan_release(plan);
    ratecl_context_release(context);
    return made;
}

static void check_same(const evaluated *got, const evaluated *expected, size_t count, const char *device)
{
    double error = 0, norm = 0;
    for (size_t k = 0; k < COUNT(got->values); k++)
        ck_assert_msg(fabs(got->values[k] - expected->values[k]) <= 1e-5 * fabs(expected->values[k]),
                      "%s: value %zu is %.9g, expected %.9g", device, k, got->values[k], expected->values[k]);
    for (size_t k = 0; k < count; k++) {
        const double difference = (double)got->gradient[k] - (double)expected->gradient[k];
        error += difference * difference;
        norm += (double)expected->gradient[k] * (double)expected->gradient[k];
    }
    ck_assert_msg(sqrt(error) <= 2e-5 * sqrt(norm), "%s: the gradient is off by %g of its norm", device,
                  sqrt(error / norm));
}

/* A gradient that reads both the entropies of rows and the Hebbian product, in several tiles of neurons and
 * blocks of rows, against the CPU path, since the oracle would take a minute. A kernel that takes its block
 * from anything but its arguments reads outside its arrays here, in the warm-up too; and where nothing has
 * been allocated before, such as at the start of this program, a device that is the host then ends the
 * process. */
START_TEST(many_tiles_and_blocks)
{
    static const char *const texts[] = { "hebbian", "entropy" };
    const bool small = suite_is_small();
    const array_spec states = { .shape = { 2, small ? 6 : 600, small ? 300 : 2000 },
                                .kind = ARRAY_RATES,
                                .seed = 97 };
    array_spec specs[INPUT_COUNT];
    problem_specs(specs, &states);
    problem given = { .term_count = COUNT(texts) };
    ratecl_term terms[COUNT(texts)];
    for (int k = 0; k < INPUT_COUNT; k++)
        array_make(&given.inputs[k], &specs[k]);
    for (size_t k = 0; k < COUNT(texts); k++)
        ASSERT_OK(ratecl_term_parse(&terms[k], texts[k]));
    given.terms = terms;

    const size_t elements = given.inputs[STATES].bytes / sizeof(float);
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    evaluated got[SUITE_DEVICES_MAX];
    const size_t count = suite_devices(devices);
    for (size_t d = 0; d < count; d++)
        got[d] = evaluate_both(&given, devices[d].id);
    const evaluated expected = evaluate_both(&given, "cpu");
    for (size_t d = 0; d < count; d++) {
        check_same(&got[d], &expected, elements, devices[d].id);
        free(got[d].gradient);
    }
    free(expected.gradient);
    for (int k = 0; k < INPUT_COUNT; k++)
        array_free(&given.inputs[k]);
}
END_TEST

/* ---- Too many ---- */

/* N^2 numbers, which few devices have the memory for: the others say so, and make no plan. */
START_TEST(too_many_neurons)
{
    const int64_t N = 1000000;
    const ratecl_layout layout = RATECL_LAYOUT_INIT(RATECL_F32, 1, 3, N);
    const ratecl_layout weights = RATECL_LAYOUT_INIT(RATECL_F32, 1, N, N);
    ratecl_term term;
    ratecl_term_init(&term, RATECL_HEBBIAN);
    ratecl_plan_options options = RATECL_PLAN_OPTIONS_INIT;
    options.states = &layout;
    options.weights = &weights;
    options.terms = &term;
    options.term_count = 1;
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t count = suite_devices(devices);
    for (size_t d = 0; d < count; d++) {
        ratecl_context *context = suite_context(devices[d].id);
        ratecl_plan *plan = NULL;
        const ratecl_status status = ratecl_plan_create(context, &options, &plan);
        if (status == RATECL_OK) {
            printf("%s: the refusal is skipped: the device made a plan of %d neurons\n", devices[d].id,
                   (int)N);
            ck_assert_ptr_nonnull(plan);
        } else {
            ASSERT_FAILS(status, RATECL_ERROR_MEMORY, "");
            ck_assert_ptr_null(plan);
        }
        ratecl_plan_release(plan);
        ratecl_context_release(context);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { many_tiles_and_blocks, ends, large_enough_for_pieces, too_many_neurons };
    return suite_run("sizes", tests, COUNT(tests));
}

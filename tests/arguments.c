/* SPDX-License-Identifier: Apache-2.0 */
/* Every argument that is refused: the status, a message that names argument, value and expectation, and
 * outputs that stay untouched. */
#include "suite.h"

#include <float.h>
#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *const untouched = (void *)&(char){ 0 };

/* ---- Contexts and devices ---- */

START_TEST(contexts)
{
    ratecl_context_options options = RATECL_CONTEXT_OPTIONS_INIT;
    ratecl_context *context = untouched;
    ASSERT_REFUSED(ratecl_context_create(&options, NULL), "context", "NULL", "expected");

    options.size = 0;
    ASSERT_REFUSED(ratecl_context_create(&options, &context), "options.size", "0", "expected");
    options.size = sizeof options;
    options.threads = -1;
    options.device = "cpu";
    ASSERT_REFUSED(ratecl_context_create(&options, &context), "threads", "-1", "expected");
    options.threads = 0;

    static const char *const absent[] = { "",
                                          "gpu",
                                          "CPU ",
                                          "opencl:no such device",
                                          "opencl:99.0",
                                          "opencx",
                                          "opencl:0.99",
                                          "opencl:99999999999999999999.0" };
    for (size_t k = 0; k < COUNT(absent); k++) {
        options.device = absent[k];
        ASSERT_FAILS(ratecl_context_create(&options, &context), RATECL_ERROR_NO_DEVICE, absent[k], "cpu",
                     "expected");
    }
    ck_assert_ptr_eq(context, untouched);
    ratecl_context_release(NULL);
}
END_TEST

START_TEST(devices)
{
    ratecl_device_info info = { .size = sizeof info };
    const size_t count = ratecl_device_count();
    ASSERT_REFUSED(ratecl_device_get(0, NULL), "info", "NULL", "expected");
    ASSERT_REFUSED(ratecl_device_get(count, &info), "index", "expected");
    ck_assert_int_eq(info.name[0], 0);
    info.size = 0;
    ASSERT_REFUSED(ratecl_device_get(0, &info), "info.size", "0", "expected");

    ratecl_context *context = suite_context("cpu");
    ASSERT_REFUSED(ratecl_context_device(context, NULL), "info", "NULL", "expected");
    ASSERT_REFUSED(ratecl_context_device(NULL, &info), "context", "NULL", "expected");
    info.size = sizeof info;
    ASSERT_OK(ratecl_context_device(context, &info));
    ck_assert_str_eq(info.id, "cpu");
    ck_assert_int_eq(info.kind, RATECL_DEVICE_OPENMP);
    ck_assert_int_eq(info.chosen, 0);
    ck_assert_int_eq(info.fp64, 1);
    ratecl_context_release(context);
}
END_TEST

/* The list ends with the OpenMP path; one device is the one that a context without a name takes. */
START_TEST(device_choice)
{
    const size_t count = ratecl_device_count();
    size_t chosen = count, best = 0;
    ratecl_device_info info = { .size = sizeof info }, list[SUITE_DEVICES_MAX];
    ck_assert_uint_le(count, SUITE_DEVICES_MAX);
    unsetenv("RATECL_DEVICE");
    for (size_t k = 0; k < count; k++) {
        list[k].size = sizeof list[k];
        ASSERT_OK(ratecl_device_get(k, &list[k]));
        ck_assert(!list[k].chosen || chosen == count);
        chosen = list[k].chosen ? k : chosen;
        best = list[k].kind < list[best].kind ? k : best;
    }
    ck_assert_uint_eq(chosen, best);
    ck_assert_str_eq(list[count - 1].id, "cpu");

    ratecl_context *context = NULL;
    ASSERT_OK(ratecl_context_create(NULL, &context));
    ASSERT_OK(ratecl_context_device(context, &info));
    ck_assert_str_eq(info.id, list[chosen].id);
    ratecl_context_release(context);

    setenv("RATECL_DEVICE", "cpu", 1);
    ASSERT_OK(ratecl_device_get(count - 1, &info));
    ck_assert_int_eq(info.chosen, 1);
    ASSERT_OK(ratecl_context_create(NULL, &context));
    ASSERT_OK(ratecl_context_device(context, &info));
    ck_assert_str_eq(info.id, "cpu");
    ratecl_context_release(context);
    unsetenv("RATECL_DEVICE");
}
END_TEST

static void keep_message(const char *message, void *user)
{
    snprintf(user, 200, "%s", message);
}

START_TEST(log_callback)
{
    char message[200] = "";
    ratecl_context_options options = RATECL_CONTEXT_OPTIONS_INIT;
    options.device = "cpu";
    options.log = keep_message;
    options.log_user = message;
    ratecl_context *context = NULL;
    ASSERT_OK(ratecl_context_create(&options, &context));
    ck_assert_ptr_nonnull(strstr(message, "cpu"));
    ck_assert_ptr_null(strchr(message, '\n'));
    ratecl_context_release(context);
}
END_TEST

/* ---- Plans ---- */

/* A valid plan of every criterion, for a test to spoil in one place. */
typedef struct setup {
    ratecl_layout states, reference, weights, gradient /* to the states */;
    ratecl_term terms[6];
    ratecl_plan_options options;
} setup;

static void setup_make(setup *made)
{
    const ratecl_layout states = RATECL_LAYOUT_INIT(RATECL_F32, 2, 5, 3);
    const ratecl_layout reference = RATECL_LAYOUT_INIT(RATECL_F32, 1, 4, 3);
    const ratecl_layout weights = RATECL_LAYOUT_INIT(RATECL_F32, 1, 3, 3);
    const ratecl_plan_options options = RATECL_PLAN_OPTIONS_INIT;
    *made = (setup){
        .states = states, .reference = reference, .weights = weights, .gradient = states, .options = options
    };
    for (int k = 0; k < 6; k++)
        ratecl_term_init(&made->terms[k], (ratecl_criterion)(k + 1));
    made->options.states = &made->states;
    made->options.reference = &made->reference;
    made->options.weights = &made->weights;
    made->options.terms = made->terms;
    made->options.term_count = 6;
}

/* Refusals come before any work: they are the same on every path. */
#define PLAN_REFUSED(change, ...)                                                                \
    do {                                                                                         \
        setup s;                                                                                 \
        setup_make(&s);                                                                          \
        change;                                                                                  \
        ratecl_plan *plan = untouched;                                                           \
        ASSERT_REFUSED(ratecl_plan_create(context, &s.options, &plan), __VA_ARGS__, "expected"); \
        ck_assert_ptr_eq(plan, untouched);                                                       \
    } while (0)

enum { FIRING_RATE, FIRING_RATE_DIST, STATE_PREDICTION, HEBBIAN, ENTROPY, POPULATION_KL };

static void set_strides(ratecl_layout *layout, int64_t b, int64_t t, int64_t i)
{
    layout->strides[0] = b;
    layout->strides[1] = t;
    layout->strides[2] = i;
}

START_TEST(layouts)
{
    ratecl_context *context = suite_context("cpu");
    PLAN_REFUSED(s.states.size = 0, "states.size", "0");
    PLAN_REFUSED(s.states.element = (ratecl_element)4, "states.element", "4");
    PLAN_REFUSED(s.states.element = (ratecl_element)-1, "states.element", "-1");
    PLAN_REFUSED(s.states.shape[0] = 0, "states.shape[0]", "0", "at least 1");
    PLAN_REFUSED(s.states.shape[1] = -5, "states.shape[1]", "-5", "at least 1");
    PLAN_REFUSED(s.states.shape[2] = INT64_MIN, "states.shape[2]", "-9223372036854775808", "at least 1");
    PLAN_REFUSED(s.states.shape[0] = s.states.shape[1] = INT64_C(1) << 32, "states.shape", "4294967296");
    PLAN_REFUSED(s.states.shape[1] = INT64_MAX, "states.shape", "9223372036854775807");
    PLAN_REFUSED(s.states.shape[1] = INT64_MAX / 3 / 2, "states.shape", "1537228672809129301");
    PLAN_REFUSED(s.states.offset = 2, "states.offset", "2", "multiple", "4");
    PLAN_REFUSED(s.states.offset = -4, "states.offset", "-4");
    PLAN_REFUSED(set_strides(&s.states, 15, -3, 1), "states.strides", "-3");
    PLAN_REFUSED((set_strides(&s.states, 15, -3, 1), s.states.offset = 44), "states.strides", "-3", "44");
    PLAN_REFUSED(set_strides(&s.states, INT64_MAX, 3, 1), "states.strides", "9223372036854775807");
    PLAN_REFUSED(set_strides(&s.states, 15, INT64_MAX / 2, 1), "states.strides", "4611686018427387903");
    PLAN_REFUSED(set_strides(&s.states, 15, INT64_MIN, 1), "states.strides", "-9223372036854775808");
    PLAN_REFUSED(s.reference.shape[1] = 0, "reference.shape[1]", "0", "at least 1");
    PLAN_REFUSED(s.reference.element = (ratecl_element)9, "reference.element", "9");
    PLAN_REFUSED(s.weights.offset = 1, "weights.offset", "1", "multiple");

    setup s;
    setup_make(&s);
    set_strides(&s.states, 15, -3, 1);
    s.states.offset = 48;
    ck_assert_uint_eq(ratecl_layout_bytes(&s.states), 48 + 4 * (15 + 2 + 1));
    ratecl_plan *plan = NULL;
    ASSERT_OK(ratecl_plan_create(context, &s.options, &plan));
    ratecl_plan_release(plan);
    s.states.offset = 44;
    ck_assert_uint_eq(ratecl_layout_bytes(&s.states), 0);
    ck_assert_uint_eq(ratecl_layout_bytes(NULL), 0);
    ratecl_context_release(context);
}
END_TEST

START_TEST(plan_options)
{
    ratecl_context *context = suite_context("cpu");
    PLAN_REFUSED(s.options.size = 3, "options.size", "3");
    PLAN_REFUSED(s.options.precision = (ratecl_precision)2, "precision", "2");
    PLAN_REFUSED(s.options.outputs = 0, "outputs", "0");
    PLAN_REFUSED(s.options.outputs = 1u << 31, "outputs", "0x80000000");
    PLAN_REFUSED(s.options.outputs = RATECL_OUTPUT_VALUES | 16, "outputs", "0x11");
    PLAN_REFUSED(s.options.states = NULL, "states", "NULL");
    PLAN_REFUSED(s.options.terms = NULL, "terms", "NULL");
    PLAN_REFUSED(s.options.term_count = 0, "terms", "0", "at least 1");
    PLAN_REFUSED(s.options.reference = NULL, "reference", "NULL", "population_kl");
    PLAN_REFUSED(s.options.weights = NULL, "weights", "NULL", "hebbian");
    PLAN_REFUSED(s.reference.shape[2] = 4, "reference", "4", "3");
    PLAN_REFUSED(s.weights.shape[0] = 2, "weights", "2", "(1, N, N)");
    PLAN_REFUSED(s.weights.shape[1] = 4, "weights", "4", "(1, N, N)");
    PLAN_REFUSED(s.weights.shape[2] = 9, "weights", "9", "(1, N, N)");

    setup s;
    setup_make(&s);
    ratecl_plan *plan = untouched;
    ASSERT_REFUSED(ratecl_plan_create(NULL, &s.options, &plan), "context", "NULL", "expected");
    ASSERT_REFUSED(ratecl_plan_create(context, NULL, &plan), "options", "NULL", "expected");
    ASSERT_REFUSED(ratecl_plan_create(context, &s.options, NULL), "plan", "NULL", "expected");
    ck_assert_ptr_eq(plan, untouched);
    ratecl_plan_release(NULL);
    ck_assert_uint_eq(ratecl_plan_value_count(NULL), 0);
    ck_assert_uint_eq(ratecl_plan_value_index(NULL, 0), 0);

    /* What no term uses is not required. */
    s.options.term_count = 3;
    s.options.reference = s.options.weights = NULL;
    ASSERT_OK(ratecl_plan_create(context, &s.options, &plan));
    ratecl_plan_release(plan);
    ratecl_context_release(context);
}
END_TEST

enum {
    GRADIENT_STATES = RATECL_OUTPUT_VALUES | RATECL_OUTPUT_GRADIENT_STATES,
    ALL_GRADIENTS = GRADIENT_STATES | RATECL_OUTPUT_GRADIENT_REFERENCE | RATECL_OUTPUT_GRADIENT_WEIGHTS
};

#define GRADIENT_REFUSED(change, ...)                                                                    \
    PLAN_REFUSED((s.options.outputs = GRADIENT_STATES, s.options.gradient_states = &s.gradient, change), \
                 __VA_ARGS__)

START_TEST(gradient_options)
{
    ratecl_context *context = suite_context("cpu");
    PLAN_REFUSED(s.options.outputs = RATECL_OUTPUT_GRADIENT_STATES, "outputs", "0x2");
    PLAN_REFUSED(s.options.accumulate = RATECL_OUTPUT_GRADIENT_STATES, "accumulate", "0x2");
    PLAN_REFUSED((s.options.outputs = ALL_GRADIENTS, s.options.accumulate = RATECL_OUTPUT_VALUES),
                 "accumulate", "0x1");
    PLAN_REFUSED((s.options.outputs = ALL_GRADIENTS, s.options.term_count = 5), "outputs", "0xf", "reference",
                 "population_kl");
    PLAN_REFUSED(
        (s.options.outputs = GRADIENT_STATES | RATECL_OUTPUT_GRADIENT_WEIGHTS, s.options.term_count = 3),
        "outputs", "0xb", "weights", "hebbian");
    GRADIENT_REFUSED(s.gradient.size = 0, "gradient_states.size", "0");
    GRADIENT_REFUSED(s.gradient.element = RATECL_F16, "gradient_states.element", "2", "RATECL_F32");
    GRADIENT_REFUSED(s.gradient.element = RATECL_U8, "gradient_states.element", "3", "RATECL_F32");
    GRADIENT_REFUSED(s.gradient.shape[1] = 4, "gradient_states", "(2, 4, 3)", "(2, 5, 3)");
    GRADIENT_REFUSED(s.gradient.offset = 2, "gradient_states.offset", "2", "multiple");
    /* Elements in the same place: repeated batches, overlapping rows, rows and batches that meet. */
    GRADIENT_REFUSED(set_strides(&s.gradient, 0, 3, 1), "gradient_states.strides", "(0, 3, 1)");
    GRADIENT_REFUSED(set_strides(&s.gradient, 15, 2, 1), "gradient_states.strides", "(15, 2, 1)");
    GRADIENT_REFUSED(set_strides(&s.gradient, 6, 3, 1), "gradient_states.strides", "(6, 3, 1)");
    GRADIENT_REFUSED((set_strides(&s.gradient, -6, 3, 1), s.gradient.offset = 24), "gradient_states.strides",
                     "-6");

    setup s;
    setup_make(&s);
    s.options.outputs = GRADIENT_STATES;
    s.options.gradient_states = &s.gradient;
    ratecl_plan *plan = NULL;
    set_strides(&s.gradient, 3, 6, 1); /* rows of one batch between those of the other */
    ASSERT_OK(ratecl_plan_create(context, &s.options, &plan));
    ratecl_plan_release(plan);
    ratecl_context_release(context);
}
END_TEST

START_TEST(terms)
{
    ratecl_context *context = suite_context("cpu");
    const double not_finite[] = { (double)NAN, (double)INFINITY, -(double)INFINITY };
    for (size_t k = 0; k < COUNT(not_finite); k++) {
        const double bad = not_finite[k];
        for (int term = 0; term < 6; term++)
            PLAN_REFUSED(s.terms[term].weight = bad, "weight", isnan(bad) ? "nan" : "inf", "finite");
        PLAN_REFUSED(s.terms[FIRING_RATE].target = bad, "terms[0].target", isnan(bad) ? "nan" : "inf",
                     "finite");
        PLAN_REFUSED(s.terms[ENTROPY].reg = bad, "terms[4].reg", isnan(bad) ? "nan" : "inf", "finite");
        PLAN_REFUSED(s.terms[ENTROPY].eps = bad, "terms[4].eps", isnan(bad) ? "nan" : "inf", "finite");
        PLAN_REFUSED(s.terms[POPULATION_KL].reg = bad, "terms[5].reg", isnan(bad) ? "nan" : "inf", "finite");
        PLAN_REFUSED(s.terms[POPULATION_KL].var_floor = bad, "var_floor", isnan(bad) ? "nan" : "inf",
                     "finite");
    }
    PLAN_REFUSED(s.terms[3].size = 0, "terms[3].size", "0");
    PLAN_REFUSED(s.terms[2].criterion = (ratecl_criterion)0, "terms[2].criterion", "0");
    PLAN_REFUSED(s.terms[2].criterion = (ratecl_criterion)7, "terms[2].criterion", "7");
    PLAN_REFUSED(s.terms[2].criterion = (ratecl_criterion)-1, "terms[2].criterion", "-1");
    PLAN_REFUSED(s.terms[FIRING_RATE].metric = RATECL_METRIC_SD, "metric", "3", "l1");
    PLAN_REFUSED(s.terms[FIRING_RATE].metric = (ratecl_metric)7, "metric", "7", "l1");
    PLAN_REFUSED(s.terms[FIRING_RATE_DIST].metric = RATECL_METRIC_L1, "metric", "2", "max_ad");
    PLAN_REFUSED(s.terms[FIRING_RATE_DIST].metric = (ratecl_metric)-1, "metric", "-1", "max_ad");
    PLAN_REFUSED(s.terms[FIRING_RATE_DIST].ddof = 3, "ddof", "3", "N = 3");
    PLAN_REFUSED(s.terms[FIRING_RATE_DIST].ddof = INT64_MAX, "ddof", "9223372036854775807", "N = 3");
    PLAN_REFUSED(
        (s.terms[FIRING_RATE_DIST].metric = RATECL_METRIC_MAX_AD, s.terms[FIRING_RATE_DIST].ddof = 4), "ddof",
        "4", "N = 3");
    PLAN_REFUSED(s.terms[STATE_PREDICTION].tau = 0, "tau", "0", "at least 1");
    PLAN_REFUSED(s.terms[STATE_PREDICTION].tau = INT64_MIN, "tau", "-9", "at least 1");
    PLAN_REFUSED(s.terms[STATE_PREDICTION].tau = 5, "tau", "5", "T = 5");
    PLAN_REFUSED(s.terms[STATE_PREDICTION].tau = INT64_MAX, "tau", "9223372036854775807", "T = 5");
    PLAN_REFUSED(s.states.shape[1] = 1, "tau", "1", "T = 1");
    PLAN_REFUSED(s.terms[HEBBIAN].over = (ratecl_over)2, "over", "2", "step");
    PLAN_REFUSED(s.terms[ENTROPY].eps = -DBL_MIN, "eps", "-2.2", "at least 0");
    PLAN_REFUSED(s.terms[POPULATION_KL].symmetric = 2, "symmetric", "2", "true");
    PLAN_REFUSED(s.terms[POPULATION_KL].symmetric = -1, "symmetric", "-1", "true");
    PLAN_REFUSED(s.terms[POPULATION_KL].reduction = (ratecl_reduction)3, "reduction", "3", "none");
    PLAN_REFUSED(s.terms[POPULATION_KL].log = (ratecl_kl_log)2, "log", "2", "sigma");
    PLAN_REFUSED(s.terms[POPULATION_KL].var_floor = -1, "var_floor", "-1", "at least 0");
    PLAN_REFUSED(s.terms[POPULATION_KL].degenerate = (ratecl_degenerate)2, "degenerate", "2", "skip");
    ratecl_context_release(context);
}
END_TEST

/* f64 on a device that lacks it is no argument error. */
START_TEST(missing_fp64)
{
    ratecl_device_info list[SUITE_DEVICES_MAX];
    const size_t count = suite_devices(list);
    for (size_t k = 0; k < count; k++) {
        setup s;
        setup_make(&s);
        s.options.term_count = 1;
        s.options.precision = RATECL_PRECISION_F64;
        ratecl_context *context = suite_context(list[k].id);
        ratecl_plan *plan = NULL;
        if (list[k].fp64)
            ASSERT_OK(ratecl_plan_create(context, &s.options, &plan));
        else
            ASSERT_FAILS(ratecl_plan_create(context, &s.options, &plan), RATECL_ERROR_UNSUPPORTED,
                         "precision", "F64", "expected");
        ratecl_plan_release(plan);
        ratecl_context_release(context);
    }
}
END_TEST

/* ---- Evaluation ---- */

enum { VALUE_COUNT = 6 };
typedef struct buffers {
    float states[2 * 5 * 3 + 1], reference[4 * 3], weights[3 * 3];
    double values[VALUE_COUNT], total;
    int64_t skipped[6];
    ratecl_inputs inputs;
    ratecl_outputs outputs;
} buffers;

static void buffers_make(buffers *made)
{
    memset(made, 0, sizeof *made);
    for (size_t k = 0; k < COUNT(made->states); k++)
        made->states[k] = (float)(1 + k * k % 7);
    for (size_t k = 0; k < COUNT(made->reference); k++)
        made->reference[k] = (float)(1 + k * k % 5);
    for (size_t k = 0; k < COUNT(made->weights); k++)
        made->weights[k] = (float)k - 4;
    memset(made->values, 0x5a, sizeof made->values);
    memset(&made->total, 0x5a, sizeof made->total);
    memset(made->skipped, 0x5a, sizeof made->skipped);
    ratecl_inputs_init(&made->inputs);
    made->inputs.states = made->states;
    made->inputs.reference = made->reference;
    made->inputs.weights = made->weights;
    ratecl_outputs_init(&made->outputs);
    made->outputs.values = made->values;
    made->outputs.value_count = VALUE_COUNT;
    made->outputs.total = &made->total;
    made->outputs.skipped = made->skipped;
    made->outputs.skipped_count = 6;
}

static void assert_unwritten(const buffers *given)
{
    unsigned char pattern[sizeof given->values + sizeof given->skipped];
    memset(pattern, 0x5a, sizeof pattern);
    ck_assert_mem_eq(given->values, pattern, sizeof given->values);
    ck_assert_mem_eq(&given->total, pattern, sizeof given->total);
    ck_assert_mem_eq(given->skipped, pattern, sizeof given->skipped);
}

#define EVALUATION_REFUSED(change, ...)                                                        \
    do {                                                                                       \
        buffers b;                                                                             \
        buffers_make(&b);                                                                      \
        change;                                                                                \
        ASSERT_REFUSED(ratecl_evaluate(plan, &b.inputs, &b.outputs), __VA_ARGS__, "expected"); \
        assert_unwritten(&b);                                                                  \
    } while (0)

static void evaluation_on(const char *device)
{
    ratecl_context *context = suite_context(device);
    setup s;
    setup_make(&s);
    ratecl_plan *plan = NULL;
    ASSERT_OK(ratecl_plan_create(context, &s.options, &plan));
    ratecl_context_release(context);

    EVALUATION_REFUSED(b.inputs.size = 0, "inputs.size", "0");
    EVALUATION_REFUSED(b.outputs.size = 0, "outputs.size", "0");
    EVALUATION_REFUSED(b.inputs.states = NULL, "inputs.states", "NULL");
    EVALUATION_REFUSED(b.inputs.reference = NULL, "inputs.reference", "NULL");
    EVALUATION_REFUSED(b.inputs.weights = NULL, "inputs.weights", "NULL");
    EVALUATION_REFUSED(b.inputs.states = (char *)b.states + 2, "inputs.states", "multiple of 4");
    EVALUATION_REFUSED(b.inputs.states_bytes = 119, "states_bytes", "119", "120");
    EVALUATION_REFUSED(b.inputs.reference_bytes = 47, "reference_bytes", "47", "48");
    EVALUATION_REFUSED(b.inputs.weights_bytes = 1, "weights_bytes", "1", "36");
    EVALUATION_REFUSED(b.outputs.value_count = 5, "value_count", "5", "6");
    EVALUATION_REFUSED(b.outputs.value_count = 0, "value_count", "0", "6");
    EVALUATION_REFUSED(b.outputs.skipped_count = 5, "skipped_count", "5", "6");

    buffers b;
    buffers_make(&b);
    ASSERT_REFUSED(ratecl_evaluate(NULL, &b.inputs, &b.outputs), "plan", "NULL", "expected");
    ASSERT_REFUSED(ratecl_evaluate(plan, NULL, &b.outputs), "inputs", "NULL", "expected");
    ASSERT_REFUSED(ratecl_evaluate(plan, &b.inputs, NULL), "outputs", "NULL", "expected");
    assert_unwritten(&b);

    /* The plan is as good as before, each output may be left out, and exact sizes are enough. */
    b.inputs.states_bytes = 120;
    b.inputs.reference_bytes = 48;
    b.inputs.weights_bytes = 36;
    ASSERT_OK(ratecl_evaluate(plan, &b.inputs, &b.outputs));
    const double total = b.total;
    buffers_make(&b);
    b.outputs.values = NULL;
    b.outputs.skipped = NULL;
    ASSERT_OK(ratecl_evaluate(plan, &b.inputs, &b.outputs));
    ck_assert_double_eq(b.total, total);
    ratecl_plan_release(plan);
}

static float gradients[3][2 * 5 * 3 + 1];

static void take_gradients(buffers *given)
{
    memset(gradients, 0x5a, sizeof gradients);
    given->outputs.gradient_states = gradients[0];
    given->outputs.gradient_reference = gradients[1];
    given->outputs.gradient_weights = gradients[2];
}

#define GRADIENTS_REFUSED(change, ...)                                 \
    do {                                                               \
        EVALUATION_REFUSED((take_gradients(&b), change), __VA_ARGS__); \
        for (size_t k_ = 0; k_ < sizeof gradients; k_++)               \
            ck_assert_int_eq(((const char *)gradients)[k_], 0x5a);     \
    } while (0)

static void gradient_evaluation_on(const char *device)
{
    static const double u[4] = { 1, 2, 3, 4 };
    ratecl_context *context = suite_context(device);
    setup s;
    setup_make(&s);
    s.options.outputs = ALL_GRADIENTS;
    s.terms[POPULATION_KL].reduction = RATECL_REDUCTION_NONE;
    s.options.terms = &s.terms[HEBBIAN]; /* and entropy: five values */
    s.options.term_count = 3;
    ratecl_plan *plan = NULL;
    ASSERT_OK(ratecl_plan_create(context, &s.options, &plan));
    ratecl_context_release(context);

    GRADIENTS_REFUSED(b.outputs.gradient_states = NULL, "outputs.gradient_states", "NULL");
    GRADIENTS_REFUSED(b.outputs.gradient_reference = NULL, "outputs.gradient_reference", "NULL");
    GRADIENTS_REFUSED(b.outputs.gradient_weights = NULL, "outputs.gradient_weights", "NULL");
    GRADIENTS_REFUSED(b.outputs.gradient_states_bytes = 119, "gradient_states_bytes", "119", "120");
    GRADIENTS_REFUSED(b.outputs.gradient_reference_bytes = 47, "gradient_reference_bytes", "47", "48");
    GRADIENTS_REFUSED(b.outputs.gradient_weights_bytes = 1, "gradient_weights_bytes", "1", "36");
    GRADIENTS_REFUSED(b.outputs.gradient_states = (char *)gradients[0] + 2, "gradient_states",
                      "multiple of 4");
    GRADIENTS_REFUSED((b.inputs.cotangents = u, b.inputs.cotangent_count = 4), "cotangent_count", "4", "3");
    GRADIENTS_REFUSED(b.inputs.cotangents = u, "cotangent_count", "0", "3");

    /* What is written goes as far as the array does. */
    buffers b;
    buffers_make(&b);
    take_gradients(&b);
    b.inputs.cotangents = u;
    b.inputs.cotangent_count = 3;
    ASSERT_OK(ratecl_evaluate(plan, &b.inputs, &b.outputs));
    const size_t counts[] = { 2 * 5 * 3, 4 * 3, 3 * 3 };
    for (size_t k = 0; k < COUNT(counts); k++) {
        for (size_t e = 0; e < counts[k]; e++)
            ck_assert(isfinite(gradients[k][e]) && fabsf(gradients[k][e]) < 1e4f); /* 0x5a5a5a5a is 1.5e16 */
        ck_assert_mem_eq(&gradients[k][counts[k]], "\x5a\x5a\x5a\x5a", 4);
    }
    ratecl_plan_release(plan);
}

START_TEST(gradient_evaluation)
{
    ratecl_device_info list[SUITE_DEVICES_MAX];
    const size_t count = suite_devices(list);
    for (size_t k = 0; k < count; k++)
        gradient_evaluation_on(list[k].id);
}
END_TEST

START_TEST(evaluation)
{
    ratecl_device_info list[SUITE_DEVICES_MAX];
    const size_t count = suite_devices(list);
    for (size_t k = 0; k < count; k++)
        evaluation_on(list[k].id);
}
END_TEST

START_TEST(one_number)
{
    ratecl_context *context = suite_context("cpu");
    setup s;
    setup_make(&s);
    buffers b;
    buffers_make(&b);
    double *value = &b.total;
    ASSERT_REFUSED(ratecl_firing_rate_loss(NULL, &s.states, b.states, RATECL_METRIC_L2, 0, value), "context",
                   "NULL");
    ASSERT_REFUSED(ratecl_firing_rate_loss(context, NULL, b.states, RATECL_METRIC_L2, 0, value), "states",
                   "NULL");
    ASSERT_REFUSED(ratecl_firing_rate_loss(context, &s.states, NULL, RATECL_METRIC_L2, 0, value), "states",
                   "NULL");
    ASSERT_REFUSED(ratecl_firing_rate_loss(context, &s.states, b.states, RATECL_METRIC_L2, 0, NULL), "value",
                   "NULL");
    ASSERT_REFUSED(ratecl_firing_rate_loss(context, &s.states, b.states, RATECL_METRIC_SD, 0, value),
                   "metric", "3");
    ASSERT_REFUSED(
        ratecl_firing_rate_loss(context, &s.states, b.states, RATECL_METRIC_L2, (double)NAN, value), "target",
        "nan");
    ASSERT_REFUSED(ratecl_firing_rate_dist_loss(context, &s.states, b.states, RATECL_METRIC_L1, value),
                   "metric", "2");
    ASSERT_REFUSED(ratecl_state_prediction_loss(context, &s.states, b.states, 5, value), "tau", "5", "T = 5");
    ASSERT_REFUSED(ratecl_hebbian_loss(context, &s.states, b.states, NULL, b.weights, value), "weights",
                   "NULL");
    ASSERT_REFUSED(ratecl_hebbian_loss(context, &s.states, b.states, &s.weights, NULL, value), "weights",
                   "NULL");
    ASSERT_REFUSED(ratecl_entropy_loss(context, &s.states, b.states, (double)INFINITY, value), "reg", "inf");
    ASSERT_REFUSED(ratecl_population_kl_loss(context, &s.states, b.states, NULL, b.reference, value),
                   "reference", "NULL");
    ASSERT_REFUSED(ratecl_population_kl_loss(context, &s.states, b.states, &s.reference, NULL, value),
                   "reference", "NULL");
    assert_unwritten(&b);
    ratecl_context_release(context);
}
END_TEST

/* ---- Older callers, messages ---- */

/* Fields that an older caller does not know take their defaults, whatever lies behind the struct. */
START_TEST(older_structs)
{
    ratecl_context *context = suite_context("cpu");
    setup s;
    setup_make(&s);
    buffers b;
    buffers_make(&b);

    ratecl_term old = s.terms[POPULATION_KL];
    memset((char *)&old + offsetof(ratecl_term, reduction), 0x5a,
           sizeof old - offsetof(ratecl_term, reduction));
    old.size = offsetof(ratecl_term, reduction);
    s.options.terms = &old;
    s.options.term_count = 1;
    s.states.offset = 0x5a5a;
    s.states.size = offsetof(ratecl_layout, offset);
    b.inputs.weights = b.states + 1;
    b.inputs.size = offsetof(ratecl_inputs, weights);
    b.outputs.skipped = untouched;
    b.outputs.size = offsetof(ratecl_outputs, skipped);

    s.options.gradient_states = untouched;
    s.options.accumulate = 0x5a5a5a5a;
    s.options.size = offsetof(ratecl_plan_options, gradient_states);
    ratecl_plan *plan = NULL;
    ASSERT_OK(ratecl_plan_create(context, &s.options, &plan));
    ck_assert_uint_eq(ratecl_plan_value_count(plan), 1);
    ASSERT_OK(ratecl_evaluate(plan, &b.inputs, &b.outputs));
    ratecl_plan_release(plan);

    double value;
    s.states = (ratecl_layout)RATECL_LAYOUT_INIT(RATECL_F32, 2, 5, 3);
    ASSERT_OK(ratecl_population_kl_loss(context, &s.states, b.states, &s.reference, b.reference, &value));
    ck_assert_double_eq(b.values[0], value);

    ratecl_device_info info;
    memset(&info, 0x5a, sizeof info);
    info.size = offsetof(ratecl_device_info, name);
    ASSERT_OK(ratecl_context_device(context, &info));
    ck_assert_str_eq(info.id, "cpu");
    ck_assert_int_eq(info.name[0], 0x5a);
    ratecl_context_release(context);
}
END_TEST

/* Terms of an older caller lie closer together. */
START_TEST(older_term_arrays)
{
    enum { OLD = offsetof(ratecl_term, over) };
    ratecl_context *context = suite_context("cpu");
    setup s;
    setup_make(&s);
    buffers b;
    buffers_make(&b);
    union {
        ratecl_term first;
        unsigned char bytes[2 * OLD + sizeof(ratecl_term)];
    } old;
    memset(&old, 0x5a, sizeof old);
    for (size_t k = 0; k < 2; k++) {
        s.terms[k].size = OLD;
        memcpy(old.bytes + k * OLD, &s.terms[k], OLD);
    }
    s.options.terms = &old.first;
    s.options.term_count = 2;
    ratecl_plan *plan = NULL;
    ASSERT_OK(ratecl_plan_create(context, &s.options, &plan));
    ck_assert_uint_eq(ratecl_plan_value_count(plan), 2);
    ASSERT_OK(ratecl_evaluate(plan, &b.inputs, &b.outputs));
    double second;
    ASSERT_OK(ratecl_firing_rate_dist_loss(context, &s.states, b.states, RATECL_METRIC_SD, &second));
    ck_assert_double_eq(b.values[1], second);
    ratecl_plan_release(plan);
    ratecl_context_release(context);
}
END_TEST

/* A newer caller may set nothing that this library does not know. */
START_TEST(newer_structs)
{
    ratecl_context *context = suite_context("cpu");
    setup s;
    setup_make(&s);
    struct {
        ratecl_layout layout;
        int64_t field;
    } newer = { s.states, 0 };
    newer.layout.size = sizeof newer;
    s.options.states = &newer.layout;
    ratecl_plan *plan = NULL;
    ASSERT_OK(ratecl_plan_create(context, &s.options, &plan));
    ratecl_plan_release(plan);
    newer.field = 1;
    ASSERT_REFUSED(ratecl_plan_create(context, &s.options, &plan), "states.size", "expected");
    ratecl_context_release(context);
}
END_TEST

/* Gives NULL when this thread saw only its own message. */
static void *fail_elsewhere(void *unused)
{
    (void)unused;
    ratecl_term term;
    if (ratecl_last_error()[0] != '\0')
        return "a fresh thread has a message";
    if (ratecl_term_parse(&term, "elsewhere") == RATECL_OK)
        return "no refusal";
    return strstr(ratecl_last_error(), "elsewhere") ? NULL : "another thread's message";
}

START_TEST(messages_are_per_thread)
{
    ratecl_term term;
    pthread_t thread;
    void *complaint = NULL;
    ASSERT_REFUSED(ratecl_term_parse(&term, "here"), "here");
    ck_assert_int_eq(pthread_create(&thread, NULL, fail_elsewhere, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, &complaint), 0);
    ck_assert_msg(!complaint, "%s", (const char *)complaint);
    ck_assert_ptr_nonnull(strstr(ratecl_last_error(), "here"));
}
END_TEST

START_TEST(init_functions_allow_null)
{
    ratecl_context_options_init(NULL);
    ratecl_layout_init(NULL, RATECL_F32, 1, 1, 1);
    ratecl_term_init(NULL, RATECL_ENTROPY);
    ratecl_plan_options_init(NULL);
    ratecl_inputs_init(NULL);
    ratecl_outputs_init(NULL);

    const ratecl_plan_options by_macro = RATECL_PLAN_OPTIONS_INIT;
    ratecl_plan_options by_function;
    ratecl_plan_options_init(&by_function);
    ck_assert_uint_eq(by_function.size, by_macro.size);
    ck_assert_uint_eq(by_function.outputs, RATECL_OUTPUT_VALUES);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        contexts,
        log_callback,
        devices,
        device_choice,
        layouts,
        plan_options,
        gradient_options,
        terms,
        missing_fp64,
        evaluation,
        gradient_evaluation,
        one_number,
        older_structs,
        older_term_arrays,
        newer_structs,
        messages_are_per_thread,
        init_functions_allow_null,
    };
    return suite_run("arguments", tests, COUNT(tests));
}

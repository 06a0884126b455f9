/* SPDX-License-Identifier: Apache-2.0 */
/* Host memory on devices that do not share it, which RATECL_HOST_MEMORY=staged makes of all OpenCL devices:
 * arrays copied whole, in one chunk or in many, by one thread or by several; and in pieces. */
#define _GNU_SOURCE /* RTLD_NEXT */
#include "gradient_check.h"
#include "suite_opencl.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- The library's buffers ---- */

static size_t largest; /* that evaluations have made since this was 0: plans make theirs before */
static bool evaluating;

/* The library finds this function before OpenCL's. */
cl_mem CL_API_CALL clCreateBuffer(cl_context context, cl_mem_flags flags, size_t bytes, void *memory,
                                  cl_int *code)
{
    __typeof__(&clCreateBuffer) next;
    *(void **)(void *)&next = dlsym(RTLD_NEXT, "clCreateBuffer");
    if (evaluating && bytes > largest)
        largest = bytes;
    return next(context, flags, bytes, memory, code);
}

static gradients make(const array_spec *states, const char *const *texts, size_t count)
{
    array_spec specs[INPUT_COUNT];
    problem given;
    gradients made;
    problem_specs(specs, states);
    problem_make(&given, specs, texts, count);
    gradients_take(&made, &given);
    return made;
}

/* Values and gradients, written and added, are the oracle's, and the gaps between a gradient's elements stay
 * as they are, whatever the limit. */
static void check(const gradients *of, array_order order, const uint64_t *limits, size_t limit_count)
{
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t count = suite_devices(devices);
    for (size_t d = 0; d < count; d++) {
        if (devices[d].kind == RATECL_DEVICE_OPENMP)
            continue;
        for (size_t k = 0; k < limit_count; k++) {
            ratecl_context *context = suite_context_with(devices[d].id, 0, limits[k]);
            for (int accumulates = 0; accumulates < 2; accumulates++) {
                const gradient_options how = { .accumulates = accumulates, .order = order };
                gradients_check(of, context, devices[d].id, 0, of->given.term_count, &how);
            }
            ratecl_context_release(context);
        }
    }
}

START_TEST(layouts)
{
    static const array_order orders[] = { ORDER_C,           ORDER_PADDED,
                                          ORDER_TIME_FIRST,  ORDER_NEURON_FIRST,
                                          ORDER_EVERY_OTHER, ORDER_REVERSED };
    /* Nothing cut; chunks of 1 KB; chunks of a row, which the arrays are too large for. */
    static const uint64_t limits[] = { 0, 4096, 64 };
    for (size_t k = 0; k < COUNT(orders); k++) {
        const array_spec states = {
            .shape = { 3, 7, 11 }, .kind = ARRAY_RATES, .order = orders[k], .seed = 103
        };
        gradients of = make(&states, NULL, 0);
        check(&of, orders[k], limits, suite_is_small() ? 2 : COUNT(limits));
        gradients_free(&of);
    }
}
END_TEST

/* Large enough for several threads, in several chunks. */
START_TEST(threads_and_chunks)
{
    static const char *const texts[] = { "firing_rate", "state_prediction:tau=2", "entropy",
                                         "population_kl" };
    static const array_order orders[] = { ORDER_C, ORDER_PADDED, ORDER_TIME_FIRST };
    static const uint64_t limits[] = { 2 << 20 };
    for (size_t k = 0; k < COUNT(orders); k++) {
        const array_spec states = {
            .shape = { 2, 600, 257 }, .kind = ARRAY_RATES, .order = orders[k], .seed = 107 + k
        };
        gradients of = make(&states, texts, COUNT(texts));
        check(&of, orders[k], limits, COUNT(limits));
        gradients_free(&of);
    }
}
END_TEST

/* ---- Lags that do not fit into a buffer together with the rows between ---- */

static ratecl_status evaluate_watched(ratecl_plan *plan, const ratecl_inputs *inputs,
                                      const ratecl_outputs *outputs, const void *argument)
{
    (void)argument;
    evaluating = true;
    const ratecl_status status = ratecl_evaluate(plan, inputs, outputs);
    evaluating = false;
    return status;
}

typedef struct lag_case {
    int64_t shape[3];
    const char *texts[5];
    size_t count;
    uint64_t limit; /* bytes: less than the rows from the first to the last one that a block reads */
} lag_case;

/* The longest lag, all but the longest, several in one plan with short ones, and across batches. */
static const lag_case lag_cases[] = {
    { { 1, 6000, 5 }, { "state_prediction:tau=5999" }, 1, 48000 },
    { { 2, 5000, 3 },
      { "firing_rate", "state_prediction:tau=4500", "state_prediction:tau=1", "entropy" },
      4,
      48000 },
    { { 3, 3001, 4 },
      { "state_prediction:tau=3000", "state_prediction:tau=2", "state_prediction:tau=2000", "population_kl",
        "entropy:eps=1e-3" },
      5,
      64000 },
};

static void check_lags(const lag_case *given, array_order order, bool staged)
{
    const array_spec states = { .shape = { given->shape[0], given->shape[1], given->shape[2] },
                                .kind = ARRAY_RATES,
                                .order = order,
                                .seed = 109 };
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t count = suite_devices(devices);
    gradients of = make(&states, given->texts, given->count);
    setenv("RATECL_HOST_MEMORY", staged ? "staged" : "", 1);
    for (size_t d = 0; d < count; d++) {
        if (devices[d].kind == RATECL_DEVICE_OPENMP)
            continue;
        ratecl_context *context = suite_context_with(devices[d].id, 0, given->limit);
        const gradient_options how = { .order = order, .evaluate = evaluate_watched };
        largest = 0;
        gradients_check(&of, context, devices[d].id, 0, of.given.term_count, &how);
        ck_assert_msg(largest > 0 && largest < of.given.inputs[STATES].bytes,
                      "%s: a buffer of %zu bytes, limit %zu", devices[d].id, largest, (size_t)given->limit);
        outcome got = problem_evaluate(&of.given, context, 0, of.given.term_count); /* values alone */
        problem_check(&of.given, &got, 0, devices[d].id);
        outcome_free(&got);
        ratecl_context_release(context);
    }
    gradients_free(&of);
    setenv("RATECL_HOST_MEMORY", "staged", 1);
}

START_TEST(long_lags)
{
    static const array_order orders[] = { ORDER_C, ORDER_TIME_FIRST, ORDER_NEURON_FIRST, ORDER_REVERSED };
    for (size_t k = 0; k < COUNT(lag_cases); k++)
        for (size_t o = 0; o < (suite_is_small() ? 2 : COUNT(orders)); o++)
            for (int staged = 0; staged < 2; staged++)
                check_lags(&lag_cases[k], orders[o], staged);
}
END_TEST

int main(void)
{
    setenv("RATECL_HOST_MEMORY", "staged", 1);
    const TTest *const tests[] = { layouts, threads_and_chunks, long_lags };
    return suite_run("staged", tests, COUNT(tests));
}

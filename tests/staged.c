/* SPDX-License-Identifier: Apache-2.0 */
/* Host memory on devices that do not share it, which RATECL_HOST_MEMORY=staged makes of all OpenCL devices:
 * arrays copied whole, in one chunk or in many, by one thread or by several; and in pieces. */
#include "gradient_check.h"

#include <stdio.h>
#include <stdlib.h>

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

int main(void)
{
    setenv("RATECL_HOST_MEMORY", "staged", 1);
    const TTest *const tests[] = { layouts, threads_and_chunks };
    return suite_run("staged", tests, COUNT(tests));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* All terms in one plan, for a simulator that looks for uninitialised reads: Oclgrind 21.10 takes memory that
 * was released and allocated again for uninitialised, so that it can judge only a process's first plan.
 * RATECL_TEST_CASE picks one case; without it, all are run. */
#include <stdio.h>
#include <stdlib.h>

#include "gradient_check.h"

enum { VALUES = 2 * ELEMENT_COUNT, CASES = VALUES + ELEMENT_COUNT }; /* the last ones with gradients */

static void check_values(const problem *given, ratecl_context *context, const char *device)
{
    outcome got = problem_evaluate(given, context, 0, given->term_count);
    problem_check(given, &got, 0, device);
    outcome_free(&got);
}

/* Of those terms that have finite ones. */
static void check_gradients(const gradients *of, ratecl_context *context, const char *device)
{
    const gradient_options how = { .element = RATECL_F32 };
    gradients_check(of, context, device, 0, of->given.term_count, &how);
}

static void run_case(int number)
{
    static const array_order orders[CASES] = {
        ORDER_C,          ORDER_PADDED,  ORDER_NEURON_FIRST,  ORDER_OFFSET,
        ORDER_TIME_FIRST, ORDER_FORTRAN, ORDER_TIME_REVERSED, ORDER_C,
        ORDER_C,          ORDER_C,       ORDER_NEURON_FIRST,  ORDER_C
    };
    const array_spec states = { .shape = { 2, 5, 3 + number % 3 },
                                .kind = ARRAY_RATES,
                                .element = (ratecl_element)(number % ELEMENT_COUNT),
                                .order = orders[number],
                                .precision = (ratecl_precision)(number / ELEMENT_COUNT % 2),
                                .seed = 40 + (uint64_t)number };
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t device_count = suite_devices(devices);
    array_spec specs[INPUT_COUNT];
    problem_specs(specs, &states);
    problem given;
    problem_make(&given, specs, NULL, 0);
    gradients of;
    if (number >= VALUES)
        gradients_take(&of, &given);
    for (size_t d = 0; d < device_count; d++) {
        if (!suite_can(&devices[d], states.precision, states.element)) {
            printf("%s: case %d skipped: no fp64\n", devices[d].id, number);
            continue;
        }
        ratecl_context *context = suite_context(devices[d].id);
        if (number < VALUES)
            check_values(&given, context, devices[d].id);
        else
            check_gradients(&of, context, devices[d].id);
        ratecl_context_release(context);
    }
    if (number >= VALUES)
        gradients_free(&of);
    else
        problem_free(&given);
}

START_TEST(one_plan)
{
    const char *text = getenv("RATECL_TEST_CASE");
    const int chosen = text ? atoi(text) : -1;
    ck_assert_msg(chosen < CASES, "RATECL_TEST_CASE is %d: expected less than %d", chosen, CASES);
    for (int number = 0; number < CASES; number++)
        if (chosen < 0 || chosen == number)
            run_case(number);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { one_plan };
    return suite_run("single", tests, COUNT(tests));
}

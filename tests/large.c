/* SPDX-License-Identifier: Apache-2.0 */
/* More than 2^32 elements: values and a gradient against closed forms. Not of the default suite, since it
 * takes minutes where memory is slow: `meson test --benchmark large`.
 *
 * A period of rows is mapped again and again, so that 4.3 GB of states and 17 GB of gradient take a few
 * hundred MB. The last period has pages and contents of its own: an index that wraps at 2^32 reads or writes
 * the wrong one. */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "suite.h"

enum { B = 5, REPEATS = 14, PERIOD = 60000, N = 1024 }; /* periods of a batch; rows of a period */
enum { LAST_PERIOD = B * REPEATS - 1 };
static const int64_t T = (int64_t)REPEATS * PERIOD, R = (int64_t)B * REPEATS * PERIOD;

/* ---- Memory ---- */

/* `bytes` a period: the same pages for all but the last one, which are its own. */
static void *map_periods(size_t bytes)
{
    const int file = memfd_create("periods", 0);
    ck_assert_int_ge(file, 0);
    ck_assert_int_eq(ftruncate(file, (off_t)(2 * bytes)), 0);
    char *memory = mmap(NULL, bytes * B * REPEATS, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(memory, MAP_FAILED);
    for (int k = 0; k <= LAST_PERIOD; k++) {
        const off_t from = k == LAST_PERIOD ? (off_t)bytes : 0;
        ck_assert_ptr_ne(mmap(memory + (size_t)k * bytes, bytes, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_FIXED, file, from),
                         MAP_FAILED);
    }
    close(file);
    return memory;
}

static unsigned char *map_states(void)
{
    unsigned char *states = map_periods((size_t)PERIOD * N);
    unsigned char *const periods[] = { states, states + (size_t)LAST_PERIOD * PERIOD * N };
    unsigned state = 1;
    for (int which = 0; which < 2; which++)
        for (size_t k = 0; k < (size_t)PERIOD * N; k++) {
            state = state * 1664525 + 1013904223;
            periods[which][k] = (unsigned char)((state >> 24) % (which ? 9 : 5));
        }
    return states;
}

/* ---- What is expected ---- */

/* Whole numbers, which doubles hold exactly. */
typedef struct sums {
    double column[N];    /* of S */
    double squared_step; /* of (S[t] - S[t+1])^2 */
} sums;

/* Add `times` periods that begin at `from`, each followed by the row `next`; NULL: by none. */
static void add_periods(sums *to, const unsigned char *from, const unsigned char *next, double times)
{
    for (int64_t t = 0; t < PERIOD; t++) {
        const unsigned char *row = from + t * N, *after = t + 1 < PERIOD ? row + N : next;
        int64_t squared = 0;
        for (int i = 0; i < N; i++) {
            to->column[i] += times * row[i];
            const int d = after ? row[i] - after[i] : 0;
            squared += (int64_t)d * d;
        }
        to->squared_step += times * (double)squared;
    }
}

static sums *sums_of(const unsigned char *states)
{
    const unsigned char *last = states + (size_t)LAST_PERIOD * PERIOD * N;
    sums *made = suite_allocate(sizeof *made);
    add_periods(made, states, states, B * (REPEATS - 1) - 1); /* followed by one like them, */
    add_periods(made, states, last, 1);                       /* by the last one, */
    add_periods(made, states, NULL, B - 1);                   /* by the end of the batch */
    add_periods(made, last, NULL, 1);
    return made;
}

enum { TARGET = 1, TERMS = 2 };

static void expect_values(const sums *of, const double values[TERMS])
{
    double rate = 0;
    for (int i = 0; i < N; i++) {
        const double d = of->column[i] / (double)R - TARGET;
        rate += d * d / N;
    }
    const double step = of->squared_step / ((double)B * (double)(T - 1) * N);
    ck_assert_double_eq_tol(values[0], rate, 2e-6 * 4);
    ck_assert_double_eq_tol(values[1], step, 1e-6 * step);
}

/* Of rows within the periods that share their pages, and at both ends of the last one. */
static void expect_gradient(const sums *of, const unsigned char *states, const float *gradient)
{
    const int64_t rows[] = { 1,     PERIOD / 2, R - T + 1, R - PERIOD, R - PERIOD + 1, R - PERIOD / 2,
                             R - 2, R - 1 };
    const double factor = 2 / ((double)B * (double)(T - 1) * N);
    double error = 0, norm = 0;
    for (size_t k = 0; k < COUNT(rows); k++)
        for (int i = 0; i < N; i++) {
            const unsigned char *at = states + rows[k] * N + i;
            double g = 2 * (of->column[i] / (double)R - TARGET) / N / (double)R;
            if (rows[k] % T != 0)
                g += factor * (at[0] - *(at - N));
            if (rows[k] % T != T - 1)
                g += factor * (at[0] - at[N]);
            error += pow(gradient[rows[k] * N + i] - g, 2);
            norm += g * g;
        }
    ck_assert_double_le(sqrt(error), 1e-5 * sqrt(norm));
}

START_TEST(large)
{
    const ratecl_layout layout = RATECL_LAYOUT_INIT(RATECL_U8, B, T, N);
    ck_assert_uint_gt(ratecl_layout_bytes(&layout), UINT32_MAX);
    ck_assert_int_eq((int64_t)PERIOD * N % sysconf(_SC_PAGESIZE), 0);
    unsigned char *states = map_states();
    float *gradient = map_periods((size_t)PERIOD * N * sizeof *gradient);
    sums *expected = sums_of(states);

    ratecl_term terms[TERMS];
    ratecl_term_init(&terms[0], RATECL_FIRING_RATE);
    ratecl_term_init(&terms[1], RATECL_STATE_PREDICTION);
    terms[0].target = TARGET;
    ratecl_plan_options options = RATECL_PLAN_OPTIONS_INIT;
    options.states = &layout;
    options.terms = terms;
    options.term_count = TERMS;
    options.outputs = RATECL_OUTPUT_VALUES | RATECL_OUTPUT_GRADIENT_STATES;
    ratecl_inputs inputs = RATECL_INPUTS_INIT;
    inputs.states = states;
    double values[TERMS];
    ratecl_outputs outputs = RATECL_OUTPUTS_INIT;
    outputs.values = values;
    outputs.value_count = TERMS;
    outputs.gradient_states = gradient;

    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t count = suite_devices(devices);
    for (size_t d = 0; d < count; d++) {
        ratecl_context *context = suite_context(devices[d].id);
        ratecl_plan *plan = NULL;
        memset(gradient, 0, (size_t)PERIOD * N * sizeof *gradient);
        memset(gradient + (R - PERIOD) * N, 0, (size_t)PERIOD * N * sizeof *gradient);
        ASSERT_OK(ratecl_plan_create(context, &options, &plan));
        ASSERT_OK(ratecl_evaluate(plan, &inputs, &outputs));
        expect_values(expected, values);
        expect_gradient(expected, states, gradient);
        ratecl_plan_release(plan);
        ratecl_context_release(context);
    }
    free(expected);
    munmap(states, (size_t)R * N);
    munmap(gradient, (size_t)R * N * sizeof *gradient);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { large };
    return suite_run("large", tests, COUNT(tests));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Every criterion and option, element type, layout, shape and precision on every device, against the
 * oracle. */
#include "problem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The elements and precisions that a device lacks are counted, named and left out. */
typedef struct bench {
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    ratecl_context *contexts[SUITE_DEVICES_MAX];
    size_t skipped[SUITE_DEVICES_MAX];
    size_t device_count, problem_count;
} bench;

static bench *bench_open(void)
{
    bench *made = suite_allocate(sizeof *made);
    made->device_count = suite_devices(made->devices);
    for (size_t d = 0; d < made->device_count; d++)
        made->contexts[d] = suite_context(made->devices[d].id);
    return made;
}

static void bench_close(bench *opened, const char *what)
{
    ck_assert_uint_gt(opened->problem_count, 0);
    for (size_t d = 0; d < opened->device_count; d++) {
        printf("%s: %s (%s): %zu evaluated, %zu skipped for missing fp64\n", what, opened->devices[d].id,
               opened->devices[d].name, opened->problem_count - opened->skipped[d], opened->skipped[d]);
        ratecl_context_release(opened->contexts[d]);
    }
    free(opened);
}

/* All terms in one plan; then `singles` of them, spread over the list, in plans of their own. */
static void compare(const problem *given, ratecl_context *context, const char *device, size_t singles)
{
    outcome fused = problem_evaluate(given, context, 0, given->term_count);
    problem_check(given, &fused, 0, device);
    for (size_t k = 0; k < singles; k++) {
        const size_t term = k * given->term_count / singles;
        outcome single = problem_evaluate(given, context, term, 1);
        problem_check(given, &single, term, device);
        for (size_t v = 0; v < single.value_count; v++) {
            const double together = fused.values[given->first[term] + v], alone = single.values[v];
            ck_assert_msg(!isfinite(alone) ||
                              fabs(together - alone) <= given->tolerances[given->first[term] + v],
                          "%s: %s: %s: %.17g fused, %.17g alone", device, given->name, given->texts[term],
                          together, alone);
        }
        outcome_free(&single);
    }
    outcome_free(&fused);
}

/* Compare terms of states in f32, which every device can have, on all devices. */
static void compare_everywhere(bench *opened, const array_spec *states, const char *const *texts,
                               size_t count, size_t singles)
{
    array_spec specs[INPUT_COUNT];
    problem_specs(specs, states);
    problem given;
    problem_make(&given, specs, texts, count);
    opened->problem_count++;
    for (size_t d = 0; d < opened->device_count; d++)
        compare(&given, opened->contexts[d], opened->devices[d].id, singles);
    problem_free(&given);
}

static void run(bench *opened, const array_spec specs[INPUT_COUNT], size_t singles)
{
    problem given;
    problem_make(&given, specs, NULL, 0);
    opened->problem_count++;
    for (size_t d = 0; d < opened->device_count; d++) {
        bool can = true;
        for (int k = 0; k < INPUT_COUNT; k++)
            can = can && suite_can(&opened->devices[d], given.precision, specs[k].element);
        if (can)
            compare(&given, opened->contexts[d], opened->devices[d].id, singles);
        else
            opened->skipped[d]++;
    }
    problem_free(&given);
}

static void run_states(bench *opened, array_spec states, size_t singles)
{
    array_spec specs[INPUT_COUNT];
    problem_specs(specs, &states);
    run(opened, specs, singles);
}

/* Each of 1, 2, 3, 7, 31, 32, 33, 64, 127, 257 and 1000 on each axis, and more neurons than a tile of the CPU
 * path; the small ones come first. */
static const int64_t shapes[][3] = {
    { 1, 1, 1 },    { 1, 2, 3 },    { 2, 1, 7 },    { 2, 7, 31 },     { 3, 3, 2 },     { 7, 2, 1 },
    { 1, 1, 7 },    { 1, 3, 31 },   { 7, 1, 32 },   { 31, 1, 1 },     { 1, 31, 33 },   { 2, 32, 7 },
    { 3, 33, 1 },   { 1, 64, 64 },  { 2, 7, 127 },  { 1, 127, 3 },    { 1, 3, 257 },   { 33, 3, 31 },
    { 1, 257, 32 }, { 2, 257, 7 },  { 1, 1000, 2 }, { 1000, 1, 3 },   { 1, 33, 1000 }, { 3, 3, 1000 },
    { 64, 64, 7 },  { 2, 127, 33 }, { 31, 7, 64 },  { 1, 1000, 127 }, { 257, 3, 31 },  { 127, 31, 3 },
    { 32, 32, 32 }, { 7, 33, 127 }, { 1, 1, 1000 }, { 1000, 3, 1 },   { 2, 64, 257 },  { 1, 257, 1000 },
    { 2, 9, 1100 },
};
enum { SMALL_SHAPES = 5 };

static const ratecl_precision precisions[] = { RATECL_PRECISION_F32, RATECL_PRECISION_F64 };

/* Kind and layout rotate, so that each meets many shapes. A few terms are planned alone too. */
START_TEST(every_shape)
{
    bench *opened = bench_open();
    const size_t count = suite_is_small() ? SMALL_SHAPES : COUNT(shapes);
    for (size_t k = 0; k < count; k++)
        for (int element = 0; element < ELEMENT_COUNT; element++)
            for (size_t p = 0; p < COUNT(precisions); p++) {
                const size_t turn = 4 * k + (size_t)element + 3 * p;
                const array_spec states = { .shape = { shapes[k][0], shapes[k][1], shapes[k][2] },
                                            .kind = (array_kind)(turn % ARRAY_KIND_COUNT),
                                            .element = (ratecl_element)element,
                                            .order = (array_order)(turn % ORDER_COUNT),
                                            .precision = precisions[p],
                                            .seed = 100 * k + turn };
                const bool has_singles = element == RATECL_F32 && p == 0 && !suite_is_small();
                run_states(opened, states, has_singles ? 3 : 0);
            }
    bench_close(opened, "shapes");
}
END_TEST

/* Larger than a tile and a block in every direction: f32 with neurons and with time side by side, and another
 * element in another layout. */
START_TEST(wide_shapes)
{
    static const array_order others[] = { ORDER_TIME_FIRST, ORDER_PADDED, ORDER_OFFSET, ORDER_FORTRAN };
    static const ratecl_element elements[] = { RATECL_U8, RATECL_F16, RATECL_F32, RATECL_F64 };
    if (!suite_is_wide())
        return;
    bench *opened = bench_open();
    for (size_t k = 0; k < SUITE_WIDE_SHAPES; k++)
        for (size_t turn = 0; turn < 3; turn++) {
            const int64_t *shape = suite_wide_shapes[k];
            const array_spec states = { .shape = { shape[0], shape[1], shape[2] },
                                        .kind = ARRAY_RATES,
                                        .element = turn < 2 ? RATECL_F32 : elements[k],
                                        .order = turn == 0   ? ORDER_C
                                                 : turn == 1 ? ORDER_NEURON_FIRST
                                                             : others[k],
                                        .precision = precisions[turn == 2 && k % 2],
                                        .seed = 300 + 3 * k + turn };
            run_states(opened, states, turn < 2 && k % 2 == 0 ? 6 : 0);
        }
    bench_close(opened, "wide shapes");
}
END_TEST

START_TEST(every_layout)
{
    bench *opened = bench_open();
    for (int order = 0; order < ORDER_COUNT; order++)
        for (int element = 0; element < ELEMENT_COUNT; element++)
            for (size_t p = 0; p < COUNT(precisions); p++) {
                if (suite_is_small() && (order + element) % ELEMENT_COUNT != 0)
                    continue;
                array_spec states = { .shape = { 2, 33, 31 },
                                      .kind = ARRAY_RATES,
                                      .element = (ratecl_element)element,
                                      .order = (array_order)order,
                                      .precision = precisions[p],
                                      .seed = 7 };
                if (suite_is_small())
                    states.shape[1] = states.shape[2] = 5;
                run_states(opened, states, 0);
            }
    bench_close(opened, "layouts");
}
END_TEST

START_TEST(every_kind)
{
    bench *opened = bench_open();
    for (int kind = 0; kind < ARRAY_KIND_COUNT; kind++)
        for (int element = 0; element < ELEMENT_COUNT; element++)
            for (size_t p = 0; p < COUNT(precisions); p++) {
                if (suite_is_small() && (kind + element) % ELEMENT_COUNT != 0)
                    continue;
                array_spec states = { .shape = { 3, 64, 33 },
                                      .kind = (array_kind)kind,
                                      .element = (ratecl_element)element,
                                      .precision = precisions[p],
                                      .seed = 11 };
                if (suite_is_small())
                    states.shape[1] = states.shape[2] = 5;
                run_states(opened, states, 0);
            }
    bench_close(opened, "kinds");
}
END_TEST

/* States, reference and weights each of another element type and layout. */
START_TEST(mixed_inputs)
{
    bench *opened = bench_open();
    for (int turn = 0; turn < ELEMENT_COUNT; turn++) {
        const array_spec states = { .shape = { 2, 31, 7 },
                                    .kind = ARRAY_SPIKES,
                                    .element = (ratecl_element)turn,
                                    .order = ORDER_TIME_FIRST,
                                    .seed = 13 };
        array_spec specs[INPUT_COUNT];
        problem_specs(specs, &states);
        specs[REFERENCE].element = (ratecl_element)((turn + 1) % ELEMENT_COUNT);
        specs[REFERENCE].order = ORDER_FORTRAN;
        specs[WEIGHTS].element = (ratecl_element)((turn + 2) % ELEMENT_COUNT);
        specs[WEIGHTS].order = (array_order)(ORDER_OFFSET + turn);
        run(opened, specs, 0);
    }
    bench_close(opened, "mixed inputs");
}
END_TEST

/* Lags of their own programs: tau near T, several at once, a tau that occurs twice. */
START_TEST(long_lags)
{
    static const char *const texts[] = { "state_prediction:tau=32", "state_prediction:tau=31",
                                         "state_prediction:tau=17", "state_prediction:tau=31" };
    bench *opened = bench_open();
    for (int64_t B = 1; B <= 3; B += 2) {
        const array_spec states = { .shape = { B, 33, 31 }, .kind = ARRAY_RATES, .seed = 17 };
        compare_everywhere(opened, &states, texts, COUNT(texts), suite_is_small() ? 1 : 2);
    }
    bench_close(opened, "long lags");
}
END_TEST

/* A long constant recording: a naive f32 sum would be off by R / 3 roundings. */
START_TEST(many_rows)
{
    static const char *const texts[] = { "firing_rate:target=0.05", "firing_rate_dist:metric=max_ad",
                                         "state_prediction", "entropy", "population_kl:var_floor=0.01" };
    if (suite_is_small())
        return;
    bench *opened = bench_open();
    static const array_kind many[] = { ARRAY_CONSTANT, ARRAY_HUGE_MEAN, ARRAY_OUTLIER };
    for (size_t k = 0; k < COUNT(many); k++) {
        const array_spec states = { .shape = { 10, 30001, 3 }, .kind = many[k], .seed = 19 };
        compare_everywhere(opened, &states, texts, COUNT(texts), 0);
    }
    bench_close(opened, "many rows");
}
END_TEST

/* Quotients do not depend on the unit of the states, nor on the scale of other neurons. */
START_TEST(every_scale)
{
    static const char *const texts[] = {
        "firing_rate:metric=l1",
        "firing_rate_dist",
        "firing_rate_dist:metric=cv",
        "firing_rate_dist:metric=cv,ddof=2",
        "firing_rate_dist:metric=mean_ad",
        "firing_rate_dist:metric=max_ad",
        "population_kl:reg=0",
        "population_kl:reg=0,symmetric=false,reduction=sum",
        "population_kl:reg=0,symmetric=false,log=sigma",
        "population_kl:reg=0,reduction=none",
        "population_kl:reg=0,symmetric=false,reduction=none,degenerate=skip",
    };
    bench *opened = bench_open();
    static const array_kind kinds[] = { ARRAY_RATES, ARRAY_HUGE_MEAN, ARRAY_SILENT_NEURONS, ARRAY_VOLTAGE };
    for (size_t kind = 0; kind < (suite_is_small() ? 1 : COUNT(kinds)); kind++)
        for (size_t k = 0; k < PROBLEM_SCALES; k++)
            for (size_t p = 0; p < COUNT(precisions); p++) {
                array_spec states = { .shape = { 2, 9, 5 },
                                      .kind = kinds[kind],
                                      .element = k % 3 == 2 ? RATECL_F64 : RATECL_F32,
                                      .order = (array_order)(k % ORDER_COUNT),
                                      .precision = precisions[p],
                                      .seed = 500 + k };
                if (suite_is_wide() && kind == 0 && k % 5 == 0) { /* several blocks */
                    states.shape[1] = 601;
                    states.shape[2] = 70;
                }
                array_spec specs[INPUT_COUNT];
                problem_scaled_specs(specs, &states, &problem_scales[k]);
                problem given;
                problem_make(&given, specs, texts, COUNT(texts));
                opened->problem_count++;
                for (size_t d = 0; d < opened->device_count; d++)
                    if (suite_can(&opened->devices[d], precisions[p], states.element))
                        compare(&given, opened->contexts[d], opened->devices[d].id, suite_is_small() ? 1 : 4);
                    else
                        opened->skipped[d]++;
                problem_free(&given);
            }
    bench_close(opened, "scales");
}
END_TEST

/* Parameters below f32's range, of which the one is felt only in f64, and the other as its root. */
START_TEST(tiny_parameters)
{
    static const char *const texts[] = { "entropy:reg=0,eps=1e-46", "entropy:eps=1e-30", "entropy",
                                         "population_kl:reg=0,var_floor=1e-46",
                                         "population_kl:symmetric=false,reg=0,var_floor=1e-46" };
    static const array_kind kinds[] = { ARRAY_SPIKES, ARRAY_SILENT_ROWS, ARRAY_SILENT_NEURONS };
    bench *opened = bench_open();
    for (size_t k = 0; k < COUNT(kinds); k++)
        for (int exponent = -70; exponent <= 0; exponent += 70) {
            const array_spec states = {
                .shape = { 2, 9, 5 }, .kind = kinds[k], .seed = 29, .exponent = exponent
            };
            compare_everywhere(opened, &states, texts, COUNT(texts), COUNT(texts));
        }
    bench_close(opened, "tiny parameters");
}
END_TEST

/* The one-call functions against the oracle. */
START_TEST(one_number)
{
    static const char *const texts[] = {
        "firing_rate:metric=l1,target=0.3",
        "firing_rate_dist:metric=mean_ad",
        "state_prediction:tau=3",
        "hebbian",
        "entropy:reg=2",
        "population_kl",
    };
    bench *opened = bench_open();
    const array_spec states = {
        .shape = { 2, 7, 5 }, .kind = ARRAY_RATES, .order = ORDER_PADDED, .seed = 23
    };
    array_spec specs[INPUT_COUNT];
    problem_specs(specs, &states);
    problem given;
    problem_make(&given, specs, texts, COUNT(texts));
    opened->problem_count++;
    const ratecl_layout *layout = &given.inputs[STATES].layout;
    const void *memory = given.inputs[STATES].memory;
    for (size_t d = 0; d < opened->device_count; d++) {
        ratecl_context *context = opened->contexts[d];
        double values[COUNT(texts)];
        int64_t skipped[COUNT(texts)] = { 0 };
        ASSERT_OK(ratecl_firing_rate_loss(context, layout, memory, RATECL_METRIC_L1, 0.3, &values[0]));
        ASSERT_OK(ratecl_firing_rate_dist_loss(context, layout, memory, RATECL_METRIC_MEAN_AD, &values[1]));
        ASSERT_OK(ratecl_state_prediction_loss(context, layout, memory, 3, &values[2]));
        ASSERT_OK(ratecl_hebbian_loss(context, layout, memory, &given.inputs[WEIGHTS].layout,
                                      given.inputs[WEIGHTS].memory, &values[3]));
        ASSERT_OK(ratecl_entropy_loss(context, layout, memory, 2, &values[4]));
        ASSERT_OK(ratecl_population_kl_loss(context, layout, memory, &given.inputs[REFERENCE].layout,
                                            given.inputs[REFERENCE].memory, &values[5]));
        double total = 0;
        for (size_t k = 0; k < COUNT(texts); k++)
            total += values[k];
        const outcome got = { RATECL_OK, COUNT(texts), COUNT(texts), values, total, skipped };
        problem_check(&given, &got, 0, opened->devices[d].id);
    }
    problem_free(&given);
    bench_close(opened, "one number");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { every_shape, wide_shapes, every_layout, every_kind,      mixed_inputs,
                                   long_lags,   many_rows,   every_scale,  tiny_parameters, one_number };
    return suite_run("values", tests, COUNT(tests));
}

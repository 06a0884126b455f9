/* SPDX-License-Identifier: Apache-2.0 */
/* The gradients of every criterion and option to all that it depends on, on every device: against the
 * oracle's analytic ones, against central differences of the values in f64, and against each other. */
#include "gradient_check.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- Against the oracle ---- */

typedef struct bench {
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    ratecl_context *contexts[SUITE_DEVICES_MAX];
    size_t skipped[SUITE_DEVICES_MAX]; /* for missing fp64 */
    size_t device_count, problem_count, term_count;
} bench;

static bench *bench_open(uint64_t staging_limit)
{
    bench *made = suite_allocate(sizeof *made);
    made->device_count = suite_devices(made->devices);
    for (size_t d = 0; d < made->device_count; d++)
        made->contexts[d] = suite_context_with(made->devices[d].id, 0, staging_limit);
    return made;
}

static void bench_close(bench *opened, const char *what)
{
    ck_assert_uint_gt(opened->problem_count, 0);
    for (size_t d = 0; d < opened->device_count; d++) {
        printf("%s: %s (%s): %zu evaluated, with %.1f terms on average; %zu skipped for missing fp64\n", what,
               opened->devices[d].id, opened->devices[d].name, opened->problem_count - opened->skipped[d],
               (double)opened->term_count / (double)opened->problem_count, opened->skipped[d]);
        ratecl_context_release(opened->contexts[d]);
    }
    free(opened);
}

static bool can_run(const ratecl_device_info *device, const array_spec specs[INPUT_COUNT],
                    const gradient_options *how)
{
    bool can = suite_can(device, specs[STATES].precision, how->element);
    for (int k = 0; k < INPUT_COUNT; k++)
        can = can && suite_can(device, specs[STATES].precision, specs[k].element);
    return can;
}

static void make(gradients *made, const array_spec specs[INPUT_COUNT], const char *const *texts, size_t count)
{
    problem given;
    problem_make(&given, specs, texts, count);
    gradients_take(made, &given);
}

/* All terms in one plan; then `singles` of them, spread over the list, in plans of their own. */
static void run(bench *opened, const array_spec *states, const gradient_options *how, size_t singles)
{
    array_spec specs[INPUT_COUNT];
    problem_specs(specs, states);
    gradients of;
    make(&of, specs, NULL, 0);
    opened->problem_count++;
    opened->term_count += of.given.term_count;
    for (size_t d = 0; d < opened->device_count; d++) {
        if (!can_run(&opened->devices[d], specs, how)) {
            opened->skipped[d]++;
            continue;
        }
        const char *device = opened->devices[d].id;
        gradients_check(&of, opened->contexts[d], device, 0, of.given.term_count, how);
        for (size_t k = 0; k < singles; k++)
            gradients_check(&of, opened->contexts[d], device, k * of.given.term_count / singles, 1, how);
    }
    gradients_free(&of);
}

static const ratecl_precision precisions[] = { RATECL_PRECISION_F32, RATECL_PRECISION_F64 };

/* Each turn another way to write the gradient. Repeated batches cannot be written to. */
static gradient_options turn_options(size_t turn)
{
    static const double scales[] = { 0, 1, -0.75, 3e3, 1e-4 };
    const gradient_options how = { .scale = scales[turn % COUNT(scales)],
                                   .accumulates = turn / 2 % 2,
                                   .element = turn % 5 == 4 ? RATECL_F64 : RATECL_F32,
                                   .order = (array_order)(turn % ORDER_BATCH_REPEATED) };
    return how;
}

static const int64_t shapes[][3] = {
    { 1, 1, 1 },   { 2, 1, 7 },   { 3, 3, 2 },    { 1, 31, 33 }, { 2, 7, 127 },
    { 33, 3, 31 }, { 1, 257, 4 }, { 1, 1000, 2 }, { 64, 64, 7 }, { 2, 40, 129 },
    { 7, 2, 1 },   { 3, 3, 300 }, { 2, 9, 1100 },
};
enum { SMALL_SHAPES = 3 };

/* Kind and layouts rotate, so that each meets several shapes: f32 states in either precision, and one other
 * type. */
START_TEST(every_shape)
{
    static const ratecl_element others[] = { RATECL_U8, RATECL_F64, RATECL_F16 };
    bench *opened = bench_open(0);
    const size_t count = suite_is_small() ? SMALL_SHAPES : COUNT(shapes);
    for (size_t k = 0; k < count; k++)
        for (size_t round = 0; round < 3; round++) {
            const size_t turn = 5 * k + 3 * round;
            const array_spec states = { .shape = { shapes[k][0], shapes[k][1], shapes[k][2] },
                                        .kind = (array_kind)(turn % ARRAY_KIND_COUNT),
                                        .element = round < 2 ? RATECL_F32 : others[k % COUNT(others)],
                                        .order = (array_order)(turn % ORDER_COUNT),
                                        .precision = precisions[(round + k / 3) % COUNT(precisions)],
                                        .seed = 200 * k + turn };
            const gradient_options how = turn_options(turn);
            run(opened, &states, &how, 0);
        }
    bench_close(opened, "shapes");
}
END_TEST

/* Larger than a tile and a block in every direction, with neurons and with time side by side, and the
 * gradient likewise or not. */
START_TEST(wide_shapes)
{
    if (!suite_is_wide())
        return;
    bench *opened = bench_open(0);
    for (size_t k = 0; k < SUITE_WIDE_SHAPES; k++)
        for (size_t turn = 0; turn < 2; turn++) {
            const int64_t *shape = suite_wide_shapes[k];
            const array_spec states = { .shape = { shape[0], shape[1], shape[2] },
                                        .kind = ARRAY_RATES,
                                        .element = turn && k == 1 ? RATECL_U8 : RATECL_F32,
                                        .order = turn ? ORDER_NEURON_FIRST : ORDER_C,
                                        .precision = precisions[turn && k == 2],
                                        .seed = 400 + 2 * k + turn };
            const gradient_options how = { .element = RATECL_F32,
                                           .order = turn == k % 2 ? ORDER_NEURON_FIRST : ORDER_C,
                                           .accumulates = turn };
            run(opened, &states, &how, k % 2 == 0 ? 6 : 0);
        }
    bench_close(opened, "wide shapes");
}
END_TEST

/* Every layout of the states with some of the gradients'. */
START_TEST(every_layout)
{
    bench *opened = bench_open(0);
    for (int turn = 0; turn < ORDER_COUNT * (suite_is_small() ? 1 : 2); turn++) {
        const int round = turn / ORDER_COUNT;
        array_spec states = { .shape = { 2, 17, 19 },
                              .kind = ARRAY_RATES,
                              .element = (ratecl_element)((turn + round) % ELEMENT_COUNT),
                              .order = (array_order)(turn % ORDER_COUNT),
                              .seed = 67 };
        if (suite_is_small())
            states.shape[1] = states.shape[2] = 5;
        const gradient_options how = { .element = round == 1 ? RATECL_F64 : RATECL_F32,
                                       .order = (array_order)((turn + 4 * round) % ORDER_BATCH_REPEATED),
                                       .accumulates = turn % 2 };
        run(opened, &states, &how, 0);
    }
    bench_close(opened, "layouts");
}
END_TEST

/* Every kind of states in either precision, and every option alone. */
START_TEST(every_kind)
{
    bench *opened = bench_open(0);
    for (int kind = 0; kind < ARRAY_KIND_COUNT; kind++)
        for (size_t p = 0; p < COUNT(precisions); p++) {
            array_spec states = { .shape = { 3, 64, 33 },
                                  .kind = (array_kind)kind,
                                  .element = p && kind % 2 ? RATECL_F64 : RATECL_F32,
                                  .precision = precisions[p],
                                  .seed = 71 };
            if (suite_is_small())
                states.shape[1] = states.shape[2] = 5;
            const gradient_options how = { .element = p ? RATECL_F64 : RATECL_F32 };
            const bool is_first = kind == ARRAY_RATES && p == 0;
            run(opened, &states, &how, suite_is_small() ? 0 : is_first ? 26 : 1);
        }
    bench_close(opened, "kinds");
}
END_TEST

/* An eps and a var_floor below f32's range: the eps is felt where a state is 0. */
START_TEST(tiny_parameters)
{
    static const char *const texts[] = { "entropy:reg=0,eps=1e-46", "entropy:reg=0,eps=1e-20",
                                         "population_kl:reg=0,var_floor=1e-46" };
    static const array_kind kinds[] = { ARRAY_SPIKES, ARRAY_RATES };
    const gradient_options how = { .element = RATECL_F32 };
    bench *opened = bench_open(0);
    for (size_t k = 0; k < COUNT(kinds); k++)
        for (size_t text = 0; text < COUNT(texts); text++) {
            const array_spec states = { .shape = { 2, 9, 5 }, .kind = kinds[k], .seed = 83 };
            array_spec specs[INPUT_COUNT];
            problem_specs(specs, &states);
            gradients of;
            make(&of, specs, &texts[text], 1);
            opened->problem_count++;
            opened->term_count += of.given.term_count;
            for (size_t d = 0; d < opened->device_count && of.given.term_count > 0; d++)
                gradients_check(&of, opened->contexts[d], opened->devices[d].id, 0, 1, &how);
            gradients_free(&of);
        }
    bench_close(opened, "tiny parameters");
}
END_TEST

/* Each neuron's part of the gradient to an input has the scale of that neuron: each is compared in itself, so
 * that none hides behind the largest. */
static void compare_neurons(const gradients *of, ratecl_context *context, const char *device)
{
    double *made[INPUT_COUNT];
    gradients_evaluate(of, context, 0, 1, made);
    for (int input = STATES; input <= REFERENCE; input++) {
        if (!made[input])
            continue;
        const int64_t *shape = of->given.inputs[input].layout.shape, N = shape[2];
        const double weight = of->given.terms[0].weight;
        for (int64_t i = 0; i < N; i++) {
            double off = 0, norm = 0, magnitude = 0;
            for (int64_t r = 0; r < shape[0] * shape[1]; r++) {
                const double wanted = weight * of->expected[input].values[r * N + i];
                off += pow(made[input][r * N + i] / 0x1p64 - wanted / 0x1p64, 2);
                norm += pow(wanted / 0x1p64, 2);
                magnitude += pow(weight * of->expected[input].magnitudes[r * N + i] / 0x1p64, 2);
            }
            const double least = 0x1p-140 / 0x1p64; /* below it f32 has few digits */
            ck_assert_msg(sqrt(off) <= 1e-5 * (sqrt(norm) + 0.1 * sqrt(magnitude)) + least,
                          "%s: %s: %s: neuron %" PRId64 " of input %d: off by %g of %g", device,
                          of->given.name, of->given.texts[0], i, input, sqrt(off), sqrt(norm));
        }
        free(made[input]);
    }
}

/* Quotients do not depend on the unit of the states, nor on the scale of other neurons. */
START_TEST(every_scale)
{
    static const char *const texts[] = {
        "firing_rate_dist",
        "firing_rate_dist:metric=cv",
        "firing_rate_dist:metric=mean_ad",
        "population_kl:reg=0",
        "population_kl:reg=0,symmetric=false",
        "population_kl:reg=0,symmetric=false,log=sigma,reduction=sum",
        "population_kl:reg=0,reduction=none",
    };
    bench *opened = bench_open(0);
    for (size_t k = 0; k < PROBLEM_SCALES; k++)
        for (size_t text = 0; text < COUNT(texts); text += suite_is_small() ? 3 : 1) {
            const ratecl_precision precision = precisions[(k + text) % 4 == 3];
            const gradient_options how = { .element =
                                               precision == RATECL_PRECISION_F64 ? RATECL_F64 : RATECL_F32 };
            const array_spec states = { .shape = { 2, suite_is_small() ? 9 : 150, suite_is_small() ? 5 : 35 },
                                        .kind = ARRAY_RATES,
                                        .order = (array_order)(k % ORDER_BATCH_REPEATED),
                                        .precision = precision,
                                        .seed = 600 + k };
            array_spec specs[INPUT_COUNT];
            problem_scaled_specs(specs, &states, &problem_scales[k]);
            gradients of;
            make(&of, specs, &texts[text], 1);
            opened->problem_count++;
            opened->term_count += of.given.term_count;
            for (size_t d = 0; d < opened->device_count && of.given.term_count > 0; d++) {
                if (!can_run(&opened->devices[d], specs, &how)) {
                    opened->skipped[d]++;
                    continue;
                }
                gradients_check(&of, opened->contexts[d], opened->devices[d].id, 0, 1, &how);
                compare_neurons(&of, opened->contexts[d], opened->devices[d].id);
            }
            gradients_free(&of);
        }
    bench_close(opened, "scales");
}
END_TEST

/* From host memory in pieces of a few rows: lags and batches reach across them. */
START_TEST(pieces)
{
    static const uint64_t limits[] = { 1500, 9000 };
    for (size_t k = 0; k < COUNT(limits); k++) {
        bench *opened = bench_open(limits[k]);
        for (size_t turn = 0; turn < (suite_is_small() ? 1 : 4); turn++) {
            const array_spec states = { .shape = { 3, suite_is_small() ? 9 : 101, 21 },
                                        .kind = ARRAY_RATES,
                                        .element = (ratecl_element)(turn % ELEMENT_COUNT),
                                        .order = (array_order)(2 * turn % ORDER_COUNT),
                                        .precision = precisions[turn % 2],
                                        .seed = 73 };
            const gradient_options how = turn_options(turn + 7 * k);
            run(opened, &states, &how, 0);
        }
        bench_close(opened, "pieces");
    }
}
END_TEST

/* ---- Against central differences ---- */

/* Inputs of one problem in f64, and a plan of all its terms' values. */
typedef struct differences {
    gradients of;
    ratecl_plan *plan;
    double *above, *below; /* values */
} differences;

static void evaluate_values(const differences *with, double *values)
{
    const ratecl_inputs inputs = problem_inputs(&with->of.given);
    const ratecl_outputs outputs = { .size = sizeof outputs,
                                     .values = values,
                                     .value_count = ratecl_plan_value_count(with->plan) };
    ASSERT_OK(ratecl_evaluate(with->plan, &inputs, &outputs));
}

/* The weighted value of a term, or its product with the cotangents. */
static double loss_of(const differences *with, size_t term, const double *values)
{
    const problem *given = &with->of.given;
    const ratecl_term *by = &given->terms[term];
    const int64_t N = given->inputs[STATES].layout.shape[2];
    const double *u = with->of.cotangents + with->of.vectors[term] * (size_t)N;
    if (by->reduction != RATECL_REDUCTION_NONE)
        return by->weight * values[given->first[term]];
    double sum = 0;
    for (int64_t i = 0; i < N; i++)
        sum += u[i] * values[given->first[term] + (size_t)i];
    return by->weight * sum;
}

/* Fill the column of element k: d loss_term / d element for each term. */
static void difference(const differences *with, int input, size_t k, double *slopes[])
{
    const problem *given = &with->of.given;
    double *element = (double *)given->inputs[input].memory + k;
    const double x = *element, step = 1e-5 * (1 + fabs(x)), above = x + step, below = x - step;
    *element = above;
    evaluate_values(with, with->above);
    *element = below;
    evaluate_values(with, with->below);
    *element = x;
    for (size_t term = 0; term < given->term_count; term++)
        slopes[term][k] =
            (loss_of(with, term, with->above) - loss_of(with, term, with->below)) / (above - below);
}

static void compare_differences(const gradients *of, ratecl_context *context, const char *device,
                                double **slopes[INPUT_COUNT])
{
    for (size_t term = 0; term < of->given.term_count; term++) {
        double *got[INPUT_COUNT];
        gradients_evaluate(of, context, term, 1, got);
        for (int input = 0; input < INPUT_COUNT; input++) {
            if (!got[input])
                continue;
            const size_t n = gradients_size(of, input);
            const double norm = gradients_norm(got[input], n);
            for (size_t k = 0; k < n; k++)
                got[input][k] -= slopes[input][term][k];
            const double error = gradients_norm(got[input], n);
            ck_assert_msg(error <= 1e-6 * norm,
                          "%s: %s: input %d: %.3g from central differences of norm %.3g", device,
                          of->given.texts[term], input, error, norm);
            free(got[input]);
        }
    }
}

/* All terms' values at once, one element of one input after the other; gradients from plans of one term. */
static void differ_on(ratecl_context *context, const char *device)
{
    array_spec specs[INPUT_COUNT];
    array_spec states = { .shape = { 2, 4, 5 },
                          .kind = ARRAY_RATES,
                          .element = RATECL_F64,
                          .precision = RATECL_PRECISION_F64,
                          .seed = 79 };
    if (suite_is_small())
        states.shape[0] = 1, states.shape[2] = 3;
    problem_specs(specs, &states);
    specs[WEIGHTS].element = RATECL_F64;
    differences with;
    make(&with.of, specs, NULL, 0);
    const problem *given = &with.of.given;
    with.plan = problem_plan(given, context, 0, given->term_count);
    with.above = suite_allocate(ratecl_plan_value_count(with.plan) * sizeof(double));
    with.below = suite_allocate(ratecl_plan_value_count(with.plan) * sizeof(double));

    double **slopes[INPUT_COUNT];
    for (int input = 0; input < INPUT_COUNT; input++) {
        const size_t n = gradients_size(&with.of, input);
        slopes[input] = suite_allocate(given->term_count * sizeof *slopes[input]);
        for (size_t term = 0; term < given->term_count; term++)
            slopes[input][term] = suite_allocate(n * sizeof(double));
        for (size_t k = 0; k < n; k++)
            difference(&with, input, k, slopes[input]);
    }
    compare_differences(&with.of, context, device, slopes);

    for (int input = 0; input < INPUT_COUNT; input++) {
        for (size_t term = 0; term < given->term_count; term++)
            free(slopes[input][term]);
        free(slopes[input]);
    }
    free(with.above);
    free(with.below);
    ratecl_plan_release(with.plan);
    gradients_free(&with.of);
}

START_TEST(central_differences)
{
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t count = suite_devices(devices);
    for (size_t d = 0; d < count; d++) {
        if (!devices[d].fp64) {
            printf("central differences: %s skipped: no fp64\n", devices[d].id);
            continue;
        }
        ratecl_context *context = suite_context(devices[d].id);
        differ_on(context, devices[d].id);
        ratecl_context_release(context);
    }
}
END_TEST

/* ---- Composites ---- */

static const char *const one_of_each[] = {
    "firing_rate:target=0.5", "firing_rate_dist:metric=cv",   "state_prediction:tau=2", "hebbian",
    "entropy:reg=0.1",        "population_kl:reduction=none",
};
enum { EACH = COUNT(one_of_each) };

typedef struct composite {
    double *parts[EACH][INPUT_COUNT]; /* gradients of each term alone, weighted as it is */
    gradients all;
} composite;

/* A plan of those terms gives the sum of their gradients. */
static void expect_sum(const composite *with, ratecl_context *context, const char *device,
                       const array_spec specs[INPUT_COUNT], const int *terms, size_t count)
{
    const char *texts[EACH];
    for (size_t k = 0; k < count; k++)
        texts[k] = one_of_each[terms[k]];
    gradients of;
    make(&of, specs, texts, count);
    ck_assert_uint_eq(of.given.term_count, count);
    for (size_t k = 0; k < count; k++)
        of.given.terms[k].weight = with->all.given.terms[terms[k]].weight;

    double *got[INPUT_COUNT];
    gradients_evaluate(&of, context, 0, count, got);
    for (int input = 0; input < INPUT_COUNT; input++) {
        const size_t n = gradients_size(&of, input);
        double norms = 0;
        for (size_t k = 0; k < count; k++) {
            const double *part = with->parts[terms[k]][input];
            if (!part)
                continue;
            norms += gradients_norm(part, n);
            for (size_t e = 0; e < n; e++)
                got[input][e] -= part[e];
        }
        const double limit = specs[STATES].precision == RATECL_PRECISION_F32 ? 2e-6 : 1e-14;
        const double error = got[input] ? gradients_norm(got[input], n) : 0;
        ck_assert_msg(error <= limit * norms, "%s: %s with %s: %.3g from the sum of norms %.3g", device,
                      texts[0], texts[count - 1], error, norms);
        free(got[input]);
    }
    gradients_free(&of);
}

static void compose_on(ratecl_context *context, const char *device, ratecl_precision precision)
{
    const array_spec states = { .shape = { 2, suite_is_small() ? 4 : 33, suite_is_small() ? 3 : 21 },
                                .kind = ARRAY_RATES,
                                .precision = precision,
                                .seed = 83 };
    array_spec specs[INPUT_COUNT];
    problem_specs(specs, &states);
    composite with;
    make(&with.all, specs, one_of_each, EACH);
    ck_assert_uint_eq(with.all.given.term_count, EACH);
    for (size_t k = 0; k < EACH; k++)
        gradients_evaluate(&with.all, context, k, 1, with.parts[k]);

    for (int a = 0; a < EACH; a++)
        for (int b = a + 1; b < EACH; b++) {
            const int both[] = { b, a };
            if (precision == RATECL_PRECISION_F32 || (a + b) % 3 == 0)
                expect_sum(&with, context, device, specs, both, 2);
        }
    const int every[EACH] = { 0, 1, 2, 3, 4, 5 };
    expect_sum(&with, context, device, specs, every, EACH);

    for (size_t k = 0; k < EACH; k++)
        for (int input = 0; input < INPUT_COUNT; input++)
            free(with.parts[k][input]);
    gradients_free(&with.all);
}

START_TEST(composites)
{
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t count = suite_devices(devices);
    for (size_t d = 0; d < count; d++) {
        ratecl_context *context = suite_context(devices[d].id);
        for (size_t p = 0; p < COUNT(precisions); p++)
            if (suite_can(&devices[d], precisions[p], RATECL_F32))
                compose_on(context, devices[d].id, precisions[p]);
        ratecl_context_release(context);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { every_shape,     wide_shapes, every_layout,        every_kind, every_scale,
                                   tiny_parameters, pieces,      central_differences, composites };
    return suite_run("gradients", tests, COUNT(tests));
}

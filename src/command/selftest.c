/* SPDX-License-Identifier: Apache-2.0 */
/* A small parity run: every criterion on a device, on the CPU path and by its definition, and every
 * gradient on a device and on the CPU path. */
#include "command.h"
#include "definitions.h"
#include "output.h"
#include "progress.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct settings {
    const char *device;
};

static const struct option options[] = {
    { "--device", "D", OPTION_TEXT, offsetof(struct settings, device),
      "the device to test, as for 'ratecl eval'; default: the one that 'ratecl devices' marks" },
};

static const char *const term_texts[] = {
    "firing_rate",
    "firing_rate:metric=l1,target=1.5",
    "firing_rate_dist:ddof=1",
    "firing_rate_dist:metric=cv",
    "firing_rate_dist:metric=mean_ad",
    "firing_rate_dist:metric=max_ad",
    "state_prediction",
    "state_prediction:tau=5",
    "hebbian",
    "hebbian:over=step",
    "entropy:reg=0",
    "entropy:reg=0.5,eps=1e-3",
    "population_kl",
    "population_kl:symmetric=false,reg=0,reduction=sum",
    "population_kl:symmetric=false,log=sigma",
    "population_kl:reduction=none",
};
enum { TERM_COUNT = sizeof term_texts / sizeof *term_texts, CRITERION_COUNT = RATECL_POPULATION_KL };

/* In memory the axis that `order` names first varies slowest. Where kernels are compiled, that takes most of
 * the time: hence one arithmetic for each sample, and one whose values are evaluated without gradients, too.
 */
static const struct sample {
    ratecl_element element;
    int64_t B, T, N, B_reference, T_reference;
    int order[3];
    bool f32, f64, alone;
    const char *name;
} samples[] = {
    { RATECL_F32, 3, 257, 33, 2, 101, { 0, 1, 2 }, true, false, true, "f32" },
    { RATECL_F16, 2, 64, 127, 1, 64, { 1, 0, 2 }, true, false, false, "f16, time first" },
    { RATECL_U8, 1, 1000, 64, 5, 31, { 0, 1, 2 }, true, false, false, "u8" },
    { RATECL_F32, 7, 31, 66, 3, 33, { 2, 1, 0 }, true, false, false, "f32, neuron first" },
    { RATECL_F64, 2, 129, 31, 1, 300, { 0, 1, 2 }, false, true, false, "f64" },
};
enum { SAMPLE_COUNT = sizeof samples / sizeof *samples, NEURONS_MAX = 127 /* the largest N of them */ };

/* One input, as the library and as the definitions read it. */
struct input {
    ratecl_layout layout;
    void *memory;
    double *elements; /* (B, T, N), C order */
};

enum { STATES, REFERENCE, WEIGHTS, INPUT_COUNT };
enum { DEVICE, CPU, PATH_COUNT };
enum { VALUES, GRADIENTS, RESULT_COUNT };

/* Of gradients, in relative norm, by precision. */
static const double gradient_tolerances[] = { 1e-5, 1e-10 };

/* The largest error over what is allowed. */
struct worst {
    bool compared;
    double error;
};

struct selftest {
    ratecl_term terms[TERM_COUNT];
    ratecl_context *contexts[PATH_COUNT]; /* CPU: NULL where the device is that path itself */
    ratecl_device_info devices[PATH_COUNT];
    struct worst worst[RESULT_COUNT][PATH_COUNT][CRITERION_COUNT + 1][RATECL_PRECISION_F64 + 1];
};

/* ---- Inputs ---- */

/* 16 bits of a fixed sequence (Knuth's MMIX generator). */
static uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 48);
}

/* count / 64 in half precision, exact for count < 2048. */
static uint16_t half_of_64ths(uint32_t count)
{
    unsigned exponent = 0;
    if (count == 0)
        return 0;
    while (count >> (exponent + 1))
        exponent++;
    return (uint16_t)((exponent + 15 - 6) << 10 | ((count << (10 - exponent)) & 0x3ff));
}

/* Write a rate that grows with `count` and has as many digits as f32 and the element type both hold; gives
 * what was written. */
static double encode(ratecl_element element, void *memory, int64_t index, uint32_t count)
{
    const float rate = (float)count / 61;
    switch (element) {
    case RATECL_F32:
        ((float *)memory)[index] = rate;
        return rate;
    case RATECL_F64:
        ((double *)memory)[index] = rate;
        return rate;
    case RATECL_F16:
        ((uint16_t *)memory)[index] = half_of_64ths(count);
        return count / 64.0;
    case RATECL_U8:
        ((uint8_t *)memory)[index] = (uint8_t)count;
        break;
    }
    return count;
}

/* Rates that differ between neurons, and some silent rows. */
static bool make_states(struct input *input, const struct sample *sample, int64_t B, int64_t T, uint64_t seed)
{
    const int64_t N = sample->N, shape[3] = { B, T, N };
    ratecl_layout_init(&input->layout, sample->element, B, T, N);
    int64_t stride = 1;
    for (int k = 2; k >= 0; k--) {
        input->layout.strides[sample->order[k]] = stride;
        stride *= shape[sample->order[k]];
    }
    const int64_t *strides = input->layout.strides;
    const size_t size = (size_t)(B * T * N);
    input->memory = calloc(size, sizeof(double));
    input->elements = calloc(size, sizeof(double));
    if (!input->memory || !input->elements)
        return false;
    for (int64_t row = 0; row < B * T; row++)
        for (int64_t i = 0; i < N; i++) {
            const uint32_t most = 64 + (uint32_t)(i % 7) * 32;
            const uint32_t count = row % 17 == 5 ? 0 : next_random(&seed) % most;
            const int64_t index = row / T * strides[0] + row % T * strides[1] + i * strides[2];
            input->elements[row * N + i] = encode(sample->element, input->memory, index, count);
        }
    return true;
}

/* Centred, so that sum_ij W_ij S_i S_j is above 0 in some rows and below in others; with these sequences it
 * is at least 2e-5 of the sum of the magnitudes, where f32 arithmetic has its sign right. */
static bool make_weights(struct input *input, int64_t N)
{
    uint64_t seed = 7;
    const size_t count = (size_t)(N * N);
    ratecl_layout_init(&input->layout, RATECL_F32, 1, N, N);
    float *memory = calloc(count, sizeof *memory);
    input->memory = memory;
    input->elements = calloc(count, sizeof(double));
    if (!input->memory || !input->elements)
        return false;
    for (size_t k = 0; k < count; k++) {
        memory[k] = ((float)next_random(&seed) - 32768) / 32768;
        input->elements[k] = memory[k];
    }
    return true;
}

/* ---- Comparison ---- */

static bool compiles(const struct selftest *test, int path)
{
    return test->devices[path].kind != RATECL_DEVICE_OPENMP;
}

static bool has_precision(const struct selftest *test, int path, const struct sample *sample, int precision)
{
    if (compiles(test, path) && (precision == RATECL_PRECISION_F64 ? !sample->f64 : !sample->f32))
        return false;
    const bool wide = sample->element == RATECL_F64 || precision == RATECL_PRECISION_F64;
    return test->contexts[path] && (test->devices[path].fp64 || !wide);
}

static ratecl_plan_options describe(const struct input inputs[INPUT_COUNT], int precision,
                                    const ratecl_term terms[TERM_COUNT])
{
    ratecl_plan_options wanted = RATECL_PLAN_OPTIONS_INIT;
    wanted.precision = (ratecl_precision)precision;
    wanted.states = &inputs[STATES].layout;
    wanted.reference = &inputs[REFERENCE].layout;
    wanted.weights = &inputs[WEIGHTS].layout;
    wanted.terms = terms;
    wanted.term_count = TERM_COUNT;
    return wanted;
}

static ratecl_inputs give(const struct input inputs[INPUT_COUNT])
{
    ratecl_inputs given = RATECL_INPUTS_INIT;
    given.states = inputs[STATES].memory;
    given.reference = inputs[REFERENCE].memory;
    given.weights = inputs[WEIGHTS].memory;
    return given;
}

/* Keep the largest; what is no number is worse than any. */
static void note(struct worst *worst, double error)
{
    worst->compared = true;
    worst->error = isnan(error) ? INFINITY : fmax(worst->error, error);
}

/* ---- Values ---- */

struct quantities {
    struct quantity *of; /* the values of all terms, by their definitions */
    double *values;      /* what an evaluation gives */
    size_t count;
};

static void compare_values(struct selftest *test, int path, int precision, const ratecl_plan *plan,
                           const struct quantities *quantities)
{
    for (size_t term = 0; term < TERM_COUNT; term++) {
        struct worst *worst = &test->worst[VALUES][path][test->terms[term].criterion][precision];
        const size_t end = ratecl_plan_value_index(plan, term + 1);
        for (size_t k = ratecl_plan_value_index(plan, term); k < end; k++) {
            const struct quantity *q = &quantities->of[k];
            const double tolerance = precision == RATECL_PRECISION_F64 ? TOLERANCE_F64 : q->tolerance;
            note(worst, fabs(quantities->values[k] - q->value) / (tolerance * q->scale));
        }
    }
}

static void release_quantities(struct quantities *made)
{
    free(made->of);
    free(made->values);
}

static bool make_quantities(struct quantities *made, const struct selftest *test, const struct sample *sample,
                            const struct input inputs[INPUT_COUNT])
{
    const struct array states = { { sample->B, sample->T, sample->N }, inputs[STATES].elements };
    const struct array reference = { { sample->B_reference, sample->T_reference, sample->N },
                                     inputs[REFERENCE].elements };
    const struct array weights = { { 1, sample->N, sample->N }, inputs[WEIGHTS].elements };
    double *scratch = calloc(4 * (size_t)sample->N, sizeof *scratch);
    made->count = TERM_COUNT + (size_t)sample->N;
    made->of = calloc(made->count, sizeof *made->of);
    made->values = calloc(made->count, sizeof *made->values);
    const bool memory = scratch && made->of && made->values;
    size_t count = 0;
    for (size_t k = 0; k < TERM_COUNT && memory; k++)
        count += define_term(&test->terms[k], &states, &reference, &weights, scratch, made->of + count);
    free(scratch);
    return memory;
}

/* ---- Gradients ---- */

/* With respect to each input, C order: of f32 or f64 as the arithmetic. */
struct gradients {
    void *elements[INPUT_COUNT];
    size_t counts[INPUT_COUNT];
};

static bool make_gradients(struct gradients *gradients, const struct input inputs[INPUT_COUNT])
{
    bool memory = true;
    for (int k = 0; k < INPUT_COUNT; k++) {
        const int64_t *shape = inputs[k].layout.shape;
        gradients->counts[k] = (size_t)(shape[0] * shape[1] * shape[2]);
        gradients->elements[k] = calloc(gradients->counts[k], sizeof(double));
        memory = memory && gradients->elements[k];
    }
    return memory;
}

static void release_gradients(struct gradients *gradients)
{
    for (int k = 0; k < INPUT_COUNT; k++)
        free(gradients->elements[k]);
}

/* ---- Evaluations ---- */

/* Evaluate a plan of all terms, so that all plans of an input share their programs: with values of
 * `quantities` or with `gradients` of the terms weighted by `weights`, or with both. */
static ratecl_status evaluate(struct selftest *test, int path, int precision,
                              const struct input inputs[INPUT_COUNT], const struct quantities *quantities,
                              const struct gradients *gradients, const double *weights)
{
    double cotangents[NEURONS_MAX];
    ratecl_term terms[TERM_COUNT];
    memcpy(terms, test->terms, sizeof terms);
    ratecl_plan_options wanted = describe(inputs, precision, terms);
    ratecl_inputs given = give(inputs);
    ratecl_outputs outputs = RATECL_OUTPUTS_INIT;
    if (quantities) {
        outputs.values = quantities->values;
        outputs.value_count = quantities->count;
    }
    if (gradients) {
        for (size_t k = 0; k < TERM_COUNT; k++)
            terms[k].weight = weights[k];
        for (size_t k = 0; k < NEURONS_MAX; k++)
            cotangents[k] = 1 + (double)(k % 5);
        for (int k = 0; k < INPUT_COUNT; k++) /* what is not written is no number */
            memset(gradients->elements[k], 0xff, gradients->counts[k] * sizeof(double));
        wanted.outputs |=
            RATECL_OUTPUT_GRADIENT_STATES | RATECL_OUTPUT_GRADIENT_REFERENCE | RATECL_OUTPUT_GRADIENT_WEIGHTS;
        given.cotangents = cotangents;
        given.cotangent_count = (size_t)inputs[STATES].layout.shape[2];
        outputs.gradient_states = gradients->elements[STATES];
        outputs.gradient_reference = gradients->elements[REFERENCE];
        outputs.gradient_weights = gradients->elements[WEIGHTS];
    }
    ratecl_plan *plan = NULL;
    ratecl_status status = ratecl_plan_create(test->contexts[path], &wanted, &plan);
    if (status == RATECL_OK)
        status = ratecl_evaluate(plan, &given, &outputs);
    if (status == RATECL_OK && quantities)
        compare_values(test, path, precision, plan, quantities);
    ratecl_plan_release(plan);
    return status;
}

/* The CPU path's gradients in f64, those of a criterion's terms added up. */
struct expected {
    double weights[TERM_COUNT]; /* with which no term's gradient is small beside another's */
    struct gradients one, sums[CRITERION_COUNT + 1];
};

static void release_expected(struct expected *expected)
{
    release_gradients(&expected->one);
    for (int k = 1; k <= CRITERION_COUNT; k++)
        release_gradients(&expected->sums[k]);
}

static bool make_expected(struct expected *expected, const struct input inputs[INPUT_COUNT])
{
    bool memory = make_gradients(&expected->one, inputs);
    for (int k = 1; k <= CRITERION_COUNT; k++)
        memory = make_gradients(&expected->sums[k], inputs) && memory;
    return memory;
}

static double norm_of(const struct gradients *gradients)
{
    double squares = 0;
    for (int input = 0; input < INPUT_COUNT; input++)
        for (size_t k = 0; k < gradients->counts[input]; k++)
            squares += pow(((const double *)gradients->elements[input])[k], 2);
    return sqrt(squares);
}

static void add_gradients(struct gradients *sums, double weight, const struct gradients *term)
{
    for (int input = 0; input < INPUT_COUNT; input++)
        for (size_t k = 0; k < sums->counts[input]; k++)
            ((double *)sums->elements[input])[k] += weight * ((const double *)term->elements[input])[k];
}

/* Evaluate each term alone; the CPU path compiles nothing. */
static ratecl_status expect_gradients(struct selftest *test, int cpu, const struct input inputs[INPUT_COUNT],
                                      struct expected *expected)
{
    ratecl_status status = RATECL_OK;
    for (size_t term = 0; term < TERM_COUNT && status == RATECL_OK; term++) {
        double alone[TERM_COUNT] = { 0 };
        alone[term] = 1;
        status = evaluate(test, cpu, RATECL_PRECISION_F64, inputs, NULL, &expected->one, alone);
        if (status == RATECL_OK) {
            const double norm = norm_of(&expected->one);
            expected->weights[term] = norm > 0 ? 1 / norm : 1;
            add_gradients(&expected->sums[test->terms[term].criterion], expected->weights[term],
                          &expected->one);
        }
    }
    return status;
}

/* In the norm, relative to `expected`; where that is 0, as for an input that the criterion does not read, any
 * other number is wrong. */
static double relative_error(const void *found, int precision, const double *expected, size_t count)
{
    double error = 0, size = 0;
    for (size_t k = 0; k < count; k++) {
        const double number =
            precision == RATECL_PRECISION_F64 ? ((const double *)found)[k] : ((const float *)found)[k];
        error += pow(number - expected[k], 2);
        size += pow(expected[k], 2);
    }
    return error == 0 ? 0 : sqrt(error / size);
}

/* The gradient of a criterion's terms: the others have the weight 0. With the values of all terms. */
static ratecl_status check_criterion(struct selftest *test, int path, int precision, int criterion,
                                     const struct input inputs[INPUT_COUNT],
                                     const struct quantities *quantities, const struct expected *expected,
                                     const struct gradients *found)
{
    double weights[TERM_COUNT];
    for (size_t k = 0; k < TERM_COUNT; k++)
        weights[k] = (int)test->terms[k].criterion == criterion ? expected->weights[k] : 0;
    const ratecl_status status = evaluate(test, path, precision, inputs, quantities, found, weights);
    for (int k = 0; k < INPUT_COUNT && status == RATECL_OK; k++)
        note(&test->worst[GRADIENTS][path][criterion][precision],
             relative_error(found->elements[k], precision, expected->sums[criterion].elements[k],
                            found->counts[k]) /
                 gradient_tolerances[precision]);
    return status;
}

/* One path in one precision: values alone, and gradients unless they are what others are compared with. */
static ratecl_status check_path(struct selftest *test, int path, int precision, const struct sample *sample,
                                const struct input inputs[INPUT_COUNT], const struct quantities *quantities,
                                const struct expected *expected, const struct gradients *found)
{
    const int cpu = test->contexts[CPU] ? CPU : DEVICE;
    const bool is_reference = path == cpu && precision == RATECL_PRECISION_F64;
    ratecl_status status = RATECL_OK;
    if (sample->alone || !compiles(test, path))
        status = evaluate(test, path, precision, inputs, quantities, NULL, NULL);
    for (int k = 1; k <= CRITERION_COUNT && status == RATECL_OK && !is_reference; k++)
        status = check_criterion(test, path, precision, k, inputs, quantities, expected, found);
    return status;
}

static ratecl_status check_paths(struct selftest *test, const struct sample *sample,
                                 const struct input inputs[INPUT_COUNT])
{
    const int cpu = test->contexts[CPU] ? CPU : DEVICE;
    struct quantities quantities = { 0 };
    struct expected expected = { .weights = { 0 } };
    struct gradients found = { 0 };
    bool memory = make_quantities(&quantities, test, sample, inputs);
    memory = make_expected(&expected, inputs) && memory;
    memory = make_gradients(&found, inputs) && memory;
    ratecl_status status = memory ? expect_gradients(test, cpu, inputs, &expected) : RATECL_ERROR_MEMORY;
    for (int path = 0; path < PATH_COUNT; path++)
        for (int p = RATECL_PRECISION_F32; p <= RATECL_PRECISION_F64 && status == RATECL_OK; p++)
            if (has_precision(test, path, sample, p))
                status = check_path(test, path, p, sample, inputs, &quantities, &expected, &found);
    release_quantities(&quantities);
    release_expected(&expected);
    release_gradients(&found);
    return status;
}

static ratecl_status run_sample(struct selftest *test, const struct sample *sample)
{
    struct input inputs[INPUT_COUNT] = { 0 };
    const bool made = make_states(&inputs[STATES], sample, sample->B, sample->T, 1) &&
                      make_states(&inputs[REFERENCE], sample, sample->B_reference, sample->T_reference, 2) &&
                      make_weights(&inputs[WEIGHTS], sample->N);
    const ratecl_status status = made ? check_paths(test, sample, inputs) : RATECL_ERROR_MEMORY;
    for (int k = 0; k < INPUT_COUNT; k++) {
        free(inputs[k].memory);
        free(inputs[k].elements);
    }
    return status;
}

/* ---- The run ---- */

/* One row of the table, if anything was compared for it; whether it passed. */
static bool report_row(const struct selftest *test, int result, int criterion, int precision)
{
    const int paths = test->contexts[CPU] ? PATH_COUNT : 1;
    bool compared = false, passed = true;
    for (int path = 0; path < paths; path++) {
        const struct worst *worst = &test->worst[result][path][criterion][precision];
        compared |= worst->compared;
        passed &= worst->error <= 1;
    }
    if (!compared)
        return true;
    printf("%-18s %-10s", ratecl_criterion_name((ratecl_criterion)criterion),
           precision_name((ratecl_precision)precision));
    for (int path = 0; path < paths; path++) {
        const struct worst *worst = &test->worst[result][path][criterion][precision];
        if (worst->compared)
            printf("  %10.2g", worst->error);
        else
            printf("  %10s", test->devices[path].fp64 ? "reference" : "no fp64");
    }
    puts(passed ? "  PASS" : "  FAIL");
    return passed;
}

static int report(const struct selftest *test)
{
    static const char *const titles[RESULT_COUNT] = {
        [VALUES] = "Values against their definitions",
        [GRADIENTS] = "Gradients against the CPU path's in f64",
    };
    char label[320];
    bool passed = true;
    device_label(&test->devices[DEVICE], label, sizeof label);
    output_pair("ratecl", ratecl_version());
    output_pair("device", label);
    printf("%d inputs x %d terms, and the largest error relative to what is allowed\n", SAMPLE_COUNT,
           TERM_COUNT);
    for (int result = 0; result < RESULT_COUNT; result++) {
        printf("\n%s:\n%-18s arithmetic", titles[result], "criterion");
        for (int path = 0; path < (test->contexts[CPU] ? PATH_COUNT : 1); path++)
            printf("  %10s", test->devices[path].id);
        putchar('\n');
        for (int precision = RATECL_PRECISION_F32; precision <= RATECL_PRECISION_F64; precision++)
            for (int criterion = 1; criterion <= CRITERION_COUNT; criterion++)
                passed &= report_row(test, result, criterion, precision);
    }
    puts(passed ? "\nPASS" : "\nFAIL");
    return passed ? COMMAND_DONE : COMMAND_FAILED;
}

static ratecl_status make_contexts(struct selftest *test, const char *device)
{
    const char *const names[PATH_COUNT] = { device, "cpu" };
    ratecl_status status = RATECL_OK;
    for (int path = 0; path < PATH_COUNT && status == RATECL_OK; path++) {
        if (path == CPU && test->devices[DEVICE].kind == RATECL_DEVICE_OPENMP)
            break;
        ratecl_context_options wanted = RATECL_CONTEXT_OPTIONS_INIT;
        wanted.device = names[path];
        test->devices[path].size = sizeof test->devices[path];
        status = ratecl_context_create(&wanted, &test->contexts[path]);
        if (status == RATECL_OK)
            status = ratecl_context_device(test->contexts[path], &test->devices[path]);
    }
    return status;
}

static ratecl_status prepare(struct selftest *test, const char *device)
{
    ratecl_status status = make_contexts(test, device);
    for (size_t k = 0; k < TERM_COUNT && status == RATECL_OK; k++)
        status = ratecl_term_parse(&test->terms[k], term_texts[k]);
    return status;
}

static int run_test(struct selftest *test, const char *device)
{
    struct progress progress;
    progress_start(&progress, true);
    progress_stage(&progress, "testing");
    ratecl_status status = prepare(test, device);
    const bool prepared = status == RATECL_OK;
    size_t done = 0;
    while (prepared && done < SAMPLE_COUNT && (status = run_sample(test, &samples[done])) == RATECL_OK)
        progress_fraction(&progress, (double)++done / SAMPLE_COUNT);
    progress_stop(&progress);
    if (!prepared)
        return complain_of(status);
    if (status == RATECL_OK)
        return report(test);
    complain("%s states: %s", samples[done].name,
             status == RATECL_ERROR_MEMORY ? "memory ran out" : ratecl_last_error());
    return COMMAND_FAILED;
}

static int run(int argc, char **argv)
{
    struct settings settings = { 0 };
    const char *none;
    const parse_result parsed = arguments_parse(&selftest_command, argc, argv, &settings, &none);
    if (parsed != PARSE_DONE)
        return parsed == PARSE_HELPED ? COMMAND_DONE : COMMAND_WRONG;
    struct selftest test = { 0 };
    const int result = run_test(&test, settings.device);
    for (int path = 0; path < PATH_COUNT; path++)
        ratecl_context_release(test.contexts[path]);
    return result;
}

const struct command selftest_command = {
    .name = "selftest",
    .summary = "Compare a device's values with the definitions, its gradients with the CPU path's.",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .run = run,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* The search of a device's parameters: one group of choices after the other, as long as the time lasts. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "context.h"

enum { TERMS_MAX = 5, TEXT_BYTES = 1024 };

/* ---- What is timed ---- */

typedef struct pass {
    const char *name;
    uint32_t criteria; /* a bit each */
    uint32_t outputs;
} pass;

#define ONE(criterion) (UINT32_C(1) << (criterion))
#define ALL_BUT_HEBBIAN                                                                      \
    (ONE(RATECL_FIRING_RATE) | ONE(RATECL_FIRING_RATE_DIST) | ONE(RATECL_STATE_PREDICTION) | \
     ONE(RATECL_ENTROPY) | ONE(RATECL_POPULATION_KL))
static const pass passes[RATECL_TUNE_COUNT] = {
    [RATECL_TUNE_SWEEP] = { "sweep", ALL_BUT_HEBBIAN, RATECL_OUTPUT_VALUES },
    [RATECL_TUNE_GRADIENT] = { "gradient", ALL_BUT_HEBBIAN,
                               RATECL_OUTPUT_VALUES | RATECL_OUTPUT_GRADIENT_STATES },
    [RATECL_TUNE_CORRELATION] = { "correlation", ONE(RATECL_HEBBIAN), RATECL_OUTPUT_VALUES },
    [RATECL_TUNE_CORRELATION_GRADIENT] = { "correlation's gradients", ONE(RATECL_HEBBIAN),
                                           RATECL_OUTPUT_VALUES | RATECL_OUTPUT_GRADIENT_STATES |
                                               RATECL_OUTPUT_GRADIENT_WEIGHTS },
};

typedef struct results {
    double values[TERMS_MAX];
    void *gradients[RC_INPUT_COUNT]; /* reals of the plan's precision */
} results;

typedef struct search {
    ratecl_context *context;
    const rc_tuner *tuner;
    ratecl_tune_options options;
    ratecl_tune_result *result;
    double start;
    int64_t N, most_rows;
    int64_t rows[RATECL_TUNE_COUNT];
    float *states, *reference, *weights; /* (most_rows, N) twice, (N, N) */
    results found;                       /* of the last evaluation */
    results expected[RATECL_TUNE_COUNT]; /* with the defaults */
    char best[TEXT_BYTES];               /* all parameters, and the times with them */
    double times[RATECL_TUNE_COUNT];
} search;

static double spent(const search *s)
{
    return (rc_seconds_now() - s->start) / s->options.budget;
}

/* ---- One evaluation ---- */

static ratecl_status make_plan(const search *s, int which, ratecl_plan **plan)
{
    const ratecl_layout states = RATECL_LAYOUT_INIT(RATECL_F32, 1, s->rows[which], s->N);
    const ratecl_layout weights = RATECL_LAYOUT_INIT(RATECL_F32, 1, s->N, s->N);
    ratecl_term terms[TERMS_MAX];
    ratecl_plan_options options = RATECL_PLAN_OPTIONS_INIT;
    options.precision = s->options.precision;
    options.outputs = passes[which].outputs;
    options.states = options.reference = &states;
    options.weights = &weights;
    options.terms = terms;
    for (int criterion = RATECL_FIRING_RATE; criterion <= RATECL_POPULATION_KL; ++criterion)
        if (passes[which].criteria & ONE(criterion))
            ratecl_term_init(&terms[options.term_count++], (ratecl_criterion)criterion);
    return ratecl_plan_create(s->context, &options, plan);
}

/* The results go to s->found. */
static ratecl_status time_pass(search *s, int which, double *seconds)
{
    ratecl_plan *plan = NULL;
    int64_t skipped[TERMS_MAX + 1];
    RC_TRY(make_plan(s, which, &plan));
    rc_evaluation evaluation = { .scale = 1, .values = s->found.values, .skipped = skipped };
    const void *const inputs[RC_INPUT_COUNT] = { s->states, s->reference, s->weights };
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        evaluation.inputs[k] = plan->spec.uses[k] ? inputs[k] : NULL;
        evaluation.gradients[k] = plan->spec.gradients[k].wanted ? s->found.gradients[k] : NULL;
    }
    const ratecl_status status = s->tuner->time(plan->state, &evaluation, seconds);
    ratecl_plan_release(plan);
    return status;
}

/* ---- Whether results agree ---- */

static size_t real_bytes(const search *s)
{
    return s->options.precision == RATECL_PRECISION_F64 ? sizeof(double) : sizeof(float);
}

static double real_at(const search *s, const void *reals, size_t k)
{
    return rc_element_read(real_bytes(s) == sizeof(double) ? RATECL_F64 : RATECL_F32, reals, (int64_t)k);
}

static size_t gradient_count(const search *s, int which, int input)
{
    return (size_t)((input == RC_WEIGHTS ? s->N : s->rows[which]) * s->N);
}

static bool has_gradient(int which, int input)
{
    const uint32_t bit = input == RC_STATES ? RATECL_OUTPUT_GRADIENT_STATES : RATECL_OUTPUT_GRADIENT_WEIGHTS;
    return input != RC_REFERENCE && (passes[which].outputs & bit);
}

static bool gradients_agree(const search *s, int which, int input)
{
    const double bound = real_bytes(s) == sizeof(double) ? 2e-10 : 2e-5;
    double difference = 0, norm = 0;
    for (size_t k = 0; k < gradient_count(s, which, input); ++k) {
        const double expected = real_at(s, s->expected[which].gradients[input], k);
        const double d = real_at(s, s->found.gradients[input], k) - expected;
        difference += d * d;
        norm += expected * expected;
    }
    return difference <= bound * bound * norm; /* false for a NaN */
}

/* Each of two results may be off by the bound that is promised: the states are such that no value is small
 * beside what its bound is relative to. */
static bool results_agree(const search *s, int which)
{
    const double bound = real_bytes(s) == sizeof(double) ? 4e-12 : 4e-6;
    for (int k = 0; k < TERMS_MAX; ++k) {
        const double expected = s->expected[which].values[k];
        if (!(fabs(s->found.values[k] - expected) <= bound * fmax(fabs(expected), 1)))
            return false;
    }
    for (int input = 0; input < RC_INPUT_COUNT; ++input)
        if (has_gradient(which, input) && !gradients_agree(s, which, input))
            return false;
    return true;
}

static ratecl_status keep_expected(search *s, int which)
{
    memcpy(s->expected[which].values, s->found.values, sizeof s->found.values);
    for (int input = 0; input < RC_INPUT_COUNT; ++input) {
        if (!has_gradient(which, input))
            continue;
        const size_t bytes = gradient_count(s, which, input) * real_bytes(s);
        s->expected[which].gradients[input] = malloc(bytes);
        if (!s->expected[which].gradients[input])
            return rc_fail_memory(bytes);
        memcpy(s->expected[which].gradients[input], s->found.gradients[input], bytes);
    }
    return RATECL_OK;
}

/* ---- The problem ---- */

static const double wanted_seconds = 0.01;
static const int64_t least_rows = 256;

/* Neurons of different rates, never silent; of another sequence for each seed. */
static void fill(float *array, int64_t rows, int64_t N, uint64_t seed)
{
    for (int64_t k = 0; k < rows * N; ++k) {
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        const float uniform = (float)(seed >> 40) * 0x1p-24f;
        array[k] = (0.25f + 1.75f * (float)(k % N) / (float)N) * (0.25f + 1.5f * uniform);
    }
}

static ratecl_status make_problem(search *s)
{
    ratecl_device_info device = { .size = sizeof device };
    s->context->path->device_info(s->context->state, &device);
    const bool slow = device.kind == RATECL_DEVICE_SOFTWARE;
    s->N = slow ? 128 : 1024;
    int64_t most_bytes = device.kind == RATECL_DEVICE_GPU ? 256 << 20 : slow ? 4 << 20 : 64 << 20;
    if (device.largest_buffer && (uint64_t)most_bytes > device.largest_buffer / 4)
        most_bytes = (int64_t)(device.largest_buffer / 4);
    s->most_rows = most_bytes / ((int64_t)sizeof(float) * s->N);
    if (s->most_rows < least_rows)
        s->most_rows = least_rows;
    const size_t count = (size_t)(s->most_rows * s->N), weights = (size_t)(s->N * s->N);
    s->states = malloc(count * sizeof *s->states);
    s->reference = malloc(count * sizeof *s->reference);
    s->weights = malloc(weights * sizeof *s->weights);
    s->found.gradients[RC_STATES] = malloc(count * real_bytes(s));
    s->found.gradients[RC_WEIGHTS] = malloc(weights * real_bytes(s));
    if (!s->states || !s->reference || !s->weights || !s->found.gradients[RC_STATES] ||
        !s->found.gradients[RC_WEIGHTS])
        return rc_fail_memory(count * (2 * sizeof *s->states + real_bytes(s)));
    fill(s->states, s->most_rows, s->N, 1);
    fill(s->reference, s->most_rows, s->N, 2);
    fill(s->weights, s->N, s->N, 3);
    return RATECL_OK;
}

static void free_problem(search *s)
{
    free(s->states);
    free(s->reference);
    free(s->weights);
    for (int input = 0; input < RC_INPUT_COUNT; ++input) {
        free(s->found.gradients[input]);
        for (int which = 0; which < RATECL_TUNE_COUNT; ++which)
            free(s->expected[which].gradients[input]);
    }
}

static void tell(const search *s, const char *what, const char *choice)
{
    char message[TEXT_BYTES];
    snprintf(message, sizeof message, "%s: %s", what, choice);
    if (s->options.progress)
        s->options.progress(fmin(spent(s), 1), message, s->options.progress_user);
}

/* As many rows as take long enough to be timed, and the time with the defaults. */
static ratecl_status size_pass(search *s, int which)
{
    tell(s, passes[which].name, "defaults");
    for (s->rows[which] = least_rows;;) {
        RC_TRY(time_pass(s, which, &s->times[which]));
        if (s->times[which] >= wanted_seconds || s->rows[which] == s->most_rows)
            break;
        const double factor = fmin(fmax(1.25 * wanted_seconds / s->times[which], 1.5), 16);
        const double rows = factor * (double)s->rows[which];
        s->rows[which] = rows < (double)s->most_rows ? (int64_t)rows : s->most_rows;
    }
    return keep_expected(s, which);
}

/* ---- The search ---- */

/* A gain of less is not told from noise. */
static const double gain = 0.97;

/* The times of some passes with these parameters; false where they are of no use. */
static bool time_choice(search *s, uint32_t which, const char *text, double times[RATECL_TUNE_COUNT])
{
    char all[TEXT_BYTES];
    if (s->tuner->set(s->context->state, s->options.precision, text, all, sizeof all) != RATECL_OK)
        return false;
    for (int k = 0; k < RATECL_TUNE_COUNT; ++k)
        if (which >> k & 1 && !(time_pass(s, k, &times[k]) == RATECL_OK && results_agree(s, k)))
            return false;
    return true;
}

/* Whether these times are shorter than the best so far, on the whole. */
static bool is_gain(const search *s, uint32_t which, const double times[RATECL_TUNE_COUNT])
{
    double sum = 0, count = 0;
    for (int k = 0; k < RATECL_TUNE_COUNT; ++k)
        if (which >> k & 1) {
            sum += times[k] / s->times[k];
            ++count;
        }
    return sum < gain * count;
}

/* Try one choice on the best so far; whether it is better. What seems so is timed once more, after what it
 * replaces. */
static bool try_choice(search *s, uint32_t which, const char *choice)
{
    char text[2 * TEXT_BYTES], all[TEXT_BYTES];
    double times[RATECL_TUNE_COUNT] = { 0 };
    snprintf(text, sizeof text, "%s,%s", s->best, choice);
    if (s->tuner->set(s->context->state, s->options.precision, text, all, sizeof all) != RATECL_OK ||
        strcmp(all, s->best) == 0)
        return false;
    ++s->result->tried;
    if (!time_choice(s, which, all, times)) {
        ++s->result->failed;
        return false;
    }
    if (!is_gain(s, which, times) || !time_choice(s, which, s->best, s->times) ||
        !time_choice(s, which, all, times) || !is_gain(s, which, times))
        return false;
    for (int k = 0; k < RATECL_TUNE_COUNT; ++k)
        if (which >> k & 1)
            s->times[k] = times[k];
    memcpy(s->best, all, sizeof all);
    return true;
}

/* All groups of these passes, until a part of the budget is spent; whether something was found. */
static bool search_groups(search *s, uint32_t which, double until)
{
    const int name = (which & 1U << RATECL_TUNE_SWEEP) != 0 ? RATECL_TUNE_SWEEP : RATECL_TUNE_CORRELATION;
    bool better = false;
    for (const rc_tuning_group *group = s->tuner->groups(s->context->state); group->passes; ++group)
        for (size_t k = 0; k < sizeof group->choices / sizeof *group->choices && group->choices[k]; ++k) {
            if (!(group->passes & which) || spent(s) >= until)
                continue;
            tell(s, passes[name].name, group->choices[k]);
            better |= try_choice(s, group->passes, group->choices[k]);
        }
    return better;
}

static void search_all(search *s)
{
    for (double half = spent(s); spent(s) < 1; half = spent(s)) {
        bool better = search_groups(s, RC_TUNE_SWEEPS, half + (1 - half) / 2);
        better |= search_groups(s, RC_TUNE_CORRELATIONS, 1);
        if (!better)
            break;
    }
}

/* The times of the passes with these parameters, one after the other. */
static ratecl_status time_all(search *s, const char *text, double times[RATECL_TUNE_COUNT])
{
    char all[TEXT_BYTES];
    RC_TRY(s->tuner->set(s->context->state, s->options.precision, text, all, sizeof all));
    for (int k = 0; k < RATECL_TUNE_COUNT; ++k)
        RC_TRY(time_pass(s, k, &times[k]));
    return RATECL_OK;
}

static ratecl_status run_search(search *s)
{
    ratecl_tune_result *result = s->result;
    char defaults[TEXT_BYTES];
    if (s->options.keep)
        RC_TRY(
            s->tuner->keep(s->context->state, s->options.precision, NULL, result->file, sizeof result->file));
    RC_TRY(make_problem(s));
    RC_TRY(s->tuner->set(s->context->state, s->options.precision, "", defaults, sizeof defaults));
    memcpy(s->best, defaults, sizeof defaults);
    for (int k = 0; k < RATECL_TUNE_COUNT; ++k)
        RC_TRY(size_pass(s, k));
    search_all(s);
    tell(s, "result", s->best);
    RC_TRY(time_all(s, defaults, result->before));
    RC_TRY(time_all(s, s->best, result->after));
    snprintf(result->parameters, sizeof result->parameters, "%s", s->best);
    if (s->options.keep)
        RC_TRY(s->tuner->keep(s->context->state, s->options.precision, s->best, result->file,
                              sizeof result->file));
    return RATECL_OK;
}

void ratecl_tune_options_init_sized(ratecl_tune_options *options, size_t size)
{
    const ratecl_tune_options defaults = RATECL_TUNE_OPTIONS_INIT;
    rc_struct_init(options, size, &defaults, sizeof defaults);
}

void ratecl_tune_result_init_sized(ratecl_tune_result *result, size_t size)
{
    const ratecl_tune_result empty = { .size = sizeof empty };
    rc_struct_init(result, size, &empty, sizeof empty);
}

ratecl_status ratecl_tune(ratecl_context *context, const ratecl_tune_options *given,
                          ratecl_tune_result *result)
{
    RC_REFUSE_NULL(context);
    RC_REFUSE_NULL(result);
    search s = { .context = context, .options = RATECL_TUNE_OPTIONS_INIT };
    if (given)
        RC_TRY(RC_OPTIONS(&s.options, given, "options"));
    RC_TRY(rc_struct_check(result->size, "result.size"));
    if (!(s.options.budget > 0) || !isfinite(s.options.budget))
        return rc_fail(RATECL_ERROR_ARGUMENT, "options.budget is %g: expected a positive number of seconds",
                       s.options.budget);
    s.tuner = context->path->tuner;
    if (!s.tuner)
        return rc_fail(RATECL_ERROR_UNSUPPORTED,
                       "the CPU path has nothing to tune: expected an OpenCL device");
    if (s.options.precision == RATECL_PRECISION_F64 && !context->path->has_fp64(context->state))
        return rc_fail(
            RATECL_ERROR_UNSUPPORTED,
            "options.precision is RATECL_PRECISION_F64: expected F32, since the device has no fp64");
    ratecl_tune_result done = { .size = sizeof done };
    s.result = &done;
    s.start = rc_seconds_now();
    const ratecl_status status = run_search(&s);
    free_problem(&s);
    if (status == RATECL_OK)
        rc_struct_give(result, result->size, &done, sizeof done);
    else
        context->path->tuner->set(context->state, s.options.precision, "", s.best, sizeof s.best);
    return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* From terms to the union of the sums that they need. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "terms.h"

const char *const rc_input_names[RC_INPUT_COUNT] = { "states", "reference", "weights" };

/* ---- The sums that a term needs ---- */

/* The index of `value` in a list of distinct ones, put there if it is new. */
static size_t distinct_lag(rc_spec *spec, int64_t tau)
{
    size_t k = 0;
    while (k < spec->lag_count && spec->lags[k] != tau)
        ++k;
    if (k == spec->lag_count)
        spec->lags[spec->lag_count++] = tau;
    return k;
}

static size_t distinct_epsilon(rc_spec *spec, double eps)
{
    size_t k = 0;
    while (k < spec->entropy_count && spec->epsilons[k] != eps)
        ++k;
    if (k == spec->entropy_count)
        spec->epsilons[spec->entropy_count++] = eps;
    return k;
}

static ratecl_status require(const rc_spec *spec, int input, const char *term)
{
    if (spec->inputs[input].extent)
        return RATECL_OK;
    return rc_fail(RATECL_ERROR_ARGUMENT, "options.%s is NULL: expected a layout, since %s needs it",
                   rc_input_names[input], term);
}

static ratecl_status need_moments(rc_spec *spec, rc_term *term)
{
    (void)term;
    spec->moments = true;
    return RATECL_OK;
}

static ratecl_status need_spread(rc_spec *spec, rc_term *term)
{
    const int64_t N = spec->inputs[RC_STATES].shape[2];
    if (term->options.ddof >= N)
        return rc_fail(RATECL_ERROR_ARGUMENT,
                       "firing_rate_dist: ddof is %" PRId64 ": expected less than N = %" PRId64,
                       term->options.ddof, N);
    return need_moments(spec, term);
}

static ratecl_status need_lag(rc_spec *spec, rc_term *term)
{
    const int64_t T = spec->inputs[RC_STATES].shape[1];
    if (term->options.tau >= T)
        return rc_fail(RATECL_ERROR_ARGUMENT,
                       "state_prediction: tau is %" PRId64 ": expected at least 1 and less than T = %" PRId64,
                       term->options.tau, T);
    term->lag = distinct_lag(spec, term->options.tau);
    spec->gradient_reads = true;
    return RATECL_OK;
}

static ratecl_status need_correlation(rc_spec *spec, rc_term *term)
{
    RC_TRY(require(spec, RC_WEIGHTS, "hebbian"));
    const int64_t N = spec->inputs[RC_STATES].shape[2], *W = spec->inputs[RC_WEIGHTS].shape;
    if (W[0] != 1 || W[1] != N || W[2] != N)
        return rc_fail(RATECL_ERROR_ARGUMENT,
                       "options.weights has the shape (%" PRId64 ", %" PRId64 ", %" PRId64
                       "): expected (1, N, N) with N = %" PRId64,
                       W[0], W[1], W[2], N);
    spec->uses[RC_WEIGHTS] = true;
    *(term->options.over == RATECL_OVER_BATCH ? &spec->hebbian_batch : &spec->hebbian_step) = true;
    return RATECL_OK;
}

static ratecl_status need_row_entropy(rc_spec *spec, rc_term *term)
{
    term->entropy = distinct_epsilon(spec, term->options.eps);
    spec->gradient_reads = true;
    return need_moments(spec, term); /* reg's part, from the mean squares */
}

static ratecl_status need_both_moments(rc_spec *spec, rc_term *term)
{
    RC_TRY(require(spec, RC_REFERENCE, "population_kl"));
    const int64_t N = spec->inputs[RC_STATES].shape[2], N1 = spec->inputs[RC_REFERENCE].shape[2];
    if (N1 != N)
        return rc_fail(RATECL_ERROR_ARGUMENT,
                       "options.reference has %" PRId64 " neurons: expected as many as states, N = %" PRId64,
                       N1, N);
    spec->uses[RC_REFERENCE] = spec->gradient_reads = true;
    return need_moments(spec, term);
}

typedef ratecl_status (*need)(rc_spec *spec, rc_term *term);
static const need needs[] = {
    [RATECL_FIRING_RATE] = need_moments,  [RATECL_FIRING_RATE_DIST] = need_spread,
    [RATECL_STATE_PREDICTION] = need_lag, [RATECL_HEBBIAN] = need_correlation,
    [RATECL_ENTROPY] = need_row_entropy,  [RATECL_POPULATION_KL] = need_both_moments,
};

/* ---- The description of a plan ---- */

static ratecl_status check_inputs(rc_spec *spec, const ratecl_plan_options *options)
{
    const ratecl_layout *const layouts[RC_INPUT_COUNT] = { options->states, options->reference,
                                                           options->weights };
    for (int k = 0; k < RC_INPUT_COUNT; ++k)
        if (layouts[k])
            RC_TRY(rc_view_check(layouts[k], rc_input_names[k], &spec->inputs[k]));
    spec->uses[RC_STATES] = true;
    return require(spec, RC_STATES, "every plan");
}

/* An eps of 0 is served by the sweep itself: let it be the first. */
static void zero_epsilon_first(rc_spec *spec)
{
    for (size_t k = 1; k < spec->entropy_count; ++k)
        if (spec->epsilons[k] == 0) {
            spec->epsilons[k] = spec->epsilons[0];
            spec->epsilons[0] = 0;
            for (size_t t = 0; t < spec->term_count; ++t)
                if (spec->terms[t].entropy == k || spec->terms[t].entropy == 0)
                    spec->terms[t].entropy = k - spec->terms[t].entropy;
        }
}

/* Complete term `k`. Each one lies behind the one before by the size of the first. */
static ratecl_status complete_term(const ratecl_plan_options *options, size_t k, ratecl_term *complete)
{
    char name[40];
    snprintf(name, sizeof name, "options.terms[%zu]", k);
    const char *given = (const char *)options->terms + k * options->terms->size;
    size_t size;
    memcpy(&size, given, sizeof size);
    if (size != options->terms->size)
        return rc_fail(RATECL_ERROR_ARGUMENT, "%s.size is %zu: expected %zu, the size of options.terms[0]",
                       name, size, options->terms->size);
    RC_TRY(rc_term_complete(given, name, complete));
    return options->precision == RATECL_PRECISION_F32 ? rc_term_check_f32(complete, name) : RATECL_OK;
}

static ratecl_status add_terms(rc_spec *spec, const ratecl_plan_options *options)
{
    if (!options->terms || options->term_count < 1 || options->term_count > INT32_MAX)
        return rc_fail(RATECL_ERROR_ARGUMENT, "options.terms holds %zu terms%s: expected at least 1",
                       options->term_count, options->terms ? "" : " at NULL");
    const size_t count = options->term_count;
    spec->terms = calloc(count, sizeof *spec->terms);
    spec->lags = calloc(count, sizeof *spec->lags);
    spec->epsilons = calloc(count, sizeof *spec->epsilons);
    if (!spec->terms || !spec->lags || !spec->epsilons)
        return rc_fail_memory(count * sizeof *spec->terms);

    spec->term_count = count;
    for (size_t k = 0; k < count; ++k) {
        rc_term *term = &spec->terms[k];
        RC_TRY(complete_term(options, k, &term->options));
        RC_TRY(needs[term->options.criterion](spec, term));
        term->cotangent = spec->cotangent_count;
        spec->cotangent_count += rc_is_vector(term);
        term->value = spec->value_count;
        spec->value_count += rc_values_of(spec, term);
    }
    zero_epsilon_first(spec);
    return RATECL_OK;
}

/* ---- Gradients ---- */

/* RATECL_OUTPUT_ of the gradient to each input, and the names of their options. */
static const uint32_t gradient_bits[RC_INPUT_COUNT] = { RATECL_OUTPUT_GRADIENT_STATES,
                                                        RATECL_OUTPUT_GRADIENT_REFERENCE,
                                                        RATECL_OUTPUT_GRADIENT_WEIGHTS };
static const char *const gradient_names[RC_INPUT_COUNT] = { "gradient_states", "gradient_reference",
                                                            "gradient_weights" };

static ratecl_status check_outputs(const ratecl_plan_options *options)
{
    uint32_t gradients = 0;
    for (int k = 0; k < RC_INPUT_COUNT; ++k)
        gradients |= gradient_bits[k];
    if ((options->outputs & ~gradients) != RATECL_OUTPUT_VALUES)
        return rc_fail(RATECL_ERROR_ARGUMENT,
                       "options.outputs is 0x%x: expected RATECL_OUTPUT_VALUES (0x%x), alone or joined with "
                       "gradients (0x%x) by |",
                       (unsigned)options->outputs, (unsigned)RATECL_OUTPUT_VALUES, (unsigned)gradients);
    if (options->accumulate & ~(options->outputs & gradients))
        return rc_fail(RATECL_ERROR_ARGUMENT,
                       "options.accumulate is 0x%x: expected gradients of options.outputs (0x%x) only",
                       (unsigned)options->accumulate, (unsigned)(options->outputs & gradients));
    return RATECL_OK;
}

/* A layout for the gradient to an input, given or not. */
static ratecl_status gradient_view(const rc_spec *spec, int input, const ratecl_layout *given, rc_view *view)
{
    const int64_t *shape = spec->inputs[input].shape;
    ratecl_layout layout = RATECL_LAYOUT_INIT(
        spec->precision == RATECL_PRECISION_F64 ? RATECL_F64 : RATECL_F32, shape[0], shape[1], shape[2]);
    RC_TRY(rc_view_check(given ? given : &layout, gradient_names[input], view));
    if (memcmp(view->shape, shape, sizeof view->shape) != 0)
        return rc_fail(RATECL_ERROR_ARGUMENT,
                       "options.%s has the shape (%" PRId64 ", %" PRId64 ", %" PRId64
                       "): expected that of %s, (%" PRId64 ", %" PRId64 ", %" PRId64 ")",
                       gradient_names[input], view->shape[0], view->shape[1], view->shape[2],
                       rc_input_names[input], shape[0], shape[1], shape[2]);
    return rc_view_check_output(view, gradient_names[input]);
}

static ratecl_status add_gradients(rc_spec *spec, const ratecl_plan_options *options)
{
    const ratecl_layout *const layouts[RC_INPUT_COUNT] = { options->gradient_states,
                                                           options->gradient_reference,
                                                           options->gradient_weights };
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        rc_gradient *gradient = &spec->gradients[k];
        gradient->wanted = (options->outputs & gradient_bits[k]) != 0;
        gradient->accumulate = (options->accumulate & gradient_bits[k]) != 0;
        if (!gradient->wanted)
            continue;
        if (!spec->uses[k])
            return rc_fail(RATECL_ERROR_ARGUMENT,
                           "options.outputs is 0x%x, with the gradient to %s: expected a %s term, since no "
                           "other one depends on them",
                           (unsigned)options->outputs, rc_input_names[k],
                           k == RC_WEIGHTS ? "hebbian" : "population_kl");
        RC_TRY(gradient_view(spec, k, layouts[k], &gradient->view));
    }
    return RATECL_OK;
}

/* ---- The whole ---- */

static ratecl_status check_precision(const ratecl_context *context, const rc_spec *spec)
{
    if (context->path->has_fp64(context->state))
        return RATECL_OK;
    if (spec->precision == RATECL_PRECISION_F64)
        return rc_fail(
            RATECL_ERROR_UNSUPPORTED,
            "options.precision is RATECL_PRECISION_F64: expected F32, since the device has no fp64");
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        const bool input = spec->uses[k] && spec->inputs[k].element == RATECL_F64;
        const bool gradient = spec->gradients[k].wanted && spec->gradients[k].view.element == RATECL_F64;
        if (input || gradient)
            return rc_fail(RATECL_ERROR_UNSUPPORTED,
                           "%s.element is RATECL_F64: expected another type, since the device has no fp64",
                           input ? rc_input_names[k] : gradient_names[k]);
    }
    return RATECL_OK;
}

static ratecl_status describe(const ratecl_context *context, const ratecl_plan_options *options,
                              rc_spec *spec)
{
    if ((unsigned)options->precision > RATECL_PRECISION_F64)
        return rc_fail(RATECL_ERROR_ARGUMENT,
                       "options.precision is %d: expected RATECL_PRECISION_F32 or RATECL_PRECISION_F64",
                       (int)options->precision);
    spec->precision = options->precision;
    RC_TRY(check_outputs(options));
    RC_TRY(check_inputs(spec, options));
    RC_TRY(add_terms(spec, options));
    RC_TRY(add_gradients(spec, options));
    return check_precision(context, spec);
}

/* ---- Plans ---- */

void ratecl_plan_options_init_sized(ratecl_plan_options *options, size_t size)
{
    const ratecl_plan_options defaults = RATECL_PLAN_OPTIONS_INIT;
    rc_struct_init(options, size, &defaults, sizeof defaults);
}

void ratecl_plan_release(ratecl_plan *plan)
{
    if (!plan)
        return;
    if (plan->state)
        plan->context->path->plan_release(plan->state);
    ratecl_context_release(plan->context);
    free(plan->spec.terms);
    free(plan->spec.lags);
    free(plan->spec.epsilons);
    free(plan->values);
    free(plan->skipped);
    free(plan);
}

static ratecl_status plan_fill(ratecl_plan *plan, const ratecl_plan_options *options)
{
    rc_spec *spec = &plan->spec;
    RC_TRY(describe(plan->context, options, spec));
    plan->values = calloc(spec->value_count, sizeof *plan->values);
    plan->skipped = calloc(spec->term_count + 1, sizeof *plan->skipped);
    if (!plan->values || !plan->skipped)
        return rc_fail_memory(spec->value_count * sizeof *plan->values);
    return plan->context->path->plan_create(plan->context->state, spec, &plan->state);
}

ratecl_status ratecl_plan_create(ratecl_context *context, const ratecl_plan_options *given,
                                 ratecl_plan **plan)
{
    RC_REFUSE_NULL(context);
    RC_REFUSE_NULL(plan);
    if (!given)
        return rc_fail(RATECL_ERROR_ARGUMENT, "options is NULL: expected a pointer");
    ratecl_plan_options options = RATECL_PLAN_OPTIONS_INIT;
    RC_TRY(RC_OPTIONS(&options, given, "options"));

    ratecl_plan *made = calloc(1, sizeof *made);
    if (!made)
        return rc_fail_memory(sizeof *made);
    made->context = rc_context_retain(context);
    const ratecl_status status = plan_fill(made, &options);
    if (status == RATECL_OK)
        *plan = made;
    else
        ratecl_plan_release(made);
    return status;
}

size_t ratecl_plan_value_count(const ratecl_plan *plan)
{
    return plan ? plan->spec.value_count : 0;
}

size_t ratecl_plan_value_index(const ratecl_plan *plan, size_t term)
{
    return plan && term < plan->spec.term_count ? plan->spec.terms[term].value
                                                : ratecl_plan_value_count(plan);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Why a result is not finite: a pass over the inputs that the hot path is spared. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "plan.h"

/* Elements of one kind: how many, and the first one's place. */
typedef struct finding {
    int64_t count;
    int64_t first[3]; /* b, t, i */
    double value;
} finding;

typedef struct input {
    const char *name;
    const rc_view *view;
    const void *memory;
    ratecl_precision precision;
} input;

/* An element as the arithmetic sees it. */
static double element(const input *in, int64_t b, int64_t t, int64_t i)
{
    const rc_view *v = in->view;
    const int64_t index = v->offset + b * v->strides[0] + t * v->strides[1] + i * v->strides[2];
    const double value = rc_element_read(v->element, in->memory, index);
    return in->precision == RATECL_PRECISION_F32 ? (double)(float)value : value;
}

static bool not_finite(double value)
{
    return !isfinite(value);
}
static bool negative(double value)
{
    return value < 0;
}

static finding find(const input *in, bool (*is)(double))
{
    finding found = { 0 };
    for (int64_t b = 0; b < in->view->shape[0]; ++b)
        for (int64_t t = 0; t < in->view->shape[1]; ++t)
            for (int64_t i = 0; i < in->view->shape[2]; ++i) {
                const double value = element(in, b, t, i);
                if (is(value) && found.count++ == 0)
                    found = (finding){ 1, { b, t, i }, value };
            }
    return found;
}

static ratecl_status say(const input *in, const char *criterion, const finding *found, const char *what)
{
    return rc_fail(RATECL_ERROR_DOMAIN,
                   "%s%s%s: %" PRId64 " of %" PRId64 " elements %s, the first at [%" PRId64 ",%" PRId64
                   ",%" PRId64 "]: %g",
                   criterion, *criterion ? ": " : "", in->name, found->count,
                   in->view->shape[0] * in->view->shape[1] * in->view->shape[2], what, found->first[0],
                   found->first[1], found->first[2], found->value);
}

/* Whether all of a neuron's states are the same number, so that its variance is exactly 0. */
static bool is_constant(const input *in, int64_t i)
{
    const double first = element(in, 0, 0, i);
    for (int64_t b = 0; b < in->view->shape[0]; ++b)
        for (int64_t t = 0; t < in->view->shape[1]; ++t)
            if (element(in, b, t, i) != first)
                return false;
    return true;
}

static bool diagnose_variances(const input *states, const input *reference)
{
    const int64_t N = states->view->shape[2];
    int64_t either = 0, in_states = 0, in_reference = 0, first = 0;
    bool first_in_states = false;
    for (int64_t i = 0; i < N; ++i) {
        const bool s = is_constant(states, i), r = is_constant(reference, i);
        in_states += s;
        in_reference += r;
        if ((s || r) && either++ == 0) {
            first = i;
            first_in_states = s;
        }
    }
    if (either == 0)
        return false;
    rc_message("population_kl: %" PRId64 " of %" PRId64 " neurons have no variance (states: %" PRId64
               ", reference: %" PRId64 "), the first at [0,0,%" PRId64
               "] of %s; var_floor or degenerate=skip allow them",
               either, N, in_states, in_reference, first, first_in_states ? "states" : "reference");
    return true;
}

/* Whether mubar is 0, but for the rounding of its sum. */
static bool diagnose_mean_rate(const input *states)
{
    const int64_t *shape = states->view->shape;
    double sum = 0, magnitude = 0;
    for (int64_t b = 0; b < shape[0]; ++b)
        for (int64_t t = 0; t < shape[1]; ++t)
            for (int64_t i = 0; i < shape[2]; ++i) {
                const double value = element(states, b, t, i);
                sum += value;
                magnitude += fabs(value);
            }
    if (fabs(sum) > 1e-6 * magnitude)
        return false;
    rc_message("firing_rate_dist: states: the mean of all %" PRId64
               " elements, the first at [0,0,0], is 0: expected another one, since cv divides by it",
               shape[0] * shape[1] * shape[2]);
    return true;
}

/* The first term of which a value is not finite. */
static const ratecl_term *failed_term(const ratecl_plan *plan)
{
    const rc_spec *spec = &plan->spec;
    for (size_t k = 0; k < spec->term_count; ++k) {
        const size_t end = k + 1 < spec->term_count ? spec->terms[k + 1].value : spec->value_count;
        for (size_t v = spec->terms[k].value; v < end; ++v)
            if (!isfinite(plan->values[v]))
                return &spec->terms[k].options;
    }
    return NULL;
}

ratecl_status rc_diagnose(const ratecl_plan *plan, const void *const memory[RC_INPUT_COUNT])
{
    const rc_spec *spec = &plan->spec;
    input inputs[RC_INPUT_COUNT];
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        inputs[k] = (input){ rc_input_names[k], &spec->inputs[k], memory[k], spec->precision };
        if (!spec->uses[k])
            continue;
        const finding found = find(&inputs[k], not_finite);
        if (found.count)
            return say(&inputs[k], "", &found, "are not finite in the plan's precision");
    }

    const ratecl_term *term = failed_term(plan);
    if (!term)
        return rc_fail(RATECL_ERROR_DOMAIN, "the total is not finite, although every value is");
    const input *states = &inputs[RC_STATES];
    if (term->criterion == RATECL_ENTROPY) {
        const finding found = find(states, negative);
        if (found.count)
            return say(states, "entropy", &found, "are negative");
    }
    if (term->criterion == RATECL_POPULATION_KL && term->degenerate == RATECL_DEGENERATE_ERROR &&
        term->var_floor == 0 && diagnose_variances(states, &inputs[RC_REFERENCE]))
        return RATECL_ERROR_DOMAIN;
    if (term->criterion == RATECL_FIRING_RATE_DIST && term->metric == RATECL_METRIC_CV &&
        diagnose_mean_rate(states))
        return RATECL_ERROR_DOMAIN;
    return rc_fail(
        RATECL_ERROR_DOMAIN,
        "%s: the result is not finite, although every input is: a sum or a quotient leaves the range of the "
        "plan's precision",
        ratecl_criterion_name(term->criterion));
}

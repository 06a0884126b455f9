/* SPDX-License-Identifier: Apache-2.0 */
/* Why a result is not finite: what the hot path is spared. What the means and variances of the evaluation
 * tell costs no read of the inputs; the rest costs one, in which plain loops over one type compare many
 * elements at once. */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "context.h"

/* ---- Scans ---- */

/* Elements of one kind: how many, and the first one's place. */
typedef struct finding {
    int64_t count;
    int64_t first[3]; /* b, t, i */
    double value;
} finding;

typedef struct scanned {
    const char *name;
    const rc_view *view;
    const void *memory;
    ratecl_precision precision;
} scanned;

enum kind { NOT_FINITE, NEGATIVE };

/* Count the elements of a kind among `n`, `stride` apart from `index` on. */
typedef int64_t count_function(const void *memory, int64_t index, int64_t stride, int64_t n, enum kind kind,
                               bool f32);

/* x - x is 0 but for infinities and NaN. */
#define DEFINE_COUNT(name, type, not_finite, negative)                                                \
    static int64_t name(const void *memory, int64_t index, int64_t stride, int64_t n, enum kind kind, \
                        bool f32)                                                                     \
    {                                                                                                 \
        const type *const x = (const type *)memory + index;                                           \
        int64_t count = 0;                                                                            \
        (void)f32;                                                                                    \
        if (kind == NEGATIVE)                                                                         \
            for (int64_t k = 0; k < n; ++k)                                                           \
                count += (negative);                                                                  \
        else if (stride == 1)                                                                         \
            for (int64_t k = 0; k < n; ++k)                                                           \
                count += (not_finite(x[k]));                                                          \
        else                                                                                          \
            for (int64_t k = 0; k < n; ++k)                                                           \
                count += (not_finite(x[k * stride]));                                                 \
        return count;                                                                                 \
    }
#define REAL_NOT_FINITE(x) ((x) - (x) != 0)
/* In f32 arithmetic a double is rounded first. */
#define DOUBLE_NOT_FINITE(x) (f32 ? (float)(x) - (float)(x) != 0 : (x) - (x) != 0)
#define HALF_NOT_FINITE(x) (((x)&0x7c00) == 0x7c00)
DEFINE_COUNT(count_f32, float, REAL_NOT_FINITE, x[k * stride] < 0)
DEFINE_COUNT(count_f64, double, DOUBLE_NOT_FINITE, x[k * stride] < 0 && !(f32 && (float)x[k * stride] == 0))
DEFINE_COUNT(count_f16, uint16_t, HALF_NOT_FINITE, x[k * stride] > 0x8000 && x[k * stride] <= 0xfc00)

/* Elements of u8 are finite and not negative. */
static count_function *const counts[] = {
    [RATECL_F32] = count_f32,
    [RATECL_F64] = count_f64,
    [RATECL_F16] = count_f16,
    [RATECL_U8] = NULL,
};

/* An element as the arithmetic sees it. */
static double element(const scanned *in, int64_t b, int64_t t, int64_t i)
{
    const rc_view *v = in->view;
    const int64_t index = v->offset + b * v->strides[0] + t * v->strides[1] + i * v->strides[2];
    const double value = rc_element_read(v->element, in->memory, index);
    return in->precision == RATECL_PRECISION_F32 ? (double)(float)value : value;
}

static bool is_of(enum kind kind, double value)
{
    return kind == NEGATIVE ? value < 0 : !isfinite(value);
}

/* Return whether a term reads step t. */
typedef bool reads_function(const rc_spec *spec, int64_t t);

static bool reads_all(const rc_spec *spec, int64_t t)
{
    (void)spec;
    (void)t;
    return true;
}

/* True if a lag pairs step t with another one. */
static bool reads_pairs(const rc_spec *spec, int64_t t)
{
    const int64_t T = spec->inputs[RC_STATES].shape[1];
    for (size_t l = 0; l < spec->lag_count; ++l)
        if (t < T - spec->lags[l] || t >= spec->lags[l])
            return true;
    return false;
}

static reads_function *reads_of(const rc_spec *spec, int input)
{
    const bool pairs_alone = input == RC_STATES && !spec->moments && spec->entropy_count == 0 &&
                             !spec->hebbian_batch && !spec->hebbian_step;
    return pairs_alone ? reads_pairs : reads_all;
}

/* Keep the smaller [b,t,i] of two places. */
static void keep_first(finding *found, int64_t b, int64_t t, int64_t i, double value)
{
    const int64_t place[3] = { b, t, i };
    int axis = 0;
    while (axis < 2 && place[axis] == found->first[axis])
        ++axis;
    if (found->count == 0 || place[axis] < found->first[axis])
        *found = (finding){ found->count, { b, t, i }, value };
}

/* Scan a line of `n` elements along an axis, of which the first one is at [b,t,i]. */
static void scan_line(const scanned *in, enum kind kind, int64_t b, int64_t t, int64_t i, int axis, int64_t n,
                      finding *found)
{
    const rc_view *v = in->view;
    const int64_t index = v->offset + b * v->strides[0] + t * v->strides[1] + i * v->strides[2];
    const int64_t count = counts[v->element](in->memory, index, v->strides[axis], n, kind,
                                             in->precision == RATECL_PRECISION_F32);
    int64_t first = 0;
    if (count == 0)
        return;
    while (!is_of(kind, element(in, b, axis == 1 ? t + first : t, axis == 2 ? i + first : i)))
        ++first;
    t += axis == 1 ? first : 0;
    i += axis == 2 ? first : 0;
    keep_first(found, b, t, i, element(in, b, t, i));
    found->count += count;
}

/* Scan an input line by line, along the axis whose elements are nearest in memory. */
static finding find(const scanned *in, enum kind kind, reads_function *reads, const rc_spec *spec)
{
    const int64_t *shape = in->view->shape, *strides = in->view->strides;
    finding found = { 0 };
    if (!counts[in->view->element])
        return found;
    for (int64_t b = 0; b < shape[0]; ++b) {
        if (reads == reads_all && shape[1] > 1 && llabs(strides[1]) < llabs(strides[2])) {
            for (int64_t i = 0; i < shape[2]; ++i)
                scan_line(in, kind, b, 0, i, 1, shape[1], &found);
            continue;
        }
        for (int64_t t = 0; t < shape[1]; ++t)
            if (reads(spec, t))
                scan_line(in, kind, b, t, 0, 2, shape[2], &found);
    }
    return found;
}

static ratecl_status say(const scanned *in, const char *criterion, const finding *found, const char *what)
{
    return rc_fail(RATECL_ERROR_DOMAIN,
                   "%s%s%s: %" PRId64 " of %" PRId64 " elements %s, the first at [%" PRId64 ",%" PRId64
                   ",%" PRId64 "]: %g",
                   criterion, *criterion ? ": " : "", in->name, found->count,
                   in->view->shape[0] * in->view->shape[1] * in->view->shape[2], what, found->first[0],
                   found->first[1], found->first[2], found->value);
}

/* ---- Moments of the evaluation ---- */

enum { CHUNK = 256 };

/* The moments of some neurons of the states [0] and of the reference [1]. */
typedef struct moments {
    double mean[2][CHUNK], deviation[2][CHUNK];
} moments;

/* Read those of the neurons from `first` on; return how many, or 0 where there are no more, or none. */
static int64_t read_moments(const ratecl_plan *plan, int64_t first, moments *to)
{
    const rc_spec *spec = &plan->spec;
    const int64_t left = spec->inputs[RC_STATES].shape[2] - first, count = left < CHUNK ? left : CHUNK;
    bool read = spec->moments && count > 0;
    for (int k = RC_STATES; k <= RC_REFERENCE && read; ++k)
        if (spec->uses[k])
            read = plan->context->path->read_moments(plan->state, k, first, count, to->mean[k],
                                                     to->deviation[k]) == RATECL_OK;
    return read ? count : 0;
}

/* True if an evaluation has moments of an input and all its means are finite: then all elements are. */
static bool has_finite_means(const ratecl_plan *plan, int input)
{
    moments m;
    int64_t first = 0, count;
    if (!plan->spec.moments || input == RC_WEIGHTS)
        return false;
    for (; (count = read_moments(plan, first, &m)) > 0; first += count)
        for (int64_t k = 0; k < count; ++k)
            if (!isfinite(m.mean[input][k]))
                return false;
    return first == plan->spec.inputs[RC_STATES].shape[2];
}

/* Neurons without variance. */
typedef struct degenerate {
    int64_t either, states, reference, first;
    bool first_in_states;
} degenerate;

static degenerate count_degenerate(const ratecl_plan *plan)
{
    degenerate found = { 0 };
    moments m;
    for (int64_t i = 0, count; (count = read_moments(plan, i, &m)) > 0; i += count)
        for (int64_t k = 0; k < count; ++k) {
            const bool s = m.deviation[RC_STATES][k] == 0, r = m.deviation[RC_REFERENCE][k] == 0;
            found.states += s;
            found.reference += r;
            if ((s || r) && found.either++ == 0) {
                found.first = i + k;
                found.first_in_states = s;
            }
        }
    return found;
}

static bool diagnose_variances(const ratecl_plan *plan, size_t term)
{
    const int64_t N = plan->spec.inputs[RC_STATES].shape[2];
    const ratecl_term *options = &plan->spec.terms[term].options;
    const bool all = rc_skips_all(plan, term);
    if (!all && (options->degenerate != RATECL_DEGENERATE_ERROR || options->var_floor != 0))
        return false;
    const degenerate found = count_degenerate(plan);
    if (found.either == 0)
        return false;
    rc_message("population_kl: %" PRId64 " of %" PRId64 " neurons have no variance (states: %" PRId64
               ", reference: %" PRId64 "), the first at [0,0,%" PRId64 "] of %s; ",
               found.either, N, found.states, found.reference, found.first,
               found.first_in_states ? "states" : "reference");
    rc_message_append(all ? "all of them are skipped, and nothing is left to compare; var_floor allows them"
                          : "var_floor or degenerate=skip allow them");
    return true;
}

/* True if mubar is 0, but for the rounding of its sum. */
static bool diagnose_mean_rate(const ratecl_plan *plan)
{
    const int64_t *shape = plan->spec.inputs[RC_STATES].shape;
    double sum = 0, magnitude = 0;
    int64_t i = 0;
    moments m;
    for (int64_t count; (count = read_moments(plan, i, &m)) > 0; i += count)
        for (int64_t k = 0; k < count; ++k) {
            sum += m.mean[RC_STATES][k];
            magnitude += fabs(m.mean[RC_STATES][k]) + m.deviation[RC_STATES][k];
        }
    if (i < shape[2] || !(fabs(sum) <= 1e-6 * magnitude))
        return false;
    rc_message("firing_rate_dist: states: the mean of all %" PRId64
               " elements, the first at [0,0,0], is 0: expected another one, since cv divides by it",
               shape[0] * shape[1] * shape[2]);
    return true;
}

static const char *remedy(const rc_spec *spec)
{
    return spec->precision == RATECL_PRECISION_F32 ? " of f32; f64 has a wider one (--precision f64)"
                                                   : " of f64";
}

/* Return how far neuron i's divergence and its gradient are from 1: the largest of the quotients that they
 * are made of, of standard deviations and of the distance of the means. It is 0 for a degenerate neuron,
 * which has no divergence. */
static double largest_quotient(const moments *m, int64_t i, double floor)
{
    const double s0 = fmax(m->deviation[0][i], floor), s1 = fmax(m->deviation[1][i], floor);
    if (s0 == 0 || s1 == 0)
        return 0;
    const double d = fabs(m->mean[0][i] - m->mean[1][i]);
    return fmax(fmax(s0 / s1, s1 / s0), d / fmin(s0, s1));
}

/* Name the neuron whose divergence leaves the precision's range, if it is one neuron's. */
static bool diagnose_quotients(const ratecl_plan *plan, const ratecl_term *options)
{
    const rc_spec *spec = &plan->spec;
    const double limit = sqrt(spec->precision == RATECL_PRECISION_F32 ? (double)FLT_MAX : DBL_MAX);
    double largest = 0, s0 = 0, s1 = 0;
    int64_t worst = 0;
    moments m;
    for (int64_t i = 0, count; (count = read_moments(plan, i, &m)) > 0; i += count)
        for (int64_t k = 0; k < count; ++k) {
            const double quotient = largest_quotient(&m, k, sqrt(options->var_floor));
            if (!(quotient > largest))
                continue;
            largest = quotient;
            worst = i + k;
            s0 = m.deviation[0][k];
            s1 = m.deviation[1][k];
        }
    if (largest < limit / 16)
        return false;
    rc_message("population_kl: the divergence of neuron %" PRId64
               ", whose standard deviation is %g in states and %g in reference, leaves the range%s",
               worst, s0, s1, remedy(spec));
    return true;
}

/* ---- The cause ---- */

/* Return the first term of which a value is not finite, or term_count. */
static size_t failed_term(const ratecl_plan *plan)
{
    const rc_spec *spec = &plan->spec;
    for (size_t k = 0; k < spec->term_count; ++k)
        for (size_t v = 0; v < rc_values_of(spec, &spec->terms[k]); ++v)
            if (!isfinite(plan->values[spec->terms[k].value + v]))
                return k;
    return spec->term_count;
}

static ratecl_status diagnose_term(const ratecl_plan *plan, size_t term, const scanned *states)
{
    const ratecl_term *options = &plan->spec.terms[term].options;
    if (options->criterion == RATECL_ENTROPY) {
        const finding found = find(states, NEGATIVE, reads_all, &plan->spec);
        if (found.count)
            return say(states, "entropy", &found, "are negative");
    }
    if (options->criterion == RATECL_POPULATION_KL &&
        (diagnose_variances(plan, term) || diagnose_quotients(plan, options)))
        return RATECL_ERROR_DOMAIN;
    if (options->criterion == RATECL_FIRING_RATE_DIST && options->metric == RATECL_METRIC_CV &&
        diagnose_mean_rate(plan))
        return RATECL_ERROR_DOMAIN;
    return rc_fail(RATECL_ERROR_DOMAIN,
                   "%s: the result is not finite, although every input is: a sum or a quotient leaves the "
                   "range%s",
                   ratecl_criterion_name(options->criterion), remedy(&plan->spec));
}

/* Add to the message which neuron has the smallest standard deviation above 0: its gradient is the largest.
 */
static void name_narrowest(const ratecl_plan *plan)
{
    double smallest = HUGE_VAL;
    int64_t narrowest = 0;
    moments m;
    char text[80];
    for (int64_t i = 0, count; (count = read_moments(plan, i, &m)) > 0; i += count)
        for (int64_t k = 0; k < count; ++k)
            for (int input = RC_STATES; input <= RC_REFERENCE; ++input)
                if (m.deviation[input][k] > 0 && m.deviation[input][k] < smallest) {
                    smallest = m.deviation[input][k];
                    narrowest = i + k;
                }
    if (smallest == HUGE_VAL)
        return;
    snprintf(text, sizeof text, "; neuron %" PRId64 " has the smallest standard deviation, %g", narrowest,
             smallest);
    rc_message_append(text);
}

/* Return what a gradient that leaves its range needs: f64 arithmetic may be written in f32. */
static const char *remedy_of_gradient(const rc_spec *spec, int input)
{
    const bool narrowed =
        spec->precision == RATECL_PRECISION_F64 && spec->gradients[input].view.element == RATECL_F32;
    return narrowed ? " of f32, in which it is written; a gradient of f64 has a wider one" : remedy(spec);
}

/* Explain a gradient that is not finite although every input and value is. Name its first such element if it
 * is in host memory. */
static ratecl_status diagnose_gradients(const ratecl_plan *plan, void *const *gradients)
{
    const rc_spec *spec = &plan->spec;
    for (int k = 0; k < RC_INPUT_COUNT && gradients; ++k) {
        const scanned in = { rc_input_names[k], &spec->gradients[k].view, gradients[k],
                             RATECL_PRECISION_F64 };
        if (!spec->gradients[k].wanted)
            continue;
        const finding found = find(&in, NOT_FINITE, reads_all, spec);
        if (found.count)
            return rc_fail(RATECL_ERROR_DOMAIN,
                           "the gradient to %s: %" PRId64 " elements are not finite, the first at [%" PRId64
                           ",%" PRId64 ",%" PRId64 "], although every value is: it leaves the range%s",
                           in.name, found.count, found.first[0], found.first[1], found.first[2],
                           remedy_of_gradient(spec, k));
    }
    int narrowest = RC_STATES;
    for (int k = 0; k < RC_INPUT_COUNT; ++k)
        if (spec->gradients[k].wanted && spec->gradients[k].view.element == RATECL_F32)
            narrowest = k;
    rc_message("a gradient is not finite, although every value is: it leaves the range%s",
               remedy_of_gradient(spec, narrowest));
    if (spec->uses[RC_REFERENCE])
        name_narrowest(plan);
    return RATECL_ERROR_DOMAIN;
}

ratecl_status rc_diagnose(const ratecl_plan *plan, const void *const memory[RC_INPUT_COUNT],
                          void *const *gradients)
{
    const rc_spec *spec = &plan->spec;
    scanned inputs[RC_INPUT_COUNT];
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        inputs[k] = (scanned){ rc_input_names[k], &spec->inputs[k], memory[k], spec->precision };
        if (!spec->uses[k] || has_finite_means(plan, k))
            continue;
        const finding found = find(&inputs[k], NOT_FINITE, reads_of(spec, k), spec);
        if (found.count)
            return say(&inputs[k], "", &found, "are not finite in the plan's precision");
    }
    const size_t term = failed_term(plan);
    if (term < spec->term_count)
        return diagnose_term(plan, term, &inputs[RC_STATES]);
    if (rc_is_gradient_spoiled(plan))
        return diagnose_gradients(plan, gradients);
    return rc_fail(RATECL_ERROR_DOMAIN, "the total is not finite, although every value is");
}

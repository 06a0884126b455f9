/* SPDX-License-Identifier: Apache-2.0 */
/* The criteria's gradients from their definitions, with the choices that stand in the public header where
 * there is no derivative. */
#include "oracle.h"

#include <math.h>
#include <stdlib.h>

/* Below this fraction of what was added up, a sum in long double is 0. */
static const long double rounding = 1e-16L;

static int64_t rows_of(const oracle_array *array)
{
    return array->shape[0] * array->shape[1];
}

static long double *new_array(int64_t count)
{
    long double *array = calloc((size_t)count, sizeof *array);
    if (!array)
        abort();
    return array;
}

static long double sign(long double x)
{
    return x > 0 ? 1 : x < 0 ? -1 : 0;
}

/* Add a part of a gradient: its value, and the magnitude of what that was added up from. */
static void add(const oracle_gradient *gradient, int64_t at, long double value, long double magnitude)
{
    gradient->values[at] += (double)value;
    gradient->magnitudes[at] += (double)magnitude;
}

/* Add d value / d mu_i to all elements of neuron i. */
static void add_mean(const oracle_inputs *inputs, const oracle_gradient *gradient, int64_t i,
                     long double slope, long double magnitude)
{
    const int64_t R = rows_of(&inputs->states), N = inputs->states.shape[2];
    for (int64_t r = 0; r < R; r++)
        add(gradient, r * N + i, slope / R, magnitude / R);
}

/* Add d/dS of factor x the mean over rows of sum_i S_i^2, for neuron i. */
static void add_square(const oracle_array *array, const oracle_gradient *gradient, int64_t i,
                       long double factor)
{
    const int64_t R = rows_of(array), N = array->shape[2];
    for (int64_t r = 0; r < R; r++) {
        const long double slope = 2 * factor * array->values[r * N + i] / R;
        add(gradient, r * N + i, slope, fabsl(slope));
    }
}

/* ---- Criteria of the means ---- */

static bool is_near(long double x, long double magnitude, double noise)
{
    return fabsl(x) > rounding * magnitude && fabsl(x) <= noise * magnitude;
}

static void firing_rate(const ratecl_term *term, const oracle_inputs *inputs, const double *u,
                        const oracle_gradient gradients[INPUT_COUNT])
{
    (void)u;
    const int64_t N = inputs->states.shape[2];
    for (int64_t i = 0; i < N; i++) {
        const long double mu = oracle_moments_of(&inputs->states, i).mean, d = mu - term->target;
        if (term->metric == RATECL_METRIC_L1)
            add_mean(inputs, &gradients[STATES], i, sign(d) / N, 1.0L / N);
        else
            add_mean(inputs, &gradients[STATES], i, 2 * d / N, 2 * (fabsl(mu) + fabs(term->target)) / N);
    }
}

static bool firing_rate_determines(const ratecl_term *term, const oracle_inputs *inputs, double noise)
{
    for (int64_t i = 0; i < inputs->states.shape[2]; i++) {
        const long double mu = oracle_moments_of(&inputs->states, i).mean;
        if (term->metric == RATECL_METRIC_L1 &&
            is_near(mu - term->target, fabsl(mu) + fabs(term->target), noise))
            return false;
    }
    return true;
}

/* The means' deviations from their mean; one within rounding is 0. */
typedef struct deviations {
    long double *d; /* (N) */
    long double mubar, magnitude /* of the means */, max, sd;
} deviations;

static deviations deviations_of(const ratecl_term *term, const oracle_array *states)
{
    const int64_t N = states->shape[2];
    deviations of = { .d = new_array(N) };
    for (int64_t i = 0; i < N; i++) {
        of.d[i] = oracle_moments_of(states, i).mean;
        of.mubar += of.d[i] / N;
        of.magnitude = fmaxl(of.magnitude, fabsl(of.d[i]));
    }
    long double squares = 0;
    for (int64_t i = 0; i < N; i++) {
        of.d[i] -= of.mubar;
        if (fabsl(of.d[i]) <= rounding * of.magnitude)
            of.d[i] = 0;
        squares += of.d[i] * of.d[i];
        of.max = fmaxl(of.max, fabsl(of.d[i]));
    }
    of.sd = sqrtl(squares / (N - term->ddof));
    return of;
}

static bool reaches_max(const deviations *of, int64_t i)
{
    return of->max > 0 && of->max - fabsl(of->d[i]) <= rounding * of->magnitude;
}

/* d max_ad / d|d_i|, or d mean_ad / d|d_i|. */
static long double share(const ratecl_term *term, const deviations *of, int64_t N, int64_t i)
{
    if (term->metric == RATECL_METRIC_MEAN_AD)
        return 1.0L / N;
    int64_t ties = 0;
    for (int64_t j = 0; j < N; j++)
        ties += reaches_max(of, j);
    return reaches_max(of, i) ? 1.0L / ties : 0;
}

static void absolute_deviation(const ratecl_term *term, const oracle_inputs *inputs, const deviations *of,
                               const oracle_gradient *gradient)
{
    const int64_t N = inputs->states.shape[2];
    long double mean = 0, magnitude = 0;
    for (int64_t j = 0; j < N; j++) {
        const long double slope = share(term, of, N, j) * sign(of->d[j]);
        mean += slope / N;
        magnitude += fabsl(slope) / N;
    }
    for (int64_t i = 0; i < N; i++) {
        const long double slope = share(term, of, N, i) * sign(of->d[i]);
        add_mean(inputs, gradient, i, slope - mean, fabsl(slope) + magnitude);
    }
}

/* sd, or cv = sd / mubar. */
static void spread(const ratecl_term *term, const oracle_inputs *inputs, const deviations *of,
                   const oracle_gradient *gradient)
{
    const int64_t N = inputs->states.shape[2];
    if (of->sd == 0)
        return;
    for (int64_t i = 0; i < N; i++) {
        const long double per_mean = 1 / ((N - term->ddof) * of->sd);
        const long double slope = of->d[i] * per_mean,
                          magnitude = (fabsl(of->d[i] + of->mubar) + fabsl(of->mubar)) * per_mean;
        const long double through_mean = of->sd / of->mubar / N;
        if (term->metric == RATECL_METRIC_CV)
            add_mean(inputs, gradient, i, (slope - through_mean) / of->mubar,
                     (magnitude + fabsl(through_mean)) / fabsl(of->mubar));
        else
            add_mean(inputs, gradient, i, slope, magnitude);
    }
}

static bool is_absolute(const ratecl_term *term)
{
    return term->metric == RATECL_METRIC_MEAN_AD || term->metric == RATECL_METRIC_MAX_AD;
}

static void firing_rate_dist(const ratecl_term *term, const oracle_inputs *inputs, const double *u,
                             const oracle_gradient gradients[INPUT_COUNT])
{
    (void)u;
    const deviations of = deviations_of(term, &inputs->states);
    (is_absolute(term) ? absolute_deviation : spread)(term, inputs, &of, &gradients[STATES]);
    free(of.d);
}

/* Means are sums of many numbers, their deviations differences of two. */
static bool is_near_tie(const deviations *of, long double x, double noise)
{
    return is_near(x, of->magnitude, noise) || is_near(x, of->max, sqrt(noise));
}

static bool firing_rate_dist_determines(const ratecl_term *term, const oracle_inputs *inputs, double noise)
{
    const deviations of = deviations_of(term, &inputs->states);
    bool determined = !is_near(of.sd, of.magnitude, noise);
    for (int64_t i = 0; is_absolute(term) && i < inputs->states.shape[2]; i++) {
        const long double from_max =
            term->metric == RATECL_METRIC_MAX_AD ? of.max - fabsl(of.d[i]) : fabsl(of.d[i]);
        determined = determined && !is_near_tie(&of, from_max, noise);
    }
    free(of.d);
    return determined;
}

/* ---- state_prediction ---- */

static void state_prediction(const ratecl_term *term, const oracle_inputs *inputs, const double *u,
                             const oracle_gradient gradients[INPUT_COUNT])
{
    (void)u;
    const int64_t B = inputs->states.shape[0], T = inputs->states.shape[1], N = inputs->states.shape[2];
    const int64_t lag = term->tau * N;
    for (int64_t b = 0; b < B; b++)
        for (int64_t at = b * T * N; at < ((b + 1) * T - term->tau) * N; at++) {
            const double *s = inputs->states.values + at;
            const long double slope =
                2 * ((long double)s[0] - s[lag]) / ((long double)B * (T - term->tau) * N);
            add(&gradients[STATES], at, slope, fabsl(slope));
            add(&gradients[STATES], at + lag, -slope, fabsl(slope));
        }
}

/* ---- hebbian ---- */

/* s' W s of one row, and the same of the magnitudes. */
static void row_form(const double *s /* (N) */, const double *W, int64_t N, long double form[2])
{
    for (int64_t i = 0; i < N; i++)
        for (int64_t j = 0; j < N; j++) {
            const long double part = (long double)W[i * N + j] * s[i] * s[j];
            form[0] += part;
            form[1] += fabsl(part);
        }
}

/* The sum over T rows, or over one for over = step. */
static void form_of(const ratecl_term *term, const oracle_inputs *inputs, int64_t row, long double form[2])
{
    const int64_t T = inputs->states.shape[1], N = inputs->states.shape[2];
    const int64_t rows = term->over == RATECL_OVER_STEP ? 1 : T;
    form[0] = form[1] = 0;
    for (int64_t r = row; r < row + rows; r++)
        row_form(inputs->states.values + r * N, inputs->weights, N, form);
}

static void hebbian_row(const oracle_inputs *inputs, int64_t row, long double factor,
                        const oracle_gradient gradients[INPUT_COUNT])
{
    const int64_t N = inputs->states.shape[2];
    const double *s = inputs->states.values + row * N, *W = inputs->weights;
    for (int64_t i = 0; i < N; i++) {
        long double slope = 0, magnitude = 0;
        for (int64_t j = 0; j < N; j++) {
            const long double part = ((long double)W[i * N + j] + W[j * N + i]) * s[j],
                              pair = (long double)s[i] * s[j];
            slope += part;
            magnitude += fabsl(part);
            add(&gradients[WEIGHTS], i * N + j, factor * pair, fabsl(factor * pair));
        }
        add(&gradients[STATES], row * N + i, factor * slope, fabsl(factor) * magnitude);
    }
}

static void hebbian(const ratecl_term *term, const oracle_inputs *inputs, const double *u,
                    const oracle_gradient gradients[INPUT_COUNT])
{
    (void)u;
    const int64_t R = rows_of(&inputs->states), T = inputs->states.shape[1];
    const int64_t rows = term->over == RATECL_OVER_STEP ? 1 : T;
    for (int64_t first = 0; first < R; first += rows) {
        long double form[2];
        form_of(term, inputs, first, form);
        for (int64_t row = first; row < first + rows; row++)
            hebbian_row(inputs, row, sign(form[0]) / R, gradients);
    }
}

static bool hebbian_determines(const ratecl_term *term, const oracle_inputs *inputs, double noise)
{
    const int64_t R = rows_of(&inputs->states);
    for (int64_t row = 0; row < R; row += term->over == RATECL_OVER_STEP ? 1 : inputs->states.shape[1]) {
        long double form[2];
        form_of(term, inputs, row, form);
        if (form[1] > 0 && fabsl(form[0]) <= noise * form[1])
            return false;
    }
    return true;
}

/* ---- entropy ---- */

/* With h_i = -dH/dp_i = log(p_i + eps) + p_i / (p_i + eps), dH/dS_j = (sum_i p_i h_i - h_j) / (Z + eps). */
static void row_entropy(const double *s /* (N) */, int64_t N, double eps, int64_t R, int64_t at,
                        const oracle_gradient *gradient)
{
    long double Z = 0, mean = 0, magnitude = 0;
    for (int64_t i = 0; i < N; i++)
        Z += s[i];
    if (Z == 0)
        return;
    for (int64_t j = 0; j < 2 * N; j++) {
        const int64_t i = j % N;
        const long double p = s[i] / (Z + eps);
        if (p + eps == 0)
            continue;
        const long double logarithm = logl(p + eps), ratio = p / (p + eps);
        if (j < N) {
            mean += p * (logarithm + ratio);
            magnitude += p * (fabsl(logarithm) + ratio);
        } else {
            add(gradient, at + i, (mean - logarithm - ratio) / (Z + eps) / R,
                (magnitude + fabsl(logarithm) + ratio) / (Z + eps) / R);
        }
    }
}

static void entropy(const ratecl_term *term, const oracle_inputs *inputs, const double *u,
                    const oracle_gradient gradients[INPUT_COUNT])
{
    (void)u;
    const int64_t R = rows_of(&inputs->states), N = inputs->states.shape[2];
    for (int64_t r = 0; r < R; r++)
        row_entropy(inputs->states.values + r * N, N, term->eps, R, r * N, &gradients[STATES]);
    for (int64_t i = 0; i < N; i++)
        add_square(&inputs->states, &gradients[STATES], i, term->reg);
}

/* ---- population_kl ---- */

typedef struct gaussian {
    long double mean, variance; /* after the floor */
    bool is_raised;
} gaussian;

static gaussian gaussian_of(const ratecl_term *term, const oracle_array *array, int64_t i)
{
    const oracle_moments m = oracle_moments_of(array, i);
    const bool is_raised = m.variance < term->var_floor;
    return (gaussian){ m.mean, is_raised ? term->var_floor : m.variance, is_raised };
}

/* Derivatives with respect to m0, v0, m1, v1, and their parts' magnitudes. */
typedef struct slopes {
    long double mean[2], variance[2], mean_magnitude, variance_magnitude[2];
} slopes;

/* Add those of factor x KL(a||b), where a is input `from` and b the other one. */
static void add_divergence(slopes *sum, const gaussian *a, const gaussian *b, int from, long double factor,
                           ratecl_kl_log how)
{
    const int to = 1 - from;
    const long double d = a->mean - b->mean, half = factor / 2, k = how == RATECL_LOG_SIGMA ? 0.5L : 1;
    const long double square = (a->variance + d * d) / b->variance / b->variance;
    sum->mean[from] += factor * d / b->variance;
    sum->mean[to] -= factor * d / b->variance;
    sum->mean_magnitude += fabsl(factor) * (fabsl(d) + sqrtl(a->variance + b->variance)) / b->variance;
    sum->variance[from] += half * (1 / b->variance - k / a->variance);
    sum->variance[to] += half * (k / b->variance - square);
    sum->variance_magnitude[from] += fabsl(half) * (1 / b->variance + k / a->variance);
    sum->variance_magnitude[to] += fabsl(half) * (k / b->variance + square);
}

static void add_moments(const oracle_array *array, const oracle_gradient *gradient, int64_t i,
                        const gaussian *of, const slopes *by, int input)
{
    const int64_t R = rows_of(array), N = array->shape[2];
    for (int64_t r = 0; r < R; r++) {
        const long double d = 2 * (array->values[r * N + i] - of->mean);
        const long double through_variance = of->is_raised ? 0 : by->variance[input] * d,
                          magnitude = of->is_raised ? 0 : by->variance_magnitude[input] * fabsl(d);
        add(gradient, r * N + i, (by->mean[input] + through_variance) / R,
            (by->mean_magnitude + magnitude) / R);
    }
}

static bool is_skipped(const ratecl_term *term, const gaussian g[2])
{
    return term->degenerate == RATECL_DEGENERATE_SKIP && (g[0].variance == 0 || g[1].variance == 0);
}

static int64_t kept_of(const ratecl_term *term, const oracle_array *const arrays[2])
{
    int64_t kept = 0;
    for (int64_t i = 0; i < arrays[0]->shape[2]; i++) {
        const gaussian g[2] = { gaussian_of(term, arrays[0], i), gaussian_of(term, arrays[1], i) };
        kept += !is_skipped(term, g);
    }
    return kept;
}

static void population_kl(const ratecl_term *term, const oracle_inputs *inputs, const double *u,
                          const oracle_gradient gradients[INPUT_COUNT])
{
    const oracle_array *const arrays[2] = { &inputs->states, &inputs->reference };
    const int64_t N = arrays[0]->shape[2], kept = kept_of(term, arrays);
    const bool is_vector = term->reduction == RATECL_REDUCTION_NONE;
    const long double divisor = term->reduction == RATECL_REDUCTION_MEAN && kept > 0 ? kept : 1;
    for (int64_t i = 0; i < N; i++) {
        const gaussian g[2] = { gaussian_of(term, arrays[0], i), gaussian_of(term, arrays[1], i) };
        const long double cotangent = is_vector ? u[i] : 1, factor = cotangent / divisor;
        slopes sum = { 0 };
        if (term->symmetric) {
            add_divergence(&sum, &g[0], &g[1], 0, factor / 2, term->log);
            add_divergence(&sum, &g[1], &g[0], 1, factor / 2, term->log);
        } else {
            add_divergence(&sum, &g[0], &g[1], 0, factor, term->log);
        }
        for (int k = 0; k < 2; k++) {
            if (!is_skipped(term, g))
                add_moments(arrays[k], &gradients[k], i, &g[k], &sum, k);
            add_square(arrays[k], &gradients[k], i, cotangent * term->reg);
        }
    }
}

static bool population_kl_determines(const ratecl_term *term, const oracle_inputs *inputs, double noise)
{
    for (int64_t i = 0; i < inputs->states.shape[2]; i++) {
        const long double v[2] = { oracle_moments_of(&inputs->states, i).variance,
                                   oracle_moments_of(&inputs->reference, i).variance };
        for (int k = 0; k < 2; k++)
            if (v[k] > 0 && fabsl(v[k] - term->var_floor) <= noise * v[k])
                return false;
    }
    return true;
}

/* ---- The table ---- */

typedef struct criterion {
    void (*add)(const ratecl_term *term, const oracle_inputs *inputs, const double *u,
                const oracle_gradient gradients[INPUT_COUNT]);
    bool (*determines)(const ratecl_term *term, const oracle_inputs *inputs, double noise); /* NULL: always */
    double noise[2]; /* of what is compared there, in f32 and f64 */
    bool depends[INPUT_COUNT];
} criterion;

/* Means are summed to about the square of f32's rounding. */
static const criterion criteria[] = {
    [RATECL_FIRING_RATE] = { firing_rate, firing_rate_determines, { 1e-12, 1e-14 }, { true } },
    [RATECL_FIRING_RATE_DIST] = { firing_rate_dist, firing_rate_dist_determines, { 1e-12, 1e-14 }, { true } },
    [RATECL_STATE_PREDICTION] = { state_prediction, NULL, { 0 }, { true } },
    [RATECL_HEBBIAN] = { hebbian, hebbian_determines, { 1e-6, 1e-14 }, { true, false, true } },
    [RATECL_ENTROPY] = { entropy, NULL, { 0 }, { true } },
    [RATECL_POPULATION_KL] = { population_kl, population_kl_determines, { 1e-5, 1e-11 }, { true, true } },
};

bool oracle_depends(const ratecl_term *term, int input)
{
    return criteria[term->criterion].depends[input];
}

void oracle_gradients(const ratecl_term *term, const oracle_inputs *inputs, const double *u,
                      const oracle_gradient gradients[INPUT_COUNT])
{
    criteria[term->criterion].add(term, inputs, u, gradients);
}

bool oracle_determines(const ratecl_term *term, const oracle_inputs *inputs, ratecl_precision precision)
{
    const criterion *of = &criteria[term->criterion];
    return !of->determines || of->determines(term, inputs, of->noise[precision]);
}

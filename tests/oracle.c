/* SPDX-License-Identifier: Apache-2.0 */
#include "oracle.h"

#include <math.h>
#include <stdlib.h>

static int64_t rows_of(const oracle_array *array)
{
    return array->shape[0] * array->shape[1];
}

/* Two passes around a sample, so that a constant neuron has a variance of exactly 0. */
oracle_moments oracle_moments_of(const oracle_array *array, int64_t i)
{
    const int64_t R = rows_of(array), N = array->shape[2];
    const double *s = array->values + i; /* (R,N) */
    const long double sample = s[0];
    long double shift = 0, deviations = 0, squares = 0;
    for (int64_t r = 0; r < R; r++) {
        shift += s[r * N] - sample;
        squares += (long double)s[r * N] * s[r * N];
    }
    shift /= R;
    for (int64_t r = 0; r < R; r++) {
        const long double d = s[r * N] - sample - shift;
        deviations += d * d;
    }
    return (oracle_moments){ sample + shift, deviations / R, squares / R };
}

static long double square_part(const oracle_array *array)
{
    long double sum = 0;
    for (int64_t i = 0; i < array->shape[2]; i++)
        sum += oracle_moments_of(array, i).square;
    return sum;
}

static int64_t firing_rate(const ratecl_term *term, const oracle_inputs *inputs, double *values,
                           double *scales)
{
    const int64_t N = inputs->states.shape[2];
    long double l1 = 0, l2 = 0, magnitude = 0;
    for (int64_t i = 0; i < N; i++) {
        const long double mu = oracle_moments_of(&inputs->states, i).mean, d = mu - term->target;
        l1 += fabsl(d) / N;
        l2 += d * d / N;
        magnitude += fabsl(mu) / N;
    }
    const long double scale = fmaxl(magnitude, fabs(term->target));
    const int is_l1 = term->metric == RATECL_METRIC_L1;
    *values = (double)(is_l1 ? l1 : l2);
    *scales = (double)(is_l1 ? scale : scale * scale);
    return 0;
}

static int64_t firing_rate_dist(const ratecl_term *term, const oracle_inputs *inputs, double *values,
                                double *scales)
{
    const int64_t N = inputs->states.shape[2];
    long double mubar = 0, squares = 0, mean_ad = 0, max_ad = 0;
    for (int64_t i = 0; i < N; i++)
        mubar += oracle_moments_of(&inputs->states, i).mean / N;
    for (int64_t i = 0; i < N; i++) {
        const long double d = oracle_moments_of(&inputs->states, i).mean - mubar;
        squares += d * d;
        mean_ad += fabsl(d) / N;
        if (fabsl(d) > max_ad || isnan(d))
            max_ad = fabsl(d);
    }
    const long double sd = sqrtl(squares / (N - term->ddof));
    long double value = sd;
    if (term->metric == RATECL_METRIC_CV)
        value = sd / mubar;
    else if (term->metric == RATECL_METRIC_MEAN_AD)
        value = mean_ad;
    else if (term->metric == RATECL_METRIC_MAX_AD)
        value = max_ad;
    *values = (double)value;
    *scales = (double)fmaxl(value, term->metric == RATECL_METRIC_CV ? 1 : fabsl(mubar));
    return 0;
}

static int64_t state_prediction(const ratecl_term *term, const oracle_inputs *inputs, double *values,
                                double *scales)
{
    const int64_t B = inputs->states.shape[0], T = inputs->states.shape[1], N = inputs->states.shape[2];
    const int64_t tau = term->tau;
    long double sum = 0;
    for (int64_t b = 0; b < B; b++)
        for (int64_t t = 0; t < T - tau; t++)
            for (int64_t i = 0; i < N; i++) {
                const double *s = inputs->states.values + (b * T + t) * N + i;
                const long double d = (long double)s[0] - s[tau * N];
                sum += d * d;
            }
    *values = *scales = (double)(sum / ((long double)B * (T - tau) * N));
    return 0;
}

/* C_b[i,:], given S_b (T,N). */
static void correlation_row(const double *states, int64_t T, int64_t N, int64_t i, long double *row /* (N) */)
{
    for (int64_t j = 0; j < N; j++)
        row[j] = 0;
    for (int64_t t = 0; t < T; t++)
        for (int64_t j = 0; j < N; j++)
            row[j] += (long double)states[t * N + i] * states[t * N + j] / T;
}

/* sum_ij W_ij S_ti S_tj, given S_t (N). */
static long double step_form(const double *states, const double *weights, int64_t N)
{
    long double form = 0;
    for (int64_t i = 0; i < N; i++)
        for (int64_t j = 0; j < N; j++)
            form += (long double)weights[i * N + j] * states[i] * states[j];
    return form;
}

static int64_t hebbian(const ratecl_term *term, const oracle_inputs *inputs, double *values, double *scales)
{
    const int64_t B = inputs->states.shape[0], T = inputs->states.shape[1], N = inputs->states.shape[2];
    const double *W = inputs->weights;
    long double *row = malloc((size_t)N * sizeof *row);
    if (!row)
        abort();
    long double over_batch = 0, over_step = 0, scale = 0;
    for (int64_t b = 0; b < B; b++) {
        const double *states = inputs->states.values + b * T * N;
        long double form = 0;
        for (int64_t i = 0; i < N; i++) {
            correlation_row(states, T, N, i, row);
            for (int64_t j = 0; j < N; j++) {
                form += W[i * N + j] * row[j];
                scale += fabsl(W[i * N + j] * row[j]) / B;
            }
        }
        over_batch += fabsl(form) / B;
        for (int64_t t = 0; term->over == RATECL_OVER_STEP && t < T; t++)
            over_step += fabsl(step_form(states + t * N, W, N)) / (B * T);
    }
    free(row);
    *values = (double)(term->over == RATECL_OVER_STEP ? over_step : over_batch);
    *scales = (double)scale;
    return 0;
}

static long double row_entropy(const double *states, int64_t N, double eps)
{
    long double Z = 0, H = 0;
    int negative = 0;
    for (int64_t i = 0; i < N; i++) {
        Z += states[i];
        negative |= states[i] < 0;
    }
    if (negative)
        return (long double)NAN;
    if (Z == 0)
        return 0;
    for (int64_t i = 0; i < N; i++) {
        const long double p = states[i] / (Z + eps);
        if (p != 0)
            H -= p * logl(p + eps);
    }
    return H;
}

/* The entropy of one neuron is 0 by definition, and so is log N; yet log Z - (Z log Z) / Z rounds. */
static const long double lone_neuron_nats = 1;

static int64_t entropy(const ratecl_term *term, const oracle_inputs *inputs, double *values, double *scales)
{
    const int64_t R = rows_of(&inputs->states), N = inputs->states.shape[2];
    long double H = 0;
    for (int64_t r = 0; r < R; r++)
        H += row_entropy(inputs->states.values + r * N, N, term->eps) / R;
    const long double squares = square_part(&inputs->states);
    *values = (double)(H + term->reg * squares);
    *scales = (double)((N > 1 ? logl(N) : lone_neuron_nats) + fabs(term->reg) * squares);
    return 0;
}

/* KL(0||1) of one neuron, and what its error is measured by. */
static long double divergence(long double v0, long double v1, long double d, ratecl_kl_log how)
{
    const long double ratio = logl(v1 / v0);
    return ((how == RATECL_LOG_SIGMA ? ratio / 2 : ratio) + (v0 + d * d) / v1 - 1) / 2;
}

static long double divergence_scale(long double v0, long double v1, long double d)
{
    return 1 + fabsl(logl(v1 / v0)) + (v0 + d * d) / v1;
}

/* Unlike fmaxl, this keeps NaN. */
static long double floored(long double variance, double floor)
{
    return variance < floor ? floor : variance;
}

static int64_t population_kl(const ratecl_term *term, const oracle_inputs *inputs, double *values,
                             double *scales)
{
    const int64_t N = inputs->states.shape[2];
    long double sum = 0, scale = 0, squares = 0;
    int64_t skipped = 0;
    for (int64_t i = 0; i < N; i++) {
        const oracle_moments m0 = oracle_moments_of(&inputs->states, i),
                             m1 = oracle_moments_of(&inputs->reference, i);
        const long double v0 = floored(m0.variance, term->var_floor),
                          v1 = floored(m1.variance, term->var_floor);
        const long double d = m0.mean - m1.mean;
        long double kl = divergence(v0, v1, d, term->log), kl_scale = divergence_scale(v0, v1, d);
        if (term->symmetric) {
            kl = (kl + divergence(v1, v0, d, term->log)) / 2;
            kl_scale = (kl_scale + divergence_scale(v1, v0, d)) / 2;
        }
        const int skip = term->degenerate == RATECL_DEGENERATE_SKIP && (v0 == 0 || v1 == 0);
        const long double square = m0.square + m1.square;
        if (term->reduction == RATECL_REDUCTION_NONE) {
            values[i] = (double)((skip ? 0 : kl) + term->reg * square);
            scales[i] = (double)((skip ? 0 : kl_scale) + fabs(term->reg) * square);
        }
        skipped += skip;
        sum += skip ? 0 : kl;
        scale += skip ? 0 : kl_scale;
        squares += square;
    }
    for (size_t v = 0; skipped == N && v < oracle_count(term, N); v++)
        values[v] = scales[v] = (double)NAN; /* nothing is left to compare */
    if (term->reduction == RATECL_REDUCTION_NONE || skipped == N)
        return skipped;
    const long double divisor = term->reduction == RATECL_REDUCTION_MEAN ? N - skipped : 1;
    *values = (double)(sum / divisor + term->reg * squares);
    *scales = (double)(scale / divisor + fabs(term->reg) * squares);
    return skipped;
}

typedef int64_t (*criterion)(const ratecl_term *term, const oracle_inputs *inputs, double *values,
                             double *scales);

static const criterion criteria[] = {
    [RATECL_FIRING_RATE] = firing_rate,
    [RATECL_FIRING_RATE_DIST] = firing_rate_dist,
    [RATECL_STATE_PREDICTION] = state_prediction,
    [RATECL_HEBBIAN] = hebbian,
    [RATECL_ENTROPY] = entropy,
    [RATECL_POPULATION_KL] = population_kl,
};

size_t oracle_count(const ratecl_term *term, int64_t N)
{
    const int is_vector = term->criterion == RATECL_POPULATION_KL && term->reduction == RATECL_REDUCTION_NONE;
    return is_vector ? (size_t)N : 1;
}

int64_t oracle_values(const ratecl_term *term, const oracle_inputs *inputs, double *values, double *scales)
{
    return criteria[term->criterion](term, inputs, values, scales);
}

double oracle_tolerance(const ratecl_term *term, ratecl_precision precision, double scale)
{
    const int is_wide = term->criterion == RATECL_ENTROPY || term->criterion == RATECL_POPULATION_KL ||
                        (term->criterion == RATECL_FIRING_RATE && term->metric != RATECL_METRIC_L1) ||
                        (term->criterion == RATECL_FIRING_RATE_DIST && term->metric == RATECL_METRIC_CV);
    if (precision == RATECL_PRECISION_F64)
        return 1e-12 * scale;
    return (is_wide ? 2e-6 : 1e-6) * scale;
}

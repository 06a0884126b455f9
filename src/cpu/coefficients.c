/* SPDX-License-Identifier: Apache-2.0 */
/* coefficients: from sums to what the terms' derivatives have in common for all rows, in double. Every term
 * adds its part. A derivative by a mean m_i is 1/R of it for each row's S_i, one by a variance v_i is
 * 2 (S_i - m_i) / R of it. */
#include <float.h>

#include "compensated.h"
#include "cpu.h"

typedef struct finder {
    const rc_spec *spec;
    const rc_cpu_sums *sums;
    const double *cotangents; /* (cotangent_count, N), or NULL */
    int64_t N;
    double rows[2]; /* of RC_STATES and RC_REFERENCE */
    rc_cpu_coefficients *to;
} finder;

static double sign(double x)
{
    return (double)((x > 0) - (x < 0));
}

static void add_by_mean(const finder *f, int input, int64_t i, double derivative)
{
    f->to->alpha[input][i] += derivative / f->rows[input];
}

static void add_by_variance(const finder *f, int input, int64_t i, double derivative)
{
    f->to->beta[input][i] += 2 * derivative / f->rows[input];
}

/* The mean over rows of S_i^2 is v + m^2. */
static void add_by_mean_square(const finder *f, int input, int64_t i, double derivative)
{
    add_by_mean(f, input, i, 2 * derivative * f->sums->mean[input][i]);
    add_by_variance(f, input, i, derivative);
}

/* ---- Each criterion, times `factor` ---- */

typedef void coefficients_function(const finder *f, const rc_term *term, double factor, int64_t skipped);

static void firing_rate(const finder *f, const rc_term *term, double factor, int64_t skipped)
{
    (void)skipped;
    const bool l1 = term->options.metric == RATECL_METRIC_L1;
    for (int64_t i = 0; i < f->N; i++) {
        const double d = f->sums->mean[RC_STATES][i] - term->options.target;
        add_by_mean(f, RC_STATES, i, factor * (l1 ? sign(d) : 2 * d) / (double)f->N);
    }
}

/* The mean rates about their mean. The pivot lets equal rates deviate by 0 exactly. Rates that are equal as
 * fractions differ by the rounding of merged means: what lies within `tolerance` counts as equal. */
typedef struct spread {
    double pivot, shift; /* mubar = pivot + shift */
    double greatest;     /* |d| */
    double tolerance;
} spread;

static double deviation(const finder *f, const spread *s, int64_t i)
{
    return f->sums->mean[RC_STATES][i] - s->pivot - s->shift;
}

static spread find_spread(const finder *f)
{
    spread s = { .pivot = f->sums->mean[RC_STATES][0] };
    rc_compensated sum = { 0, 0 };
    for (int64_t i = 0; i < f->N; i++)
        rc_add(&sum, f->sums->mean[RC_STATES][i] - s.pivot);
    s.shift = rc_total(&sum) / (double)f->N;
    for (int64_t i = 0; i < f->N; i++)
        s.greatest = fmax(s.greatest, fabs(deviation(f, &s, i)));
    s.tolerance = 32 * DBL_EPSILON * fmax(s.greatest, fabs(s.pivot + s.shift));
    return s;
}

/* sign(d_i); max_ad counts those that reach the maximum only. */
static double deviation_sign(const finder *f, const spread *s, int64_t i, bool greatest)
{
    const double d = deviation(f, s, i);
    const double least = greatest ? s->greatest - s->tolerance : 0;
    return fabs(d) <= s->tolerance || fabs(d) < least ? 0 : sign(d);
}

/* mean_ad and max_ad: the mean of |d_i| over those neurons that count. */
static void absolute_deviation(const finder *f, const spread *s, bool greatest, double factor)
{
    double signs = 0, count = 0;
    for (int64_t i = 0; i < f->N; i++) {
        const double d_sign = deviation_sign(f, s, i, greatest);
        signs += d_sign;
        count += greatest ? fabs(d_sign) : 1;
    }
    for (int64_t i = 0; count > 0 && i < f->N; i++)
        add_by_mean(f, RC_STATES, i,
                    factor / count * (deviation_sign(f, s, i, greatest) - signs / (double)f->N));
}

/* d sd = d_i / (sd (N - ddof));  d cv = d sd / mubar - sd / (mubar^2 N) */
static void standard_deviation(const finder *f, const spread *s, const ratecl_term *options, double factor)
{
    const double mubar = s->pivot + s->shift, divisor = (double)f->N - (double)options->ddof;
    rc_compensated squares = { 0, 0 };
    for (int64_t i = 0; i < f->N; i++)
        rc_add(&squares, deviation(f, s, i) * deviation(f, s, i));
    const double sd = sqrt(rc_total(&squares) / divisor);
    if (sd <= 16 * DBL_EPSILON * fabs(mubar))
        return; /* equal rates */
    const bool cv = options->metric == RATECL_METRIC_CV;
    const double shrink = cv ? sd / (mubar * mubar * (double)f->N) : 0;
    for (int64_t i = 0; i < f->N; i++)
        add_by_mean(f, RC_STATES, i,
                    factor * (deviation(f, s, i) / (sd * divisor * (cv ? mubar : 1)) - shrink));
}

static void firing_rate_dist(const finder *f, const rc_term *term, double factor, int64_t skipped)
{
    (void)skipped;
    const spread s = find_spread(f);
    const ratecl_metric metric = term->options.metric;
    if (metric == RATECL_METRIC_MEAN_AD || metric == RATECL_METRIC_MAX_AD)
        absolute_deviation(f, &s, metric == RATECL_METRIC_MAX_AD, factor);
    else
        standard_deviation(f, &s, &term->options, factor);
}

static void state_prediction(const finder *f, const rc_term *term, double factor, int64_t skipped)
{
    (void)skipped;
    const int64_t *const shape = f->spec->inputs[RC_STATES].shape;
    const double pairs = (double)shape[0] * (double)(shape[1] - term->options.tau);
    f->to->lags[term->lag] += factor * 2 / (pairs * (double)f->N);
}

static void hebbian(const finder *f, const rc_term *term, double factor, int64_t skipped)
{
    (void)skipped;
    (void)factor; /* the scale comes last: a row's factor is then exact where the weights are 1 */
    f->to->hebbian[term->options.over] += term->options.weight;
}

static void entropy(const finder *f, const rc_term *term, double factor, int64_t skipped)
{
    (void)skipped;
    f->to->entropies[term->entropy] += factor / f->rows[RC_STATES];
    for (int64_t i = 0; term->options.reg != 0 && i < f->N; i++)
        add_by_mean_square(f, RC_STATES, i, factor * term->options.reg);
}

/* The derivatives of one neuron's divergence by means and variances. */
typedef struct divergence {
    double m[2], v[2];
} divergence;

/* KL(0||1), of which the logarithm's part is taken `log_factor` times. */
static divergence one_sided(double d, double v0, double v1, double log_factor)
{
    const double x = (v0 - log_factor * v1) / v1;
    return (divergence){ { d / v1, -d / v1 }, { 0.5 * x / v0, -0.5 * (x + d / v1 * d) / v1 } };
}

/* 1/4 ((v0 - v1)^2 / (v0 v1) + d^2 (1/v0 + 1/v1)) */
static divergence symmetric(double d, double v0, double v1)
{
    const double dm = 0.5 * (d / v0 + d / v1), x = (v0 - v1) * (1 / v0 + 1 / v1);
    return (divergence){ { dm, -dm }, { 0.25 * (x - d / v0 * d) / v0, 0.25 * (-x - d / v1 * d) / v1 } };
}

static void neuron_divergence(const finder *f, const ratecl_term *options, int64_t i, double factor)
{
    const double *const *const mean = f->sums->mean, *const *const variance = f->sums->variance;
    double v[2];
    for (int k = 0; k < 2; k++)
        v[k] = variance[k][i] < options->var_floor ? options->var_floor : variance[k][i];
    if (options->degenerate == RATECL_DEGENERATE_SKIP && (v[0] == 0 || v[1] == 0))
        return;
    const double d = mean[RC_STATES][i] - mean[RC_REFERENCE][i];
    const divergence by = options->symmetric
                              ? symmetric(d, v[0], v[1])
                              : one_sided(d, v[0], v[1], options->log == RATECL_LOG_SIGMA ? 0.5 : 1.0);
    for (int k = 0; k < 2; k++) {
        add_by_mean(f, k, i, factor * by.m[k]);
        if (variance[k][i] == v[k]) /* not raised */
            add_by_variance(f, k, i, factor * by.v[k]);
    }
}

static void population_kl(const finder *f, const rc_term *term, double factor, int64_t skipped)
{
    const ratecl_term *const options = &term->options;
    const bool each = options->reduction == RATECL_REDUCTION_NONE;
    const bool mean = options->reduction == RATECL_REDUCTION_MEAN && skipped < f->N;
    const double kl_factor = mean ? factor / (double)(f->N - skipped) : factor;
    const double *const u = f->cotangents ? f->cotangents + (int64_t)term->cotangent * f->N : NULL;
    if (each && u == NULL)
        return;
    for (int64_t i = 0; i < f->N; i++) {
        const double cotangent = each ? u[i] : 1;
        neuron_divergence(f, options, i, cotangent * kl_factor);
        for (int k = 0; options->reg != 0 && k < 2; k++)
            add_by_mean_square(f, k, i, cotangent * factor * options->reg);
    }
}

static coefficients_function *const add_term[] = { [RATECL_FIRING_RATE] = firing_rate,
                                                   [RATECL_FIRING_RATE_DIST] = firing_rate_dist,
                                                   [RATECL_STATE_PREDICTION] = state_prediction,
                                                   [RATECL_HEBBIAN] = hebbian,
                                                   [RATECL_ENTROPY] = entropy,
                                                   [RATECL_POPULATION_KL] = population_kl };

/* ---- The whole ---- */

static void begin(const finder *f)
{
    rc_cpu_coefficients *const to = f->to;
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; f->spec->uses[k] && i < f->N; i++) {
            to->alpha[k][i] = to->beta[k][i] = 0;
            to->centre[k][i] = f->sums->mean[k] ? f->sums->mean[k][i] : 0;
        }
    for (size_t l = 0; l < f->spec->lag_count; l++)
        to->lags[l] = 0;
    for (size_t e = 0; e < f->spec->entropy_count; e++)
        to->entropies[e] = 0;
    to->hebbian[RATECL_OVER_BATCH] = to->hebbian[RATECL_OVER_STEP] = 0;
}

void rc_cpu_coefficients_find(const rc_spec *spec, const rc_cpu_sums *sums, const rc_evaluation *evaluation,
                              rc_cpu_coefficients *coefficients)
{
    finder f = { .spec = spec,
                 .sums = sums,
                 .cotangents = evaluation->cotangents,
                 .N = spec->inputs[RC_STATES].shape[2],
                 .to = coefficients };
    for (int k = 0; k < 2; k++)
        f.rows[k] = (double)rc_view_rows(&spec->inputs[k]);
    begin(&f);
    for (size_t k = 0; k < spec->term_count; k++) {
        const rc_term *const term = &spec->terms[k];
        add_term[term->options.criterion](&f, term, evaluation->scale * term->options.weight,
                                          evaluation->skipped[k]);
    }
}

void rc_cpu_row_factors(const rc_spec *spec, const double hebbian[2], const double *batch_forms,
                        double *forms)
{
    const int64_t R = rc_view_rows(&spec->inputs[RC_STATES]), T = spec->inputs[RC_STATES].shape[1];
    for (int64_t r = 0; r < R; r++) {
        const double batch = spec->hebbian_batch ? hebbian[RATECL_OVER_BATCH] * sign(batch_forms[r / T]) : 0;
        const double step = spec->hebbian_step ? hebbian[RATECL_OVER_STEP] * sign(forms[r]) : 0;
        forms[r] = batch + step;
    }
}

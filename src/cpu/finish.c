/* SPDX-License-Identifier: Apache-2.0 */
/* finish: from sums to values, in double. */
#include "compensated.h"
#include "cpu.h"

typedef struct finish {
    const rc_spec *spec;
    const rc_cpu_sums *sums;
    int64_t N;
} finish;

static double square(double x)
{
    return x * x;
}

static double distance(double x, double y)
{
    return fabs(x - y);
}

static double squared_distance(double x, double y)
{
    return square(x - y);
}

static double sum_from(const finish *f, double centre, double (*measure)(double, double))
{
    rc_compensated c = { 0, 0 };
    for (int64_t i = 0; i < f->N; i++)
        rc_add(&c, measure(f->sums->mean[RC_STATES][i], centre));
    return rc_total(&c);
}

static double mean_rate(const finish *f)
{
    rc_compensated c = { 0, 0 };
    for (int64_t i = 0; i < f->N; i++)
        rc_add(&c, f->sums->mean[RC_STATES][i]);
    return rc_total(&c) / (double)f->N;
}

/* mean over rows of S_i^2 */
static double mean_square(const finish *f, int input, int64_t i)
{
    return f->sums->variance[input][i] + square(f->sums->mean[input][i]);
}

/* mean over rows of sum_i S_i^2 */
static double sum_mean_squares(const finish *f, int input)
{
    rc_compensated c = { 0, 0 };
    for (int64_t i = 0; i < f->N; i++)
        rc_add(&c, mean_square(f, input, i));
    return rc_total(&c);
}

/* Every criterion: write the term's values, return how many neurons it skipped. */
typedef int64_t finish_function(const finish *f, const rc_term *term, double *value);

static int64_t firing_rate(const finish *f, const rc_term *term, double *value)
{
    const bool l1 = term->options.metric == RATECL_METRIC_L1;
    *value = sum_from(f, term->options.target, l1 ? distance : squared_distance) / (double)f->N;
    return 0;
}

/* max_i |mu_i - centre|; a NaN wins. */
static double greatest_distance(const finish *f, double centre)
{
    double greatest = 0;
    for (int64_t i = 0; i < f->N; i++) {
        const double d = distance(f->sums->mean[RC_STATES][i], centre);
        if (!(d <= greatest))
            greatest = d;
        if (isnan(d))
            break;
    }
    return greatest;
}

static int64_t firing_rate_dist(const finish *f, const rc_term *term, double *value)
{
    const double centre = mean_rate(f);
    if (term->options.metric == RATECL_METRIC_MEAN_AD) {
        *value = sum_from(f, centre, distance) / (double)f->N;
    } else if (term->options.metric == RATECL_METRIC_MAX_AD) {
        *value = greatest_distance(f, centre);
    } else {
        const double sd =
            sqrt(sum_from(f, centre, squared_distance) / ((double)f->N - (double)term->options.ddof));
        *value = term->options.metric == RATECL_METRIC_CV ? sd / centre : sd;
    }
    return 0;
}

static int64_t state_prediction(const finish *f, const rc_term *term, double *value)
{
    const int64_t *const shape = f->spec->inputs[RC_STATES].shape;
    const double pairs = (double)shape[0] * (double)(shape[1] - term->options.tau);
    *value = f->sums->lags[term->lag] / (pairs * (double)f->N);
    return 0;
}

static int64_t hebbian(const finish *f, const rc_term *term, double *value)
{
    *value = f->sums->hebbian[term->options.over] / (double)rc_view_rows(&f->spec->inputs[RC_STATES]);
    return 0;
}

static int64_t entropy(const finish *f, const rc_term *term, double *value)
{
    const double rows = (double)rc_view_rows(&f->spec->inputs[RC_STATES]);
    *value = f->sums->entropies[term->entropy] / rows;
    if (term->options.reg != 0)
        *value += term->options.reg * sum_mean_squares(f, RC_STATES);
    return 0;
}

/* log(v0 / v1), given the relative difference x = (v0 - v1) / v1; exact where the variances are close. */
static double log_ratio(double v0, double v1, double x)
{
    return fabs(x) < 0.5 ? log1p(x) : log(v0) - log(v1);
}

/* KL(0||1), with x = (v0 - v1) / v1:  1/2 (x - log(1 + x) + (m0 - m1)^2 / v1);
 * log sigma takes half of the logarithm. */
static double divergence(double m0, double v0, double m1, double v1, double log_factor)
{
    const double x = (v0 - v1) / v1;
    return 0.5 * (x - log_factor * log_ratio(v0, v1, x) + square(m0 - m1) / v1);
}

/* 1/2 (KL(0||1) + KL(1||0)), in which the logarithms cancel:
 * 1/4 ((v0 - v1)^2 / (v0 v1) + (m0 - m1)^2 (1/v0 + 1/v1)). */
static double symmetric_divergence(double m0, double v0, double m1, double v1)
{
    const double d = square(m0 - m1);
    return 0.25 * ((v0 - v1) / v0 * ((v0 - v1) / v1) + d / v0 + d / v1);
}

/* KL_i into *value; whether the neuron counts, which a degenerate one does not where those are skipped. */
static bool neuron_divergence(const finish *f, const ratecl_term *options, int64_t i, double *value)
{
    const double m0 = f->sums->mean[RC_STATES][i], m1 = f->sums->mean[RC_REFERENCE][i];
    double v0 = f->sums->variance[RC_STATES][i], v1 = f->sums->variance[RC_REFERENCE][i];
    v0 = v0 < options->var_floor ? options->var_floor : v0;
    v1 = v1 < options->var_floor ? options->var_floor : v1;
    *value = 0;
    const bool degenerate = (v0 == 0 && isfinite(v1)) || (v1 == 0 && isfinite(v0));
    if (options->degenerate == RATECL_DEGENERATE_SKIP && degenerate)
        return false;
    *value = options->symmetric ? symmetric_divergence(m0, v0, m1, v1)
                                : divergence(m0, v0, m1, v1, options->log == RATECL_LOG_SIGMA ? 0.5 : 1.0);
    return true;
}

static int64_t population_kl(const finish *f, const rc_term *term, double *value)
{
    const ratecl_term *const options = &term->options;
    const bool each = options->reduction == RATECL_REDUCTION_NONE;
    rc_compensated sum = { 0, 0 };
    int64_t skipped = 0;
    for (int64_t i = 0; i < f->N; i++) {
        double kl;
        const bool counts = neuron_divergence(f, options, i, &kl);
        skipped += !counts;
        rc_add(&sum, kl);
        if (each && options->reg != 0)
            kl += options->reg * (mean_square(f, RC_STATES, i) + mean_square(f, RC_REFERENCE, i));
        if (each)
            value[i] = kl;
    }
    if (each)
        return skipped;
    const bool mean = options->reduction == RATECL_REDUCTION_MEAN;
    *value = mean ? rc_total(&sum) / (double)(f->N - skipped) : rc_total(&sum);
    if (options->reg != 0)
        *value += options->reg * (sum_mean_squares(f, RC_STATES) + sum_mean_squares(f, RC_REFERENCE));
    return skipped;
}

static finish_function *const finish_term[] = { [RATECL_FIRING_RATE] = firing_rate,
                                                [RATECL_FIRING_RATE_DIST] = firing_rate_dist,
                                                [RATECL_STATE_PREDICTION] = state_prediction,
                                                [RATECL_HEBBIAN] = hebbian,
                                                [RATECL_ENTROPY] = entropy,
                                                [RATECL_POPULATION_KL] = population_kl };

void rc_cpu_finish(const rc_spec *spec, const rc_cpu_sums *sums, double *values, int64_t *skipped)
{
    const finish f = { spec, sums, spec->inputs[RC_STATES].shape[2] };
    for (size_t k = 0; k < spec->term_count; k++) {
        const rc_term *const term = &spec->terms[k];
        skipped[k] = finish_term[term->options.criterion](&f, term, values + term->value);
    }
}

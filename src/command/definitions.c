/* SPDX-License-Identifier: Apache-2.0 */
#include "definitions.h"

#include <math.h>

struct inputs {
    const struct array *states, *reference, *weights;
    double *scratch; /* (4, N) */
};

static int64_t rows(const struct array *array)
{
    return array->shape[0] * array->shape[1];
}

/* means, variances: (N); either divides by R */
static void column_moments(const struct array *array, double *means, double *variances)
{
    const int64_t R = rows(array), N = array->shape[2];
    for (int64_t i = 0; i < N; i++) {
        double sum = 0, squares = 0;
        for (int64_t r = 0; r < R; r++)
            sum += array->elements[r * N + i];
        means[i] = sum / (double)R;
        for (int64_t r = 0; r < R; r++)
            squares += pow(array->elements[r * N + i] - means[i], 2);
        variances[i] = squares / (double)R;
    }
}

/* Mean over rows of S_i^2 */
static double column_square(const struct array *array, int64_t i)
{
    const int64_t R = rows(array), N = array->shape[2];
    double sum = 0;
    for (int64_t r = 0; r < R; r++)
        sum += pow(array->elements[r * N + i], 2);
    return sum / (double)R;
}

static double mean_row_square(const struct array *array)
{
    double sum = 0;
    for (int64_t i = 0; i < array->shape[2]; i++)
        sum += column_square(array, i);
    return sum;
}

static size_t firing_rate(const ratecl_term *term, const struct inputs *in, struct quantity *out)
{
    const int64_t N = in->states->shape[2];
    double *mu = in->scratch, l1 = 0, l2 = 0, mean_size = 0;
    column_moments(in->states, mu, mu + N);
    for (int64_t i = 0; i < N; i++) {
        l1 += fabs(mu[i] - term->target) / (double)N;
        l2 += pow(mu[i] - term->target, 2) / (double)N;
        mean_size += fabs(mu[i]) / (double)N;
    }
    const double scale = fmax(mean_size, fabs(term->target));
    if (term->metric == RATECL_METRIC_L1)
        *out = (struct quantity){ l1, scale, 1e-6 };
    else
        *out = (struct quantity){ l2, scale * scale, 2e-6 };
    return 1;
}

static size_t firing_rate_dist(const ratecl_term *term, const struct inputs *in, struct quantity *out)
{
    const int64_t N = in->states->shape[2];
    double *mu = in->scratch, mubar = 0, squares = 0, sum = 0, most = 0;
    column_moments(in->states, mu, mu + N);
    for (int64_t i = 0; i < N; i++)
        mubar += mu[i] / (double)N;
    for (int64_t i = 0; i < N; i++) {
        const double deviation = fabs(mu[i] - mubar);
        squares += deviation * deviation;
        sum += deviation;
        most = fmax(most, deviation);
    }
    const double sd = sqrt(squares / (double)(N - term->ddof));
    if (term->metric == RATECL_METRIC_CV) {
        *out = (struct quantity){ sd / mubar, fmax(fabs(sd / mubar), 1), 2e-6 };
        return 1;
    }
    const double value = term->metric == RATECL_METRIC_MEAN_AD  ? sum / (double)N
                         : term->metric == RATECL_METRIC_MAX_AD ? most
                                                                : sd;
    *out = (struct quantity){ value, fmax(value, fabs(mubar)), 1e-6 };
    return 1;
}

static size_t state_prediction(const ratecl_term *term, const struct inputs *in, struct quantity *out)
{
    const int64_t B = in->states->shape[0], T = in->states->shape[1], N = in->states->shape[2];
    double sum = 0;
    for (int64_t b = 0; b < B; b++)
        for (int64_t k = b * T * N; k < (b * T + T - term->tau) * N; k++)
            sum += pow(in->states->elements[k] - in->states->elements[k + term->tau * N], 2);
    const double value = sum / (double)(B * (T - term->tau) * N);
    *out = (struct quantity){ value, value, 1e-6 };
    return 1;
}

/* sum_ij W_ij S_i S_j of one row; *size: the same of the absolute values */
static double row_energy(const double *W, const double *S, int64_t N, double *size)
{
    double energy = 0;
    *size = 0;
    for (int64_t i = 0; i < N; i++)
        for (int64_t j = 0; j < N; j++) {
            const double product = W[i * N + j] * S[i] * S[j];
            energy += product;
            *size += fabs(product);
        }
    return energy;
}

/* sum_ij W_ij C_ij is the mean over steps of sum_ij W_ij S_i S_j. */
static size_t hebbian(const ratecl_term *term, const struct inputs *in, struct quantity *out)
{
    const int64_t B = in->states->shape[0], T = in->states->shape[1], N = in->states->shape[2];
    double over_batch = 0, over_step = 0, scale = 0;
    for (int64_t b = 0; b < B; b++) {
        double batch = 0;
        for (int64_t t = 0; t < T; t++) {
            double size;
            const double energy =
                row_energy(in->weights->elements, in->states->elements + (b * T + t) * N, N, &size);
            batch += energy / (double)T;
            over_step += fabs(energy) / (double)(B * T);
            scale += size / (double)(B * T);
        }
        over_batch += fabs(batch) / (double)B;
    }
    *out = (struct quantity){ term->over == RATECL_OVER_STEP ? over_step : over_batch, scale, 1e-6 };
    return 1;
}

static size_t entropy(const ratecl_term *term, const struct inputs *in, struct quantity *out)
{
    const int64_t R = rows(in->states), N = in->states->shape[2];
    double sum = 0;
    for (int64_t r = 0; r < R; r++) {
        const double *S = in->states->elements + r * N;
        double Z = 0;
        for (int64_t i = 0; i < N; i++)
            Z += S[i];
        for (int64_t i = 0; i < N && Z > 0; i++) {
            const double p = S[i] / (Z + term->eps);
            if (p > 0)
                sum -= p * log(p + term->eps);
        }
    }
    const double regular = term->reg * mean_row_square(in->states);
    *out = (struct quantity){ sum / (double)R + regular, log((double)N) + regular, 2e-6 };
    return 1;
}

/* Of two Gaussians: KL(0||1), with the factor that `log` gives the logarithm, and its scale */
static struct quantity divergence(double m0, double v0, double m1, double v1, double log_factor)
{
    const double ratio = (v0 + pow(m0 - m1, 2)) / v1;
    return (struct quantity){ 0.5 * (log_factor * log(v1 / v0) + ratio - 1), 1 + fabs(log(v1 / v0)) + ratio,
                              2e-6 };
}

static struct quantity neuron_divergence(const ratecl_term *term, double m0, double v0, double m1, double v1)
{
    const double log_factor = term->log == RATECL_LOG_SIGMA ? 0.5 : 1;
    const struct quantity there = divergence(m0, v0, m1, v1, log_factor);
    if (!term->symmetric)
        return there;
    const struct quantity back = divergence(m1, v1, m0, v0, log_factor);
    return (struct quantity){ (there.value + back.value) / 2, (there.scale + back.scale) / 2,
                              there.tolerance };
}

static size_t population_kl(const ratecl_term *term, const struct inputs *in, struct quantity *out)
{
    const int64_t N = in->states->shape[2];
    double *m0 = in->scratch, *v0 = m0 + N, *m1 = v0 + N, *v1 = m1 + N;
    column_moments(in->states, m0, v0);
    column_moments(in->reference, m1, v1);
    const double count = term->reduction == RATECL_REDUCTION_MEAN ? (double)N : 1;
    const int none = term->reduction == RATECL_REDUCTION_NONE;
    struct quantity sum = { 0, 0, 2e-6 };
    for (int64_t i = 0; i < N; i++) {
        const struct quantity kl = neuron_divergence(term, m0[i], v0[i], m1[i], v1[i]);
        const double regular = term->reg * (column_square(in->states, i) + column_square(in->reference, i));
        if (none)
            out[i] = (struct quantity){ kl.value + regular, kl.scale + regular, kl.tolerance };
        sum.value += kl.value / count + regular;
        sum.scale += kl.scale / count + regular;
    }
    if (!none)
        *out = sum;
    return none ? (size_t)N : 1;
}

size_t define_term(const ratecl_term *term, const struct array *states, const struct array *reference,
                   const struct array *weights, double *scratch, struct quantity *quantities)
{
    static size_t (*const definitions[])(const ratecl_term *, const struct inputs *, struct quantity *) = {
        [RATECL_FIRING_RATE] = firing_rate,
        [RATECL_FIRING_RATE_DIST] = firing_rate_dist,
        [RATECL_STATE_PREDICTION] = state_prediction,
        [RATECL_HEBBIAN] = hebbian,
        [RATECL_ENTROPY] = entropy,
        [RATECL_POPULATION_KL] = population_kl,
    };
    const struct inputs inputs = { states, reference, weights, scratch };
    return definitions[term->criterion](term, &inputs, quantities);
}

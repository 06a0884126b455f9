/* SPDX-License-Identifier: Apache-2.0 */
/* The oracle itself, on cases worked out by hand. */
#include "oracle.h"

#include "suite.h"

#include <math.h>
#include <string.h>

/* Two batches of two steps of two neurons: means 2 and 4, variances 2.5 and 3.5. */
static const double S[] = { 0, 2, 2, 4, 2, 3, 4, 7 };
/* One batch of two steps: means 1 and 6, variances 1 and 4. */
static const double S1[] = { 0, 4, 2, 8 };
static const double W[] = { 1, -2, 0.5, 3 };
static const oracle_inputs inputs = { { { 2, 2, 2 }, S }, { { 1, 2, 2 }, S1 }, W };

static double value_of(const char *text, double *scale)
{
    ratecl_term term;
    double value;
    ASSERT_OK(ratecl_term_parse(&term, text));
    ck_assert_int_eq(oracle_values(&term, &inputs, &value, scale), 0);
    return value;
}

static void expect(const char *text, double value, double scale)
{
    double got_scale;
    const double got = value_of(text, &got_scale);
    ck_assert_msg(fabs(got - value) <= 1e-14 * fabs(scale), "%s: %.17g, by hand %.17g", text, got, value);
    ck_assert_msg(fabs(got_scale - scale) <= 1e-14 * fabs(scale), "%s: scale %.17g, by hand %.17g", text,
                  got_scale, scale);
}

START_TEST(rates)
{
    expect("firing_rate", (4.0 + 16.0) / 2, 9);
    expect("firing_rate:target=5", (9.0 + 1.0) / 2, 25);
    expect("firing_rate:metric=l1,target=3.5", (1.5 + 0.5) / 2, 3.5);
    expect("firing_rate_dist", 1, 3);
    expect("firing_rate_dist:ddof=1", sqrt(2), 3);
    expect("firing_rate_dist:metric=cv", 1.0 / 3, 1);
    expect("firing_rate_dist:metric=mean_ad", 1, 3);
    expect("firing_rate_dist:metric=max_ad", 1, 3);
}
END_TEST

START_TEST(lags)
{
    /* Differences (-2,-2) and (-2,-4). */
    expect("state_prediction", (4.0 + 4 + 4 + 16) / 4, 7);
}
END_TEST

START_TEST(correlations)
{
    /* 2 C_0 = [[4, 8], [8, 20]], 2 C_1 = [[20, 34], [34, 58]];
       sums 4 - 16 + 4 + 60 = 52 and 20 - 68 + 17 + 174 = 143; magnitudes 84 and 279. */
    expect("hebbian", (52.0 + 143.0) / 4, (84.0 + 279.0) / 4);
    /* Rows: (0,2): 12; (2,4): 4 - 16 + 4 + 48 = 40; (2,3): 4 - 12 + 3 + 27 = 22; (4,7): 16 - 56 + 14 + 147 =
     * 121. */
    expect("hebbian:over=step", (12.0 + 40 + 22 + 121) / 4, (84.0 + 279.0) / 4);
}
END_TEST

START_TEST(entropies)
{
    const double h24 = log(6) - (2 * log(2) + 4 * log(4)) / 6;
    const double h23 = log(5) - (2 * log(2) + 3 * log(3)) / 5;
    const double h47 = log(11) - (4 * log(4) + 7 * log(7)) / 11;
    const double H = (0 + h24 + h23 + h47) / 4, squares = (4.0 + 20 + 13 + 65) / 4;
    expect("entropy:reg=0", H, log(2));
    expect("entropy", H + 10 * squares, log(2) + 10 * squares);

    const double p = 1.0 / 1.5, with_eps = -p * log(p + 0.5);
    const oracle_inputs one = { { { 1, 2, 1 }, (const double[]){ 0, 1 } }, { { 0 }, NULL }, NULL };
    ratecl_term term;
    double value, scale;
    ASSERT_OK(ratecl_term_parse(&term, "entropy:reg=0,eps=0.5"));
    oracle_values(&term, &one, &value, &scale);
    ck_assert_double_eq_tol(value, with_eps / 2, 1e-15);
    ck_assert_double_eq(scale, 1);
    ck_assert_double_eq(oracle_tolerance(&term, RATECL_PRECISION_F32, scale), 2e-6);
}
END_TEST

START_TEST(divergences)
{
    /* Neuron 0: v 2 and 1, d 1. Neuron 1: v 3.5 and 4, d -2. */
    const double v0[] = { 2, 3.5 }, v1[] = { 1, 4 }, d2[] = { 1, 4 };
    const double squares = (24.0 + 78) / 4 + (4.0 + 80) / 2;
    double there = 0, back = 0, there_scale = 0, back_scale = 0, halved = 0;
    for (int i = 0; i < 2; i++) {
        const double ratio = log(v1[i] / v0[i]);
        there += (ratio + (v0[i] + d2[i]) / v1[i] - 1) / 2;
        halved += (ratio / 2 + (v0[i] + d2[i]) / v1[i] - 1) / 2;
        back += (-ratio + (v1[i] + d2[i]) / v0[i] - 1) / 2;
        there_scale += 1 + fabs(ratio) + (v0[i] + d2[i]) / v1[i];
        back_scale += 1 + fabs(ratio) + (v1[i] + d2[i]) / v0[i];
    }
    expect("population_kl:symmetric=false,reg=0,reduction=sum", there, there_scale);
    expect("population_kl:symmetric=false,reg=0,reduction=sum,log=sigma", halved, there_scale);
    expect("population_kl:symmetric=false,reg=0", there / 2, there_scale / 2);
    expect("population_kl:reduction=sum,reg=2", (there + back) / 2 + 2 * squares,
           (there_scale + back_scale) / 2 + 2 * squares);
    expect("population_kl:reg=0,log=sigma", (there + back) / 4, (there_scale + back_scale) / 4);
    /* Both variances of neuron 0 are raised to 3: its KL is 1/2 (1/3). */
    expect("population_kl:symmetric=false,reg=0,var_floor=3",
           (1.0 / 6 + (log(4 / 3.5) + (3.5 + 4) / 4 - 1) / 2) / 2,
           (1 + 4.0 / 3 + 1 + log(4 / 3.5) + (3.5 + 4) / 4) / 2);
}
END_TEST

/* Seven times 0.1 does not sum to seven tenths, and yet the neuron does not vary. */
START_TEST(constants)
{
    double constant[7];
    for (int r = 0; r < 7; r++)
        constant[r] = 0.1;
    const oracle_array array = { { 7, 1, 1 }, constant };
    const oracle_inputs degenerate = { array, array, NULL };
    ratecl_term term;
    double value, scale;
    ASSERT_OK(ratecl_term_parse(&term, "population_kl"));
    ck_assert_int_eq(oracle_values(&term, &degenerate, &value, &scale), 0);
    ck_assert(!isfinite(value));
    ASSERT_OK(ratecl_term_parse(&term, "population_kl:degenerate=skip,reg=0"));
    ck_assert_int_eq(oracle_values(&term, &degenerate, &value, &scale), 1);
    ck_assert_msg(isnan(value), "nothing is left to compare, and yet the value is %g", value);
}
END_TEST

/* ---- Gradients ---- */

enum { ELEMENTS = 8 }; /* of the largest input */

static double dot_values(const ratecl_term *term, const oracle_inputs *at, const double *u)
{
    double values[2] = { 0 }, scales[2], sum = 0;
    oracle_values(term, at, values, scales);
    if (oracle_count(term, 2) == 1)
        return values[0];
    for (int k = 0; k < 2; k++)
        sum += values[k] * u[k];
    return sum;
}

/* S + 1, where every criterion has a derivative. */
static const double positive[] = { 1, 3, 3, 5, 3, 4, 5, 8 };
static const oracle_inputs smooth = { { { 2, 2, 2 }, positive }, { { 1, 2, 2 }, S1 }, W };

/* Against central differences, by each element of one input. */
static void expect_slopes(const char *text, const double *u, int input, size_t count, const double *of)
{
    double values[INPUT_COUNT][ELEMENTS] = { { 0 } }, magnitudes[INPUT_COUNT][ELEMENTS] = { { 0 } };
    oracle_gradient gradients[INPUT_COUNT];
    for (int k = 0; k < INPUT_COUNT; k++)
        gradients[k] = (oracle_gradient){ values[k], magnitudes[k] };
    ratecl_term term;
    ASSERT_OK(ratecl_term_parse(&term, text));
    oracle_gradients(&term, &smooth, u, gradients);
    for (size_t k = 0; k < count; k++) {
        const double step = 1e-5;
        double moved[ELEMENTS];
        memcpy(moved, of, count * sizeof *moved);
        oracle_inputs at = smooth;
        if (input == WEIGHTS)
            at.weights = moved;
        else
            (input == STATES ? &at.states : &at.reference)->values = moved;
        moved[k] = of[k] + step;
        const double above = dot_values(&term, &at, u);
        moved[k] = of[k] - step;
        const double slope = (above - dot_values(&term, &at, u)) / (2 * step);
        const double error = fabs(values[input][k] - slope);
        ck_assert_msg(error <= 1e-8 * (1 + magnitudes[input][k]) &&
                          fabs(slope) <= 1.001 * magnitudes[input][k] + 1e-8,
                      "%s: by element %zu of input %d: %.10g, by differences %.10g; magnitude %.3g", text, k,
                      input, values[input][k], slope, magnitudes[input][k]);
    }
}

START_TEST(slopes)
{
    static const char *const texts[] = {
        "firing_rate:target=0.5",
        "firing_rate:metric=l1,target=4",
        "firing_rate_dist",
        "firing_rate_dist:metric=cv,ddof=1",
        "firing_rate_dist:metric=mean_ad",
        "state_prediction",
        "hebbian",
        "hebbian:over=step",
        "entropy:eps=0.5,reg=2",
        "population_kl",
        "population_kl:reduction=sum,reg=2,log=sigma",
        "population_kl:symmetric=false,reduction=none,log=sigma,reg=0.5",
        "population_kl:symmetric=false,var_floor=3",
        "population_kl:symmetric=false,reduction=none,var_floor=2.2",
    };
    static const double u[] = { 0.7, -1.3 };
    for (size_t k = 0; k < COUNT(texts); k++) {
        ratecl_term term;
        ASSERT_OK(ratecl_term_parse(&term, texts[k]));
        expect_slopes(texts[k], u, STATES, 8, positive);
        if (oracle_depends(&term, REFERENCE))
            expect_slopes(texts[k], u, REFERENCE, 4, S1);
        if (oracle_depends(&term, WEIGHTS))
            expect_slopes(texts[k], u, WEIGHTS, 4, W);
    }
}
END_TEST

/* Where there is no derivative: the choices of the public header. */
static void expect_choice(const char *text, const oracle_inputs *at, const double *expected, size_t count)
{
    double values[ELEMENTS] = { 0 }, magnitudes[ELEMENTS] = { 0 }, other[ELEMENTS];
    const oracle_gradient gradients[INPUT_COUNT] = { { values, magnitudes },
                                                     { other, other },
                                                     { other, other } };
    ratecl_term term;
    ASSERT_OK(ratecl_term_parse(&term, text));
    oracle_gradients(&term, at, NULL, gradients);
    for (size_t k = 0; k < count; k++)
        ck_assert_msg(fabs(values[k] - expected[k]) <= 1e-15, "%s: element %zu: %.17g, by hand %.17g", text,
                      k, values[k], expected[k]);
}

START_TEST(choices)
{
    /* One row of four: mean 2, deviations -2, 0, 0, 2. */
    const oracle_inputs row = { { { 1, 1, 4 }, (const double[]){ 0, 2, 2, 4 } }, { { 0 }, NULL }, NULL };
    expect_choice("firing_rate:metric=l1,target=2", &row, (const double[]){ -0.25, 0, 0, 0.25 }, 4);
    expect_choice("firing_rate_dist:metric=mean_ad", &row, (const double[]){ -0.25, 0, 0, 0.25 }, 4);
    expect_choice("firing_rate_dist:metric=max_ad", &row, (const double[]){ -0.5, 0, 0, 0.5 }, 4);
    const double p = 0.25, H = 1.5 * log(2);
    expect_choice("entropy:reg=0", &row,
                  (const double[]){ 0, -(log(p) + H) / 8, -(log(p) + H) / 8, -(log(2 * p) + H) / 8 }, 4);
    expect_choice("entropy:reg=3", &(oracle_inputs){ .states = { { 1, 1, 2 }, (const double[]){ 0, 0 } } },
                  (const double[]){ 0, 0 }, 2);

    const oracle_inputs equal = { .states = { { 1, 2, 2 }, (const double[]){ 0.1, 0.3, 0.3, 0.1 } } };
    static const double zeros[4];
    expect_choice("firing_rate_dist", &equal, zeros, 4);
    expect_choice("firing_rate_dist:metric=cv", &equal, zeros, 4);
    expect_choice("firing_rate_dist:metric=max_ad", &equal, zeros, 4);

    /* Neuron 0 has no variance; only reg's part is left of it. Neuron 1: v 1 and 1, d 1. */
    const oracle_inputs pair = { { { 1, 2, 2 }, (const double[]){ 3, 0, 3, 2 } },
                                 { { 1, 2, 2 }, (const double[]){ 0, -1, 1, 1 } },
                                 NULL };
    expect_choice("population_kl:symmetric=false,degenerate=skip,reg=1", &pair,
                  (const double[]){ 3, 0.5, 3, 2.5 }, 4);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { rates,       lags,      correlations, entropies,
                                   divergences, constants, slopes,       choices };
    return suite_run("oracle", tests, COUNT(tests));
}

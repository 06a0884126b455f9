/* SPDX-License-Identifier: Apache-2.0 */
/* The oracle itself, on cases worked out by hand. */
#include "oracle.h"

#include "suite.h"

#include <math.h>

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
    ck_assert_double_eq(value, 0);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { rates, lags, correlations, entropies, divergences, constants };
    return suite_run("oracle", tests, COUNT(tests));
}

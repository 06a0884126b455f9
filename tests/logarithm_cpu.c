/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU path's logarithm in f32 against that in double, over the positive floats: a sample of them, or with
 * RATECL_TEST_SIZE=all each one. */
#define RC_VARIANT test
#define RC_REAL_BITS 32
#include "../src/cpu/logarithm.h"

#include <stdio.h>
#include <stdlib.h>

#include "suite.h"

/* As docs/accuracy.md says: absolute where log x is less than 1, else relative. */
#define BOUND 1.3e-7

/* Log x - e log 2, of RC_LANES floats `step` apart from the bits `first` on. */
static double largest_error(uint32_t first, uint32_t step, int e)
{
    float x[RC_LANES], y[RC_LANES];
    double largest = 0;
    for (uint32_t l = 0; l < RC_LANES; l++) {
        const uint32_t bits = first + l * step;
        memcpy(&x[l], &bits, sizeof bits);
    }
    rc_store(y, rc_log_scaled(rc_load(x), (float)e));
    for (int l = 0; l < RC_LANES; l++) {
        const double right = log((double)x[l]) - e * 0.69314718055994530942;
        const double error = fabs((double)y[l] - right) / fmax(1, fabs(right));
        largest = error > largest || isnan(error) ? error : largest;
    }
    return largest;
}

START_TEST(the_logarithm_is_right)
{
    const uint32_t smallest = 1, infinite = 0x7f800000;
    const char *size = getenv("RATECL_TEST_SIZE");
    const uint32_t step = size && strcmp(size, "all") == 0 ? 1 : suite_is_small() ? 10007 : 97;
    static const int exponents[] = { 0, -20, 100 };
    for (size_t k = 0; k < sizeof exponents / sizeof *exponents; k++) {
        double largest = 0;
        for (uint32_t bits = smallest; bits < infinite - RC_LANES * step; bits += RC_LANES * step)
            largest = fmax(largest, largest_error(bits, step, exponents[k]));
        printf("the logarithm less %d log 2 is off by %.3g at most\n", exponents[k], largest);
        ck_assert_msg(largest <= BOUND, "%g", largest);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { the_logarithm_is_right };
    return suite_run("logarithm_cpu", tests, 1);
}

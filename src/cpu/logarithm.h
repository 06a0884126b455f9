/* SPDX-License-Identifier: Apache-2.0 */
/* A natural logarithm that vectorises: no branch, no table, no integer conversion. */
#ifndef RATECL_SRC_CPU_LOGARITHM_H
#define RATECL_SRC_CPU_LOGARITHM_H

#include <string.h>

#include "variant.h"

/* log(1 + f) = f - f^2/2 + tail(f) for sqrt(1/2) <= 1 + f < sqrt(2), by minimax polynomials: in double
 * tail = s (f^2/2 + R(s^2)) with s = f / (2 + f), R(z) = z (2/3 + 2/5 z + ...); in float, where a division
 * would cost more than it saves, tail = f^3 (1/3 - f/4 + ...). */
#if RC_REAL_BITS == 64
typedef uint64_t rc_bits;
enum { RC_MANTISSA_BITS = 52 };
#define RC_LOG_ONE UINT64_C(0x3ff0000000000000)
#define RC_LOG_SQRT_HALF UINT64_C(0x3fe6a09e667f3bcd)
#define RC_LOG_MAGIC UINT64_C(0x4330000000000000) /* 2^52: its last bits count ones */
#define RC_LOG_BIAS (0x1p52 + 1023)
#define RC_LOG_NORMAL 0x1p-1022
#define RC_LN2_HIGH 0x1.62e42feep-1
#define RC_LN2_LOW 0x1.a39ef35793c76p-33

static inline double rc_log_tail(double f)
{
    const double s = f / (2 + f), z = s * s;
    double R = 1.479819860511658591e-01;
    R = R * z + 1.531383769920937332e-01;
    R = R * z + 1.818357216161805012e-01;
    R = R * z + 2.222219843214978396e-01;
    R = R * z + 2.857142874366239149e-01;
    R = R * z + 3.999999999940941908e-01;
    R = R * z + 6.666666666666735130e-01;
    return s * (0.5 * f * f + z * R);
}
#else
typedef uint32_t rc_bits;
enum { RC_MANTISSA_BITS = 23 };
#define RC_LOG_ONE UINT32_C(0x3f800000)
#define RC_LOG_SQRT_HALF UINT32_C(0x3f3504f3)
#define RC_LOG_MAGIC UINT32_C(0x4b000000) /* 2^23: its last bits count ones */
#define RC_LOG_BIAS (0x1p23F + 127)
#define RC_LOG_NORMAL 0x1p-126F
#define RC_LN2_HIGH 0x1.62e3p-1F
#define RC_LN2_LOW 0x1.2fefa2p-17F

static inline float rc_log_tail(float f)
{
    float p = 7.0376836292e-2F;
    p = p * f - 1.1514610310e-1F;
    p = p * f + 1.1676998740e-1F;
    p = p * f - 1.2420140846e-1F;
    p = p * f + 1.4249322787e-1F;
    p = p * f - 1.6668057665e-1F;
    p = p * f + 2.0000714765e-1F;
    p = p * f - 2.4999993993e-1F;
    p = p * f + 3.3333331174e-1F;
    return p * f * (f * f);
}
#endif

/* log(x) - e log(2) for x > 0, subnormal numbers included, and a whole e. Finite for every other x, so that
 * x log x is 0 for x = 0 and NaN for NaN. */
static inline real rc_log_scaled(real x, real e)
{
    const bool subnormal = x < RC_LOG_NORMAL;
    const real normal = subnormal ? x * ((rc_bits)1 << RC_MANTISSA_BITS) : x;
    const real bias = subnormal ? (real)(RC_LOG_BIAS + RC_MANTISSA_BITS) : (real)RC_LOG_BIAS;

    rc_bits bits, exponent;
    memcpy(&bits, &normal, sizeof bits);
    bits += RC_LOG_ONE - RC_LOG_SQRT_HALF;
    exponent = bits >> RC_MANTISSA_BITS | RC_LOG_MAGIC;
    bits = (bits & (((rc_bits)1 << RC_MANTISSA_BITS) - 1)) + RC_LOG_SQRT_HALF;
    real k, mantissa;
    memcpy(&k, &exponent, sizeof k);
    memcpy(&mantissa, &bits, sizeof mantissa);

    k = k - bias - e;
    const real f = mantissa - 1;
    return k * RC_LN2_HIGH + (f - ((real)0.5 * f * f - (rc_log_tail(f) + k * RC_LN2_LOW)));
}

#endif

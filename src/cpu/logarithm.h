/* SPDX-License-Identifier: Apache-2.0 */
/* A natural logarithm that vectorises: no branch, no table, no integer conversion. */
#ifndef RATECL_SRC_CPU_LOGARITHM_H
#define RATECL_SRC_CPU_LOGARITHM_H

#include "vector.h"

/* log(2^k (1 + f)) by minimax polynomials. In double for sqrt(1/2) <= 1 + f < sqrt(2): log(1 + f) = f - f^2/2
 * + s (f^2/2 + z R(z)) with s = f / (2 + f), z = s^2. In float, where a division would cost more than it
 * saves, for 2/3 <= 1 + f < 4/3: log(1 + f) = f + f^2 P(f), off by 4.3e-8 at most. */
#if RC_REAL_BITS == 64
enum { RC_MANTISSA_BITS = 52 };
#define RC_LOG_ONE UINT64_C(0x3ff0000000000000)
#define RC_LOG_LOWEST UINT64_C(0x3fe6a09e667f3bcd) /* sqrt(1/2) */
#define RC_LOG_MAGIC UINT64_C(0x4330000000000000)  /* 2^52: its last bits count ones */
#define RC_LOG_BIAS (0x1p52 + 1023)
#define RC_LOG_NORMAL 0x1p-1022

RC_INLINE rc_vector rc_log_reduced(rc_vector k, rc_vector f)
{
    const rc_vector s = f / (2 + f), z = s * s;
    rc_vector R = 1.479819860511658591e-01 * z + 1.531383769920937332e-01;
    R = R * z + 1.818357216161805012e-01;
    R = R * z + 2.222219843214978396e-01;
    R = R * z + 2.857142874366239149e-01;
    R = R * z + 3.999999999940941908e-01;
    R = R * z + 6.666666666666735130e-01;
    const rc_vector square = 0.5 * f * f, tail = s * (square + z * R);
    /* log(2) in two parts, of which the first has few bits: k times it is exact. */
    return k * 0x1.62e42feep-1 + (f - (square - (tail + k * 0x1.a39ef35793c76p-33)));
}
#else
enum { RC_MANTISSA_BITS = 23 };
#define RC_LOG_ONE UINT32_C(0x3f800000)
#define RC_LOG_LOWEST UINT32_C(0x3f2aaaab) /* 2/3 */
#define RC_LOG_MAGIC UINT32_C(0x4b000000)  /* 2^23: its last bits count ones */
#define RC_LOG_BIAS (0x1p23F + 127)
#define RC_LOG_NORMAL 0x1p-126F

RC_INLINE rc_vector rc_log_reduced(rc_vector k, rc_vector f)
{
    /* By Estrin's scheme: processors look ahead no further than a few chains of seven would be long. */
    const rc_vector f2 = f * f;
    const rc_vector low = (0.333380431F * f - 0.499998331F) + f2 * (0.197843462F * f - 0.250143409F);
    const rc_vector high = (0.171942994F * f - 0.163074493F) - 0.159186214F * f2;
    const rc_vector P = low + f2 * f2 * high;
    return k * 0.693147181F + (f + f2 * P);
}
#endif

/* log(x) - shift log(2) for a normal x > 0, where shift is a whole number and the bias added to it. Finite
 * for every other x, so that x log x is 0 for x = 0 and NaN for NaN. */
RC_INLINE rc_vector rc_log_biased(rc_vector x, rc_vector shift)
{
    const rc_bits mantissa_mask = ((rc_bits)1 << RC_MANTISSA_BITS) - 1;
    const rc_bit_vector bits = (rc_bit_vector)x + (RC_LOG_ONE - RC_LOG_LOWEST);
    const rc_vector k = (rc_vector)(bits >> RC_MANTISSA_BITS | RC_LOG_MAGIC) - shift;
    return rc_log_reduced(k, (rc_vector)((bits & mantissa_mask) + RC_LOG_LOWEST) - 1);
}

/* log(x) - e log(2), of a whole e, for every x > 0. */
RC_INLINE rc_vector rc_log_scaled(rc_vector x, real e)
{
    const real two_to_bits = (real)((rc_bits)1 << RC_MANTISSA_BITS);
    const rc_bit_vector subnormal = (rc_bit_vector)(x < RC_LOG_NORMAL);
    const rc_vector bias = rc_all((real)RC_LOG_BIAS + e);
    return rc_log_biased(rc_select(subnormal, x * two_to_bits, x),
                         rc_select(subnormal, bias + (real)RC_MANTISSA_BITS, bias));
}

/* The same where x is normal, or too small to matter. */
RC_INLINE rc_vector rc_log_scaled_normal(rc_vector x, real e)
{
    return rc_log_biased(x, rc_all((real)RC_LOG_BIAS + e));
}

#endif

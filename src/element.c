/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "plan.h"

size_t rc_element_bytes(ratecl_element element)
{
    static const size_t bytes[] = {
        [RATECL_F32] = 4,
        [RATECL_F64] = 8,
        [RATECL_F16] = 2,
        [RATECL_U8] = 1,
    };
    return bytes[element];
}

static double half_to_double(uint16_t half)
{
    const int exponent = (half >> 10) & 0x1f, fraction = half & 0x3ff;
    double magnitude;
    if (exponent == 0x1f)
        magnitude = fraction ? (double)NAN : (double)INFINITY;
    else if (exponent == 0)
        magnitude = ldexp(fraction, -24);
    else
        magnitude = ldexp(fraction + 0x400, exponent - 25);
    return half & 0x8000 ? -magnitude : magnitude;
}

double rc_element_read(ratecl_element element, const void *memory, int64_t index)
{
    switch (element) {
    case RATECL_F32:
        return ((const float *)memory)[index];
    case RATECL_F64:
        return ((const double *)memory)[index];
    case RATECL_F16:
        return half_to_double(((const uint16_t *)memory)[index]);
    case RATECL_U8:
        return ((const uint8_t *)memory)[index];
    }
    return (double)NAN;
}

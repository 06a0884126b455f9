/* SPDX-License-Identifier: Apache-2.0 */
/* A sum with Neumaier's compensation: its error does not grow with the number of terms. */
#ifndef RATECL_SRC_CPU_COMPENSATED_H
#define RATECL_SRC_CPU_COMPENSATED_H

#include <math.h>

typedef struct rc_compensated {
    double sum, rest;
} rc_compensated;

static inline void rc_add(rc_compensated *c, double x)
{
    const double sum = c->sum + x;
    if (isfinite(sum))
        c->rest += fabs(c->sum) >= fabs(x) ? (c->sum - sum) + x : (x - sum) + c->sum;
    c->sum = sum;
}

static inline double rc_total(const rc_compensated *c)
{
    return c->sum + c->rest;
}

#endif

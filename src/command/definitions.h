/* SPDX-License-Identifier: Apache-2.0 */
/* The criteria as their formulas say, in plain loops over doubles: what the self-test compares with. */
#ifndef RATECL_COMMAND_DEFINITIONS_H
#define RATECL_COMMAND_DEFINITIONS_H

#include <ratecl/ratecl.h>

struct array {
    int64_t shape[3];       /* B, T, N */
    const double *elements; /* (B, T, N), C order */
};

struct quantity {
    double value;
    double scale;     /* the error that is allowed is a fraction of this: */
    double tolerance; /* with f32 arithmetic this one, with f64 TOLERANCE_F64 */
};

#define TOLERANCE_F64 1e-12

/* Write a term's values, 1 or N, and give their count. `scratch` has room for 4 N doubles. */
size_t define_term(const ratecl_term *term, const struct array *states, const struct array *reference,
                   const struct array *weights, double *scratch, struct quantity *quantities);

#endif

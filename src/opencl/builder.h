/* SPDX-License-Identifier: Apache-2.0 */
/* Making a plan: its scratch, its kernels with their arguments, and its steps, pass by pass. */
#ifndef RATECL_SRC_OPENCL_BUILDER_H
#define RATECL_SRC_OPENCL_BUILDER_H

#include "cl.h"

enum { MERGE_ROWS = 1024 }; /* rows that a group of merge_steps adds up */

/* Where things lie in the buffer of merged sums, in reals. */
typedef struct rc_cl_sums_layout {
    int64_t blocks, sweep_tiles, block_rows;
    int64_t groups;    /* of MERGE_ROWS rows */
    int64_t entropies; /* then, for each eps, the blocks; one more set of its own for a Z alone */
    int64_t batches;   /* hebbian over batch: (B) */
    int64_t steps;     /* hebbian over step: the groups */
    int64_t count;
    int64_t padded;        /* N, to whole tiles of the correlation */
    int64_t chunks, pairs; /* of a batch's steps, and of tiles */
    int64_t factors;       /* of the gradient: the lags, the eps, and two of the Hebbian signs */
} rc_cl_sums_layout;

typedef struct rc_cl_builder {
    rc_cl_plan *plan;
    const rc_spec *spec;
    rc_cl_sums_layout at;
    cl_mem none; /* in the place of what a kernel does not touch */
    cl_mem sums, statistics[2], row_z, row_sums, exponents, folded, taus;
    cl_mem integers, reals, shared;      /* of the terms */
    cl_mem row_factors, block_exponents; /* for the gradients of the entropies, */
    cl_mem row_energies, product;        /* and of the Hebbian terms: (R), (R, N) */
    cl_mem batch_energies;               /* (B) */
    /* What correlation leaves for merge. The energy of batch b is the sum of parts[outer * outer_stride + b * inner + k]
     * over outer < outers and k < inner; step_sums: (step_tiles, R), whose sums over tiles are the energies of rows. */
    struct {
        cl_mem parts;
        int64_t inner, outers, outer_stride;
    } batch_parts;
    cl_mem step_sums;
    int64_t step_tiles;
    cl_mem lines[2], factors;            /* coefficients, by input: (2, N); in all: (at.factors) */
} rc_cl_builder;

static inline int64_t rc_ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static inline int rc_precision_bits(const rc_spec *spec)
{
    return spec->precision == RATECL_PRECISION_F64 ? 64 : 32;
}

static inline bool rc_is_contiguous(const rc_view *view)
{
    return view->strides[2] == 1 || view->shape[2] == 1;
}

/* Whether it is the time steps that are neighbours. */
static inline bool rc_is_along(const rc_view *view)
{
    return view->strides[1] == 1 && !rc_is_contiguous(view);
}

/* Of which Hebbian energies the gradient has the signs: 1 for those of batches, 2 for those of rows, or both.
 */
static inline int rc_hebbian_signs(const rc_spec *spec)
{
    return spec->hebbian_batch + 2 * spec->hebbian_step;
}

/* ---- builder.c ---- */

/* Device memory that the plan owns; with `content`, a copy of it. */
ratecl_status rc_cl_scratch(rc_cl_builder *b, int64_t count, size_t bytes, const void *content,
                            cl_mem *buffer);
ratecl_status rc_cl_scratch_reals(rc_cl_builder *b, int64_t count, cl_mem *buffer);
/* The first `count` of the spec's epsilons, as reals. */
ratecl_status rc_cl_scratch_epsilons(rc_cl_builder *b, size_t count, cl_mem *buffer);

/* A new step with kernel `name`; the plan owns the kernel from here on. */
ratecl_status rc_cl_add_step(rc_cl_builder *b, const char *file, const char *options, const char *name,
                             int32_t lanes, rc_cl_step **step);
/* A new step with a kernel of finish.cl, which reads no input. */
ratecl_status rc_cl_add_launch(rc_cl_builder *b, const char *name, int64_t groups, rc_cl_step **step);

typedef struct rc_cl_argument {
    const void *value;
    size_t bytes;
} rc_cl_argument;

/* Set a kernel's arguments from number `first` on: SET_ARGUMENTS(kernel, 5, ARGUMENT(T), ARGUMENT(N)). */
#define ARGUMENT(variable)            \
    {                                 \
        &(variable), sizeof(variable) \
    }
#define SET_ARGUMENTS(kernel, first, ...)                                       \
    rc_cl_set_arguments(kernel, first, (const rc_cl_argument[]){ __VA_ARGS__ }, \
                        sizeof((const rc_cl_argument[]){ __VA_ARGS__ }) / sizeof(rc_cl_argument))
ratecl_status rc_cl_set_arguments(cl_kernel kernel, cl_uint first, const rc_cl_argument *arguments,
                                  size_t count);

/* A real of the plan's precision, as an argument. */
typedef struct rc_cl_real {
    cl_float f32;
    cl_double f64;
} rc_cl_real;

static inline rc_cl_real rc_cl_real_of(double value)
{
    return (rc_cl_real){ (cl_float)value, value };
}
rc_cl_argument rc_cl_real_argument(const rc_cl_plan *plan, const rc_cl_real *real);

/* ---- sweep.c ---- */
int64_t rc_cl_sweep_tile(const rc_tuning *tuning);
int64_t rc_cl_block_rows(const rc_cl_plan *plan, const rc_view *view);
ratecl_status rc_cl_add_sweeps(rc_cl_builder *b);

/* ---- correlation.c ---- */
ratecl_status rc_cl_add_correlation(rc_cl_builder *b);
ratecl_status rc_cl_add_weights_gradient(rc_cl_builder *b);

/* ---- finish.c ---- */
ratecl_status rc_cl_add_finish(rc_cl_builder *b);

/* ---- gradient.c ---- */
ratecl_status rc_cl_add_gradients(rc_cl_builder *b);

#endif

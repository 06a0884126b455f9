/* SPDX-License-Identifier: Apache-2.0 */
/* Making a plan: its scratch, its kernels with their arguments, and its steps, pass by pass. */
#ifndef RATECL_SRC_OPENCL_BUILDER_H
#define RATECL_SRC_OPENCL_BUILDER_H

#include <float.h>

#include "cl.h"

/* What a work-group of merge and finish has to do: the numbers by which finish.cl calls the parts of a job.
 */
enum {
    RC_JOB_NEURONS,
    RC_JOB_PITCH,
    RC_JOB_ROWS,
    RC_JOB_BLOCK_ROWS,
    RC_JOB_BLOCKS,
    RC_JOB_REFERENCE_ROWS,
    RC_JOB_REFERENCE_BLOCK_ROWS,
    RC_JOB_REFERENCE_BLOCKS,
    RC_JOB_ACROSS,
    RC_JOB_COLUMN_GROUPS,
    RC_JOB_GROUP_COLUMNS,
    RC_JOB_TERMS,
    RC_JOB_NEURON_TERMS,
    RC_JOB_VALUE_COUNT,
    RC_JOB_FACTORS,
    RC_JOB_TILES,
    RC_JOB_SWEEP_BLOCK_ROWS,
    RC_JOB_ENTROPY_GROUPS,
    RC_JOB_GROUP_ROWS,
    RC_JOB_ROW_PARTS,
    RC_JOB_ENTROPY_QUANTITY,
    RC_JOB_FIRST_FACTOR,
    RC_JOB_DIRECT,
    RC_JOB_LAG_GROUPS,
    RC_JOB_LAG_COUNT,
    RC_JOB_LAG_PARTS,
    RC_JOB_LAG_QUANTITY,
    RC_JOB_BATCH_GROUPS,
    RC_JOB_BATCH_COUNT,
    RC_JOB_BATCH_LANES,
    RC_JOB_BATCH_INNER,
    RC_JOB_BATCH_OUTERS,
    RC_JOB_BATCH_STRIDE,
    RC_JOB_BATCH_QUANTITY,
    RC_JOB_STEP_GROUPS,
    RC_JOB_STEP_TILES,
    RC_JOB_STEP_QUANTITY,
    RC_JOB_DEVIATIONS,
    RC_JOB_FINISH_COLUMNS,
    RC_JOB_SKIPPED_OFFSET,
    RC_JOB_PARAMETERS
};

/* Sizes, and the rows of the partials that finish adds up: FIRST_TERM fixed ones, two for each term, then
 * these. */
typedef struct rc_cl_sums_layout {
    int64_t sweep_tiles, block_rows, blocks; /* of the states' sweep */
    int64_t pitch;                           /* reals from row to row of moments: N, to whole vectors */
    int64_t lags, entropies;                 /* one row each; one more of the entropies for a Z alone */
    int64_t batches, steps;
    int64_t quantities;
    int64_t padded;        /* N, to whole tiles of the correlation */
    int64_t chunks, pairs; /* of a batch's steps, and of tiles */
    int64_t factors;       /* of the gradient: the lags, the eps, and two of the Hebbian signs */
} rc_cl_sums_layout;

/* Moments of blocks of rows: (blocks, 3, pitch). */
typedef struct rc_cl_records {
    cl_mem moments;
    int64_t block_rows, blocks;
} rc_cl_records;

/* The programs that a plan needs. */
typedef struct rc_cl_programs {
    rc_cl_wanted *wanted; /* each file owns its options, too */
    size_t count;
} rc_cl_programs;

typedef struct rc_cl_builder {
    rc_cl_plan *plan;
    rc_cl_programs *ahead; /* where set, programs are noted here, and nothing is made */
    const rc_spec *spec;
    rc_cl_sums_layout at;
    cl_mem none; /* in the place of what a kernel does not touch */
    rc_cl_records records[2];
    cl_mem row_sums, exponents, lag_sums, taus; /* of the states' sweep */
    cl_mem statistics[2], row_z, partials;
    cl_long job[RC_JOB_PARAMETERS]; /* of the first merge */
    cl_mem packed_job, integers, reals;
    cl_mem folded;
    cl_mem row_factors;           /* for the gradients of the entropies, */
    cl_mem row_energies, product; /* and of the Hebbian terms: (R), (R, N) */
    cl_mem batch_energies;        /* (B) */
    /* What correlation leaves for merge. The energy of batch b is the sum of parts[outer * outer_stride + b *
     * inner + k] over outer < outers and k < inner; step_sums: (step_tiles, R), whose sums over tiles are the
     * energies of rows. */
    struct {
        cl_mem parts;
        int64_t inner, outers, outer_stride;
    } batch_parts;
    cl_mem step_sums;
    int64_t step_tiles;
    cl_mem lines[2], factors; /* coefficients, by input: (2, N); in all: (at.factors) */
} rc_cl_builder;

static inline int64_t rc_ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static inline int64_t rc_round_up(int64_t n, int64_t unit)
{
    return rc_ceil_div(n, unit) * unit;
}

static inline int64_t rc_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t rc_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static inline int rc_precision_bits(const rc_spec *spec)
{
    return spec->precision == RATECL_PRECISION_F64 ? 64 : 32;
}

static inline bool rc_is_contiguous(const rc_view *view)
{
    return view->strides[2] == 1 || view->shape[2] == 1;
}

/* The place, in longs, of what says in the results whether a gradient is not finite. */
static inline cl_long rc_cl_spoiled_place(const rc_cl_plan *plan)
{
    return (cl_long)(plan->skipped_offset / sizeof(cl_long) + plan->spec->term_count);
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

void rc_cl_programs_free(rc_cl_programs *programs);

/* Device memory that the plan owns; with `content`, a copy of it. */
ratecl_status rc_cl_scratch(rc_cl_builder *b, int64_t count, size_t bytes, const void *content,
                            cl_mem *buffer);
ratecl_status rc_cl_scratch_reals(rc_cl_builder *b, int64_t count, cl_mem *buffer);
/* The first `count` of the spec's epsilons, as reals, and then their logarithms: those of an eps below the
 * range of reals, too. */
ratecl_status rc_cl_scratch_epsilons(rc_cl_builder *b, size_t count, cl_mem *buffer);

/* A new step with kernel `name`; the plan owns the kernel from here on. */
ratecl_status rc_cl_add_step(rc_cl_builder *b, const char *file, const char *options, const char *name,
                             int32_t lanes, rc_cl_step **step);
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
/* No kernel, no arguments. */
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

/* The same of a number that is not negative: above 0 it stays so. */
static inline rc_cl_real rc_cl_positive_real_of(double value)
{
    const rc_cl_real real = rc_cl_real_of(value);
    return value > 0 && real.f32 < FLT_MIN ? (rc_cl_real){ FLT_MIN, value } : real;
}
rc_cl_argument rc_cl_real_argument(const rc_cl_plan *plan, const rc_cl_real *real);

/* ---- sweep.c ---- */

/* How a pass over rows is cut: a work-group has `across` x `down` work-items, each with `vector` columns and
 * `step` rows at once, and takes a block of rows and a tile of neurons. */
typedef struct rc_cl_grid {
    int32_t across, down, vector, step;
    bool aligned, along, wide; /* as the kernels' ALIGNED, ALONG and WIDE */
    int64_t tile, tiles, block_rows, blocks;
} rc_cl_grid;

/* The grid of a sweep over a view. It depends on shape and kernel set alone, so that the bits do too. */
rc_cl_grid rc_cl_sweep_grid(const rc_cl_plan *plan, const rc_view *view);
/* The grid of a gradient; `read` is NULL where only `written` counts. */
rc_cl_grid rc_cl_gradient_grid(const rc_cl_plan *plan, const rc_view *read, const rc_view *written);
/* True if vectors of `vector` neurons can be read as such. */
bool rc_cl_is_aligned(const rc_view *view, int64_t vector);
/* Write the compile options of a grid. Returns their length. */
int rc_cl_grid_options(const rc_cl_plan *plan, const rc_cl_grid *grid, char *options, size_t bytes);

/* Narrow the CPU family's work-groups where there are few neurons. */
void rc_cl_fit_width(const rc_spec *spec, rc_tuning *tuning);

ratecl_status rc_cl_add_sweeps(rc_cl_builder *b);
/* Add the second pass of the states for epsilons[which] > 0, which needs row_z. */
ratecl_status rc_cl_add_entropy_sweep(rc_cl_builder *b, size_t which);

/* ---- merge.c ---- */

/* The most work-groups that leave a partial of one quantity, as in finish.cl. */
enum { PARTIALS = 256 };

/* Add the launch of a kernel of finish.cl, which reads no input. */
ratecl_status rc_cl_add_merge_launch(rc_cl_builder *b, const char *name, int64_t groups, rc_cl_step **step);
ratecl_status rc_cl_add_merge(rc_cl_builder *b);
ratecl_status rc_cl_add_merge_entropy(rc_cl_builder *b, size_t which);
ratecl_status rc_cl_add_deviations(rc_cl_builder *b);
/* How many partials the term's quantity has. */
int64_t rc_cl_merged_counts(const rc_cl_builder *b, const rc_term *term);

/* ---- correlation.c ---- */

/* Return the number of pairs i <= j of tiles. */
int64_t rc_cl_tile_pairs(int64_t N, int32_t tile);
/* Fit tile, work-items, depth and chunk of a GPU set's products to the shape. */
void rc_cl_fit_products(rc_tuning *tuning, const rc_spec *spec);
ratecl_status rc_cl_add_correlation(rc_cl_builder *b);
ratecl_status rc_cl_add_weights_gradient(rc_cl_builder *b);

/* ---- finish.c ---- */
/* The number of fixed rows of the partials, as in finish.cl. */
enum { RC_FIRST_TERM = 13 };
/* True if the term's items are neurons, which merge sums. */
static inline bool rc_cl_is_of_neurons(const rc_term *term)
{
    return term->options.criterion == RATECL_FIRING_RATE || term->options.criterion == RATECL_POPULATION_KL;
}
/* Pack the terms for merge and finish, and make what they write. */
ratecl_status rc_cl_pack_terms(rc_cl_builder *b);
ratecl_status rc_cl_add_finish(rc_cl_builder *b);

/* ---- gradient.c ---- */

/* Rows: pieces begin where vectors of time steps do. */
enum { RC_PIECE_UNIT = 16 };
ratecl_status rc_cl_add_gradients(rc_cl_builder *b);

#endif

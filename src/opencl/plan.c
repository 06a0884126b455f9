/* SPDX-License-Identifier: Apache-2.0 */
/* A plan's kernels, scratch and steps:
 *   sweep (states, reference) -> merge_moments, merge_entropy -> sweep again for each eps > 0
 *   fold -> correlate, correlate_step -> merge_steps
 *   finish */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl.h"

enum { MERGE_ROWS = 1024 }; /* rows whose entropies a group of merge_entropy and merge_steps adds up */

/* The numbers by which finish.cl calls a packed term's parts. */
enum {
    CRITERION,
    METRIC,
    OVER,
    SYMMETRIC,
    REDUCTION,
    LOG_SIGMA,
    SKIP,
    VALUE,
    FIRST,
    COUNT,
    PER_ITEM,
    INTEGERS
};
enum { WEIGHT, TARGET, REG, VAR_FLOOR, SCALE, REALS };

/* Where things lie in the buffer of merged sums, in reals. */
typedef struct sums_layout {
    int64_t blocks, sweep_tiles, block_rows;
    int64_t groups;    /* of MERGE_ROWS rows */
    int64_t entropies; /* then, for each eps, the groups; one more set of its own for a Z alone */
    int64_t batches, chunks, pairs; /* hebbian over batch: (B, chunks, pairs) */
    int64_t steps;                  /* hebbian over step: the groups */
    int64_t count;
    int64_t padded; /* N, to whole tiles of the correlation */
} sums_layout;

typedef struct builder {
    rc_cl_plan *plan;
    const rc_spec *spec;
    sums_layout at;
    cl_mem sums, statistics, reference_statistics, row_z, row_sums, folded;
} builder;

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* ---- Scratch ---- */

static ratecl_status scratch(builder *b, int64_t count, size_t bytes, const void *content, cl_mem *buffer)
{
    rc_cl_plan *plan = b->plan;
    cl_mem *longer = realloc(plan->buffers, (plan->buffer_count + 1) * sizeof *longer);
    if (!longer)
        return rc_fail_memory((plan->buffer_count + 1) * sizeof *longer);
    plan->buffers = longer;
    cl_int code;
    const cl_mem_flags flags = content ? CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR : CL_MEM_READ_WRITE;
    *buffer = clCreateBuffer(plan->context->context, flags, (size_t)(count > 0 ? count : 1) * bytes,
                             (void *)content, &code);
    if (!*buffer)
        return rc_cl_fail("clCreateBuffer", code);
    plan->buffers[plan->buffer_count++] = *buffer;
    return RATECL_OK;
}

static ratecl_status scratch_reals(builder *b, int64_t count, cl_mem *buffer)
{
    return scratch(b, count, b->plan->real_bytes, NULL, buffer);
}

/* ---- Kernels and their arguments ---- */

typedef struct argument {
    const void *value;
    size_t bytes;
} argument;

#define ARGUMENT(variable)            \
    {                                 \
        &(variable), sizeof(variable) \
    }

static ratecl_status set_arguments(cl_kernel kernel, cl_uint first, const argument *arguments, size_t count)
{
    for (size_t k = 0; k < count; ++k)
        CL_TRY(clSetKernelArg(kernel, first + (cl_uint)k, arguments[k].bytes, arguments[k].value));
    return RATECL_OK;
}

#define SET_ARGUMENTS(kernel, first, ...)                           \
    set_arguments(kernel, first, (const argument[]){ __VA_ARGS__ }, \
                  sizeof((const argument[]){ __VA_ARGS__ }) / sizeof(argument))

/* A real of the plan's precision, as an argument. */
typedef struct real_argument {
    cl_float f32;
    cl_double f64;
} real_argument;

static real_argument real_of(double value)
{
    return (real_argument){ (cl_float)value, value };
}

static argument real_as_argument(const rc_cl_plan *plan, const real_argument *real)
{
    return plan->real_bytes == sizeof(cl_double) ? (argument)ARGUMENT(real->f64)
                                                 : (argument)ARGUMENT(real->f32);
}

/* A kernel may allow fewer lanes than the device does; then the plan is made again with so many. */
static ratecl_status check_lanes(rc_cl_plan *plan, cl_kernel kernel, const char *name, size_t lanes)
{
    size_t most;
    CL_TRY(clGetKernelWorkGroupInfo(kernel, plan->context->device, CL_KERNEL_WORK_GROUP_SIZE, sizeof most,
                                    &most, NULL));
    if (most < plan->group_lanes)
        plan->group_lanes = most;
    if (most < lanes)
        return rc_fail(RATECL_ERROR_UNSUPPORTED,
                       "kernel %s can have groups of at most %zu lanes: expected %zu", name, most, lanes);
    return RATECL_OK;
}

/* A new step with kernel `name`; the plan owns the kernel from here on. */
static ratecl_status add_step(builder *b, const char *file, const char *options, const char *name,
                              int32_t lanes, rc_cl_step **step)
{
    rc_cl_plan *plan = b->plan;
    rc_cl_step *longer = realloc(plan->steps, (plan->step_count + 1) * sizeof *longer);
    if (!longer)
        return rc_fail_memory((plan->step_count + 1) * sizeof *longer);
    plan->steps = longer;
    cl_kernel kernel;
    RC_TRY(rc_cl_kernel(plan->context, file, options, name, &kernel));
    *step = &plan->steps[plan->step_count++];
    **step = (rc_cl_step){ .pass.kernel = kernel, .launch.kernel = kernel };
    return check_lanes(plan, kernel, name, (size_t)lanes);
}

static int precision_bits(const rc_spec *spec)
{
    return spec->precision == RATECL_PRECISION_F64 ? 64 : 32;
}

static bool contiguous(const rc_view *view)
{
    return view->strides[2] == 1 || view->shape[2] == 1;
}

static ratecl_status add_launch(builder *b, const char *name, int64_t groups, rc_cl_step **step)
{
    const int32_t lanes = b->plan->tuning.merge_lanes;
    char options[160];
    snprintf(options, sizeof options, "-cl-std=CL1.2 -DPRECISION=%d -DLANES=%d -DVECTOR=%d",
             precision_bits(b->spec), lanes, b->plan->tuning.sweep_vector);
    RC_TRY(add_step(b, "finish.cl", options, name, lanes, step));
    (*step)->launch.lanes = (size_t)lanes;
    (*step)->launch.groups = groups;
    return RATECL_OK;
}

/* ---- The sweep ---- */

typedef struct sweep_wants {
    bool moments, sums;
    int entropy; /* as in sweep.cl */
    size_t lags;
} sweep_wants;

/* Rows of a block: enough blocks to occupy the device, and few enough that their sums are a small part of
 * what is read. It depends on shape and device alone, so that the bits do too. */
static int64_t block_rows_for(const rc_cl_plan *plan, int64_t R, int64_t tiles)
{
    const int64_t most = plan->tuning.sweep_rows, units = plan->context->limits.compute_units;
    const int64_t wanted =
        ceil_div(R * tiles, units * (plan->context->limits.kind == RATECL_DEVICE_CPU ? 8 : 32));
    const int64_t least = most < 64 ? most : 64;
    return wanted < least ? least : wanted > most ? most : wanted;
}

static int64_t sweep_tile(const rc_tuning *t)
{
    return (int64_t)t->sweep_lanes * t->sweep_vector * t->sweep_vectors;
}

static int64_t longest_lag(const rc_spec *spec)
{
    int64_t longest = 0;
    for (size_t k = 0; k < spec->lag_count; ++k)
        longest = spec->lags[k] > longest ? spec->lags[k] : longest;
    return longest;
}

static ratecl_status add_sweep(builder *b, int input, const sweep_wants *wants, double eps,
                               int64_t block_rows, cl_mem moments)
{
    const rc_cl_plan *plan = b->plan;
    const rc_spec *spec = b->spec;
    const rc_view *view = &spec->inputs[input];
    const rc_tuning *t = &plan->tuning;
    const cl_long T = view->shape[1], N = view->shape[2], R = rc_view_rows(view), rows = block_rows;
    const cl_long blocks = ceil_div(R, rows), zero = 0;
    char options[320];
    snprintf(options, sizeof options,
             "-cl-std=CL1.2 -DPRECISION=%d -DELEMENT=%d -DCONTIGUOUS=%d -DLANES=%d -DVECTOR=%d -DVECTORS=%d "
             "-DSTEP=%d "
             "-DMOMENTS=%d -DSUMS=%d -DENTROPY=%d -DLAGS=%zu",
             precision_bits(spec), (int)view->element, contiguous(view), t->sweep_lanes, t->sweep_vector,
             t->sweep_vectors, t->sweep_step, wants->moments, wants->sums, wants->entropy, wants->lags);
    rc_cl_step *step;
    RC_TRY(add_step(b, "sweep.cl", options, "sweep", t->sweep_lanes, &step));
    step->reads_input = true;
    step->pass = (rc_cl_pass){
        .kernel = step->pass.kernel,
        .first_unit = 10,
        .input = input,
        .lanes = (size_t)t->sweep_lanes,
        .tiles = ceil_div(N, sweep_tile(t)),
        .units = blocks,
        .unit_rows = block_rows,
        .overlap = wants->lags ? longest_lag(spec) : 0,
    };
    cl_mem taus;
    RC_TRY(scratch(b, (int64_t)wants->lags, sizeof(cl_long), wants->lags ? spec->lags : NULL, &taus));
    const real_argument epsilon = real_of(eps);
    return SET_ARGUMENTS(step->pass.kernel, 5, ARGUMENT(T), ARGUMENT(N), ARGUMENT(R), ARGUMENT(rows),
                         ARGUMENT(blocks), ARGUMENT(zero), ARGUMENT(taus), ARGUMENT(b->row_z),
                         real_as_argument(plan, &epsilon), ARGUMENT(moments), ARGUMENT(b->row_sums),
                         ARGUMENT(b->sums));
}

static ratecl_status add_merge_moments(builder *b, int input, int64_t block_rows, cl_mem moments,
                                       cl_mem *statistics)
{
    const rc_view *view = &b->spec->inputs[input];
    const cl_long N = view->shape[2], R = rc_view_rows(view), rows = block_rows, blocks = ceil_div(R, rows);
    rc_cl_step *step;
    RC_TRY(scratch_reals(b, 3 * N, statistics));
    RC_TRY(add_launch(b, "merge_moments",
                      ceil_div(N, (int64_t)b->plan->tuning.merge_lanes * b->plan->tuning.sweep_vector),
                      &step));
    return SET_ARGUMENTS(step->launch.kernel, 0, ARGUMENT(moments), ARGUMENT(N), ARGUMENT(R), ARGUMENT(rows),
                         ARGUMENT(blocks), ARGUMENT(*statistics));
}

static ratecl_status add_merge_entropy(builder *b, bool direct, int64_t set)
{
    const rc_view *view = &b->spec->inputs[RC_STATES];
    const cl_long R = rc_view_rows(view), tiles = b->at.sweep_tiles, rows = MERGE_ROWS;
    const cl_long first = b->at.entropies + set * b->at.groups;
    const cl_int is_direct = direct;
    const real_argument log_N = real_of(log((double)view->shape[2]));
    rc_cl_step *step;
    RC_TRY(add_launch(b, "merge_entropy", b->at.groups, &step));
    return SET_ARGUMENTS(step->launch.kernel, 0, ARGUMENT(b->row_sums), ARGUMENT(tiles), ARGUMENT(R),
                         ARGUMENT(rows), real_as_argument(b->plan, &log_N), ARGUMENT(is_direct),
                         ARGUMENT(first), ARGUMENT(b->row_z), ARGUMENT(b->sums));
}

/* The states' one sweep, with all it can give; then one more for each eps > 0, which needs Z beforehand. */
static ratecl_status add_states(builder *b)
{
    const rc_spec *spec = b->spec;
    const rc_view *view = &spec->inputs[RC_STATES];
    const bool entropy = spec->entropy_count > 0;
    const sweep_wants wants = { spec->moments, entropy, rc_sweep_has_entropy(spec), spec->lag_count };
    if (!wants.moments && !entropy && !wants.lags)
        return RATECL_OK;
    cl_mem moments;
    RC_TRY(scratch_reals(b, wants.moments ? b->at.blocks * 3 * view->shape[2] : 1, &moments));
    RC_TRY(scratch_reals(b, entropy ? b->at.sweep_tiles * 2 * rc_view_rows(view) : 1, &b->row_sums));
    RC_TRY(scratch_reals(b, entropy ? rc_view_rows(view) : 1, &b->row_z));
    RC_TRY(add_sweep(b, RC_STATES, &wants, 0, b->at.block_rows, moments));
    if (wants.moments)
        RC_TRY(add_merge_moments(b, RC_STATES, b->at.block_rows, moments, &b->statistics));
    if (!entropy)
        return RATECL_OK;
    /* Without an eps of 0 this gives Z alone, and its set of sums is not used. */
    RC_TRY(add_merge_entropy(b, false, wants.entropy ? 0 : (int64_t)spec->entropy_count));
    for (size_t k = 0; k < spec->entropy_count; ++k) {
        if (spec->epsilons[k] == 0)
            continue;
        const sweep_wants second = { .entropy = 2 };
        RC_TRY(add_sweep(b, RC_STATES, &second, spec->epsilons[k], b->at.block_rows, moments));
        RC_TRY(add_merge_entropy(b, true, (int64_t)k));
    }
    return RATECL_OK;
}

static ratecl_status add_reference(builder *b)
{
    if (!b->spec->uses[RC_REFERENCE])
        return RATECL_OK;
    const rc_view *view = &b->spec->inputs[RC_REFERENCE];
    const int64_t R = rc_view_rows(view);
    const int64_t rows = block_rows_for(b->plan, R, ceil_div(view->shape[2], sweep_tile(&b->plan->tuning)));
    const sweep_wants wants = { .moments = true };
    cl_mem moments;
    RC_TRY(scratch_reals(b, ceil_div(R, rows) * 3 * view->shape[2], &moments));
    RC_TRY(add_sweep(b, RC_REFERENCE, &wants, 0, rows, moments));
    return add_merge_moments(b, RC_REFERENCE, rows, moments, &b->reference_statistics);
}

/* ---- The correlation ---- */

static void correlation_options(const builder *b, int input, char *options, size_t bytes)
{
    const rc_view *view = &b->spec->inputs[input];
    const rc_tuning *t = &b->plan->tuning;
    snprintf(options, bytes,
             "-cl-std=CL1.2 -DPRECISION=%d -DELEMENT=%d -DCONTIGUOUS=%d -DLANES=%d -DVECTOR=%d -DTILE=%d "
             "-DACROSS=%d "
             "-DDOWN=%d -DDEPTH=%d -DPANEL=%d",
             precision_bits(b->spec), (int)view->element, contiguous(view), t->tile_lanes, t->tile_vector,
             t->tile, t->across, t->down, t->depth, t->panel);
}

static ratecl_status add_fold(builder *b)
{
    const rc_view *view = &b->spec->inputs[RC_WEIGHTS];
    const rc_tuning *t = &b->plan->tuning;
    const cl_long N = view->shape[2], padded = b->at.padded;
    char options[320];
    correlation_options(b, RC_WEIGHTS, options, sizeof options);
    rc_cl_step *step;
    RC_TRY(scratch_reals(b, padded * padded, &b->folded));
    RC_TRY(add_step(b, "correlation.cl", options, "fold", t->tile_lanes, &step));
    step->reads_input = true;
    step->pass = (rc_cl_pass){ .kernel = step->pass.kernel,
                               .input = RC_WEIGHTS,
                               .lanes = (size_t)t->tile_lanes,
                               .tiles = ceil_div(padded * padded, (int64_t)t->tile_lanes * t->tile_vector),
                               .units = 1,
                               .unit_rows = N };
    return SET_ARGUMENTS(step->pass.kernel, 5, ARGUMENT(N), ARGUMENT(padded), ARGUMENT(b->folded));
}

static ratecl_status add_correlate(builder *b)
{
    const rc_view *view = &b->spec->inputs[RC_STATES];
    const rc_tuning *t = &b->plan->tuning;
    const cl_long T = view->shape[1], N = view->shape[2], steps = t->chunk_steps, chunks = b->at.chunks,
                  zero = 0;
    const cl_long padded = b->at.padded, first = b->at.batches;
    char options[320];
    correlation_options(b, RC_STATES, options, sizeof options);
    rc_cl_step *step;
    RC_TRY(add_step(b, "correlation.cl", options, "correlate", t->tile_lanes, &step));
    step->reads_input = true;
    step->pass = (rc_cl_pass){ .kernel = step->pass.kernel,
                               .first_unit = 9,
                               .input = RC_STATES,
                               .lanes = (size_t)t->tile_lanes,
                               .tiles = b->at.pairs,
                               .units = view->shape[0] * chunks,
                               .unit_rows = steps,
                               .units_per_batch = chunks };
    return SET_ARGUMENTS(step->pass.kernel, 5, ARGUMENT(T), ARGUMENT(N), ARGUMENT(steps), ARGUMENT(chunks),
                         ARGUMENT(zero), ARGUMENT(padded), ARGUMENT(b->folded), ARGUMENT(first),
                         ARGUMENT(b->sums));
}

static ratecl_status add_correlate_step(builder *b)
{
    const rc_view *view = &b->spec->inputs[RC_STATES];
    const rc_tuning *t = &b->plan->tuning;
    const cl_long T = view->shape[1], N = view->shape[2], R = rc_view_rows(view), zero = 0;
    const cl_long padded = b->at.padded, tiles = padded / t->tile, rows = MERGE_ROWS, first = b->at.steps;
    char options[320];
    correlation_options(b, RC_STATES, options, sizeof options);
    cl_mem step_sums;
    rc_cl_step *step;
    RC_TRY(scratch_reals(b, tiles * R, &step_sums));
    RC_TRY(add_step(b, "correlation.cl", options, "correlate_step", t->tile_lanes, &step));
    step->reads_input = true;
    step->pass = (rc_cl_pass){ .kernel = step->pass.kernel,
                               .first_unit = 8,
                               .input = RC_STATES,
                               .lanes = (size_t)t->tile_lanes,
                               .tiles = tiles,
                               .units = ceil_div(R, t->tile),
                               .unit_rows = t->tile };
    RC_TRY(SET_ARGUMENTS(step->pass.kernel, 5, ARGUMENT(T), ARGUMENT(N), ARGUMENT(R), ARGUMENT(zero),
                         ARGUMENT(padded), ARGUMENT(b->folded), ARGUMENT(step_sums)));
    RC_TRY(add_launch(b, "merge_steps", b->at.groups, &step));
    return SET_ARGUMENTS(step->launch.kernel, 0, ARGUMENT(step_sums), ARGUMENT(tiles), ARGUMENT(R),
                         ARGUMENT(rows), ARGUMENT(first), ARGUMENT(b->sums));
}

static ratecl_status add_correlation(builder *b)
{
    if (!b->spec->uses[RC_WEIGHTS])
        return RATECL_OK;
    RC_TRY(add_fold(b));
    if (b->spec->hebbian_batch)
        RC_TRY(add_correlate(b));
    return b->spec->hebbian_step ? add_correlate_step(b) : RATECL_OK;
}

/* ---- The finish ---- */

/* Where a term's merged sums lie, and what its value is divided by. */
static void pack_sums(const builder *b, const rc_term *term, cl_long *integers, double *scale)
{
    const int64_t *shape = b->spec->inputs[RC_STATES].shape;
    const double B = (double)shape[0], T = (double)shape[1], N = (double)shape[2];
    integers[COUNT] = shape[2];
    integers[PER_ITEM] = 1;
    switch (term->options.criterion) {
    case RATECL_FIRING_RATE:
    case RATECL_POPULATION_KL:
        break;
    case RATECL_FIRING_RATE_DIST:
        *scale = 1 / (N - (double)term->options.ddof);
        break;
    case RATECL_STATE_PREDICTION:
        integers[COUNT] = b->at.blocks * b->at.sweep_tiles;
        integers[FIRST] = (cl_long)term->lag * integers[COUNT];
        *scale = 1 / (B * (T - (double)term->options.tau) * N);
        break;
    case RATECL_ENTROPY:
        integers[COUNT] = b->at.groups;
        integers[FIRST] = b->at.entropies + (cl_long)term->entropy * b->at.groups;
        *scale = 1 / (B * T);
        break;
    case RATECL_HEBBIAN:
        *scale = 1 / (B * T);
        if (term->options.over == RATECL_OVER_STEP) {
            integers[COUNT] = b->at.groups;
            integers[FIRST] = b->at.steps;
        } else {
            integers[COUNT] = shape[0];
            integers[PER_ITEM] = b->at.chunks * b->at.pairs;
            integers[FIRST] = b->at.batches;
        }
        break;
    }
}

static void pack_term(const builder *b, const rc_term *term, cl_long *integers, double *reals)
{
    const ratecl_term *o = &term->options;
    integers[CRITERION] = o->criterion;
    integers[METRIC] = o->metric;
    integers[OVER] = o->over;
    integers[SYMMETRIC] = o->symmetric;
    integers[REDUCTION] = o->reduction;
    integers[LOG_SIGMA] = o->log == RATECL_LOG_SIGMA;
    integers[SKIP] = o->degenerate == RATECL_DEGENERATE_SKIP;
    integers[VALUE] = (cl_long)term->value;
    reals[WEIGHT] = o->weight;
    reals[TARGET] = o->target;
    reals[REG] = o->reg;
    reals[VAR_FLOOR] = o->var_floor;
    pack_sums(b, term, integers, &reals[SCALE]);
}

/* Doubles become reals of the plan's precision, in place. */
static void narrow(const rc_cl_plan *plan, double *reals, size_t count)
{
    if (plan->real_bytes == sizeof(cl_double))
        return;
    for (size_t k = 0; k < count; ++k) {
        const cl_float narrower = (cl_float)reals[k];
        memcpy((char *)reals + k * sizeof narrower, &narrower, sizeof narrower);
    }
}

static ratecl_status pack_terms(builder *b, cl_mem *integer_buffer, cl_mem *real_buffer)
{
    const size_t count = b->spec->term_count;
    cl_long *integers = calloc(count * INTEGERS, sizeof *integers);
    double *reals = calloc(count * REALS, sizeof *reals);
    ratecl_status status =
        integers && reals ? RATECL_OK : rc_fail_memory(count * INTEGERS * sizeof *integers);
    if (status == RATECL_OK) {
        for (size_t k = 0; k < count; ++k)
            pack_term(b, &b->spec->terms[k], integers + k * INTEGERS, reals + k * REALS);
        narrow(b->plan, reals, count * REALS);
        status = scratch(b, (int64_t)count * INTEGERS, sizeof *integers, integers, integer_buffer);
    }
    if (status == RATECL_OK)
        status = scratch(b, (int64_t)count * REALS, b->plan->real_bytes, reals, real_buffer);
    free(integers);
    free(reals);
    return status;
}

static ratecl_status add_finish(builder *b)
{
    rc_cl_plan *plan = b->plan;
    const rc_spec *spec = b->spec;
    cl_mem integers, reals;
    RC_TRY(pack_terms(b, &integers, &reals));
    RC_TRY(scratch_reals(b, (int64_t)spec->value_count + 1, &plan->values));
    RC_TRY(scratch(b, (int64_t)spec->term_count, sizeof(cl_long), NULL, &plan->skipped));

    const cl_int terms = (cl_int)spec->term_count;
    const cl_int has_moments = spec->moments, has_reference = spec->uses[RC_REFERENCE];
    const cl_long value_count = (cl_long)spec->value_count, N = spec->inputs[RC_STATES].shape[2];
    cl_mem statistics = b->statistics ? b->statistics : b->sums;
    cl_mem reference = b->reference_statistics ? b->reference_statistics : statistics;
    rc_cl_step *step;
    RC_TRY(add_launch(b, "finish", 1, &step));
    return SET_ARGUMENTS(step->launch.kernel, 0, ARGUMENT(integers), ARGUMENT(reals), ARGUMENT(terms),
                         ARGUMENT(value_count), ARGUMENT(N), ARGUMENT(has_moments), ARGUMENT(has_reference),
                         ARGUMENT(statistics), ARGUMENT(reference), ARGUMENT(b->sums), ARGUMENT(plan->values),
                         ARGUMENT(plan->skipped));
}

/* ---- The whole ---- */

static sums_layout lay_out(const rc_cl_plan *plan)
{
    const rc_spec *spec = plan->spec;
    const rc_tuning *t = &plan->tuning;
    const int64_t *shape = spec->inputs[RC_STATES].shape, R = rc_view_rows(&spec->inputs[RC_STATES]);
    sums_layout at = { .sweep_tiles = ceil_div(shape[2], sweep_tile(t)) };
    at.block_rows = block_rows_for(plan, R, at.sweep_tiles);
    at.blocks = ceil_div(R, at.block_rows);
    at.groups = ceil_div(R, MERGE_ROWS);
    at.entropies = (int64_t)spec->lag_count * at.blocks * at.sweep_tiles;
    at.batches = at.entropies + ((int64_t)spec->entropy_count + 1) * at.groups;
    at.padded = ceil_div(shape[2], t->tile) * t->tile;
    at.chunks = ceil_div(shape[1], t->chunk_steps);
    at.pairs = at.padded / t->tile * (at.padded / t->tile + 1) / 2;
    at.steps = at.batches + (spec->hebbian_batch ? shape[0] * at.chunks * at.pairs : 0);
    at.count = at.steps + at.groups;
    return at;
}

/* Inputs that are too large to be staged whole come in pieces of so many rows, packed. */
static void choose_staging(rc_cl_plan *plan)
{
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        const rc_view *view = &plan->spec->inputs[k];
        const size_t element = rc_element_bytes(view->element);
        if (k == RC_WEIGHTS || !plan->spec->uses[k] ||
            (uint64_t)view->extent * element <= plan->context->staging_limit)
            continue;
        const uint64_t row = (uint64_t)view->shape[2] * element;
        plan->staging_rows[k] = (int64_t)(plan->context->staging_limit / row);
    }
}

/* A piece holds at least one unit of each pass, with its overlap. */
static void round_staging_up(rc_cl_plan *plan)
{
    for (size_t k = 0; k < plan->step_count; ++k) {
        const rc_cl_pass *pass = &plan->steps[k].pass;
        int64_t *rows = &plan->staging_rows[pass->input];
        if (plan->steps[k].reads_input && *rows > 0 && *rows < pass->unit_rows + pass->overlap)
            *rows = pass->unit_rows + pass->overlap;
    }
}

static ratecl_status build_steps(rc_cl_plan *plan)
{
    builder b = { .plan = plan, .spec = plan->spec, .at = lay_out(plan) };
    RC_TRY(scratch_reals(&b, b.at.count, &b.sums));
    b.row_z = b.row_sums = b.sums; /* until there are some */
    RC_TRY(add_states(&b));
    RC_TRY(add_reference(&b));
    RC_TRY(add_correlation(&b));
    RC_TRY(add_finish(&b));
    round_staging_up(plan);
    return RATECL_OK;
}

static ratecl_status plan_fill(rc_cl_plan *plan, const rc_spec *spec)
{
    plan->spec = spec;
    plan->real_bytes = spec->precision == RATECL_PRECISION_F64 ? sizeof(cl_double) : sizeof(cl_float);
    rc_device_limits limits = plan->context->limits;
    limits.group_lanes = plan->group_lanes;
    RC_TRY(rc_tuning_choose(&limits, spec->precision, &plan->tuning));
    choose_staging(plan);
    plan->host_values = calloc(spec->value_count + 1, plan->real_bytes);
    plan->host_skipped = calloc(spec->term_count, sizeof *plan->host_skipped);
    if (!plan->host_values || !plan->host_skipped)
        return rc_fail_memory((spec->value_count + 1) * plan->real_bytes);
    return build_steps(plan);
}

void rc_cl_plan_release(void *plan_state)
{
    rc_cl_plan *plan = plan_state;
    if (plan->last) {
        clWaitForEvents(1, &plan->last);
        clReleaseEvent(plan->last);
    }
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        if (plan->inputs[k])
            clReleaseMemObject(plan->inputs[k]);
        if (plan->staging[k])
            clReleaseMemObject(plan->staging[k]);
    }
    for (size_t k = 0; k < plan->step_count; ++k)
        clReleaseKernel(plan->steps[k].pass.kernel);
    for (size_t k = 0; k < plan->buffer_count; ++k)
        clReleaseMemObject(plan->buffers[k]);
    free(plan->steps);
    free(plan->buffers);
    free(plan->host_values);
    free(plan->host_skipped);
    free(plan);
}

/* With groups of at most *lanes; where that was too many, *lanes is how many the kernels allow. */
static ratecl_status try_plan(rc_cl_context *context, const rc_spec *spec, size_t *lanes, rc_cl_plan **made)
{
    rc_cl_plan *plan = calloc(1, sizeof *plan);
    if (!plan)
        return rc_fail_memory(sizeof *plan);
    plan->context = context;
    plan->group_lanes = *lanes;
    const ratecl_status status = plan_fill(plan, spec);
    *lanes = plan->group_lanes;
    if (status == RATECL_OK)
        *made = plan;
    else
        rc_cl_plan_release(plan);
    return status;
}

ratecl_status rc_cl_plan_create(void *context_state, const rc_spec *spec, void **plan_state)
{
    rc_cl_context *context = context_state;
    rc_cl_plan *plan = NULL;
    size_t tried, lanes = context->limits.group_lanes;
    ratecl_status status;
    do {
        tried = lanes;
        status = try_plan(context, spec, &lanes, &plan);
    } while (status == RATECL_ERROR_UNSUPPORTED && lanes > 0 && lanes < tried);
    *plan_state = plan;
    return status;
}

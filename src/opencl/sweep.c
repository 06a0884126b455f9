/* SPDX-License-Identifier: Apache-2.0 */
/* The states' sums: sweep, merge_moments, merge_entropy. */
#include <math.h>
#include <stdio.h>

#include "builder.h"

typedef struct sweep_wants {
    bool moments, sums;
    int entropy; /* as in sweep.cl */
    size_t lags;
    bool moments_alone; /* of what the program can give */
} sweep_wants;

int64_t rc_cl_sweep_tile(const rc_tuning *t)
{
    return (int64_t)t->sweep_lanes * t->sweep_vector * t->sweep_vectors;
}

/* Rows of a block: enough blocks to occupy the device, and few enough that their sums are a small part of
 * what is read. It depends on shape and device alone, so that the bits do too. */
int64_t rc_cl_block_rows(const rc_cl_plan *plan, const rc_view *view)
{
    const int64_t R = rc_view_rows(view),
                  tiles = rc_ceil_div(view->shape[2], rc_cl_sweep_tile(&plan->tuning));
    const int64_t most = plan->tuning.sweep_rows, units = plan->context->limits.compute_units;
    const int64_t wanted =
        rc_ceil_div(R * tiles, units * (plan->context->limits.kind == RATECL_DEVICE_CPU ? 8 : 32));
    const int64_t least = most < 64 ? most : 64;
    return wanted < least ? least : wanted > most ? most : wanted;
}

static ratecl_status add_sweep(rc_cl_builder *b, int input, const sweep_wants *wants, double eps,
                               int64_t block_rows, cl_mem moments)
{
    const rc_cl_plan *plan = b->plan;
    const rc_spec *spec = b->spec;
    const rc_view *view = &spec->inputs[input];
    const rc_tuning *t = &plan->tuning;
    const cl_long T = view->shape[1], N = view->shape[2], R = rc_view_rows(view), rows = block_rows;
    const cl_long blocks = rc_ceil_div(R, rows), zero = 0;
    char options[400];
    snprintf(options, sizeof options,
             "-DPRECISION=%d -DELEMENT=%d -DCONTIGUOUS=%d -DALONG=%d -DLANES=%d -DVECTOR=%d "
             "-DVECTORS=%d "
             "-DSTEP=%d -DMOMENTS=%d -DSUMS=%d -DENTROPY=%d -DLAGS=%zu -DGRADIENT=%d -DFETCH=%d",
             rc_precision_bits(spec), (int)view->element, rc_is_contiguous(view) && N > 1, rc_is_along(view),
             t->sweep_lanes, t->sweep_vector, t->sweep_vectors,
             rc_is_along(view) ? t->sweep_vector : t->sweep_step, wants->moments, wants->sums, wants->entropy,
             wants->lags, wants->entropy == 2 && rc_wants_gradients(spec),
             plan->context->limits.kind == RATECL_DEVICE_CPU);
    rc_cl_step *step;
    RC_TRY(rc_cl_add_step(b, "sweep.cl", options, "sweep", t->sweep_lanes, &step));
    step->first_unit = 10;
    step->input = input;
    step->groups = rc_ceil_div(N, rc_cl_sweep_tile(t));
    step->units = blocks;
    step->unit_rows = block_rows;
    step->after = wants->lags && !wants->moments_alone ? rc_longest_lag(spec) : 0;
    const rc_cl_real epsilon = rc_cl_real_of(eps);
    const cl_int moments_alone = wants->moments_alone;
    return SET_ARGUMENTS(step->kernel, 5, ARGUMENT(T), ARGUMENT(N), ARGUMENT(R), ARGUMENT(rows),
                         ARGUMENT(blocks), ARGUMENT(zero), ARGUMENT(b->taus), ARGUMENT(b->row_z),
                         rc_cl_real_argument(plan, &epsilon), ARGUMENT(moments), ARGUMENT(b->row_sums),
                         ARGUMENT(b->exponents), ARGUMENT(b->sums), ARGUMENT(moments_alone));
}

/* Reals that the blocks' moments take: whole vectors of neurons. */
static int64_t moments_count(const rc_cl_builder *b, const rc_view *view, int64_t block_rows)
{
    const int64_t vector = b->plan->tuning.sweep_vector;
    return rc_ceil_div(rc_view_rows(view), block_rows) * 3 * rc_ceil_div(view->shape[2], vector) * vector;
}

static ratecl_status add_merge_moments(rc_cl_builder *b, int input, int64_t block_rows, cl_mem moments)
{
    const rc_view *view = &b->spec->inputs[input];
    const cl_long N = view->shape[2], R = rc_view_rows(view), rows = block_rows,
                  blocks = rc_ceil_div(R, rows);
    rc_cl_step *step;
    RC_TRY(rc_cl_scratch_reals(b, 3 * N, &b->statistics[input]));
    RC_TRY(rc_cl_add_launch(
        b, "merge_moments",
        rc_ceil_div(N, (int64_t)b->plan->tuning.merge_lanes * b->plan->tuning.sweep_vector), &step));
    return SET_ARGUMENTS(step->kernel, 0, ARGUMENT(moments), ARGUMENT(N), ARGUMENT(R), ARGUMENT(rows),
                         ARGUMENT(blocks), ARGUMENT(b->statistics[input]));
}

/* Of the set of sums that eps has; an eps of 0 stands for a Z alone where no term has it. */
static ratecl_status add_merge_entropy(rc_cl_builder *b, double eps, int64_t set)
{
    const rc_view *view = &b->spec->inputs[RC_STATES];
    const cl_long R = rc_view_rows(view), tiles = b->at.sweep_tiles, rows = b->at.block_rows;
    const cl_long first = b->at.entropies + set * b->at.blocks, first_factor = 2 * set * R;
    const cl_int direct = eps > 0;
    const rc_cl_real log_N = rc_cl_real_of(log((double)view->shape[2])), epsilon = rc_cl_real_of(eps);
    rc_cl_step *step;
    RC_TRY(rc_cl_add_launch(b, "merge_entropy", b->at.blocks, &step));
    return SET_ARGUMENTS(step->kernel, 0, ARGUMENT(b->row_sums), ARGUMENT(b->exponents), ARGUMENT(tiles),
                         ARGUMENT(R), ARGUMENT(rows), rc_cl_real_argument(b->plan, &log_N), ARGUMENT(direct),
                         rc_cl_real_argument(b->plan, &epsilon), ARGUMENT(first), ARGUMENT(b->row_z),
                         ARGUMENT(b->sums), ARGUMENT(first_factor), ARGUMENT(b->row_factors),
                         ARGUMENT(b->block_exponents));
}

static sweep_wants states_wants(const rc_spec *spec)
{
    return (sweep_wants){ .moments = spec->moments,
                          .sums = spec->entropy_count > 0,
                          .entropy = rc_sweep_has_entropy(spec),
                          .lags = spec->lag_count };
}

/* The states' one sweep, with all it can give; then one more for each eps > 0, which needs Z beforehand. */
static ratecl_status add_states(rc_cl_builder *b)
{
    const rc_spec *spec = b->spec;
    const rc_view *view = &spec->inputs[RC_STATES];
    const bool entropy = spec->entropy_count > 0;
    const sweep_wants wants = states_wants(spec);
    if (!wants.moments && !entropy && !wants.lags)
        return RATECL_OK;
    cl_mem moments;
    RC_TRY(rc_cl_scratch_reals(b, wants.moments ? moments_count(b, view, b->at.block_rows) : 1, &moments));
    RC_TRY(rc_cl_scratch_reals(b, entropy ? b->at.sweep_tiles * 2 * rc_view_rows(view) : 1, &b->row_sums));
    RC_TRY(rc_cl_scratch_reals(b, entropy ? rc_view_rows(view) : 1, &b->row_z));
    RC_TRY(rc_cl_scratch(b, entropy ? b->at.blocks * b->at.sweep_tiles : 1, sizeof(cl_int), NULL,
                         &b->exponents));
    RC_TRY(rc_cl_scratch(b, (int64_t)spec->lag_count, sizeof(cl_long), wants.lags ? spec->lags : NULL,
                         &b->taus));
    RC_TRY(add_sweep(b, RC_STATES, &wants, 0, b->at.block_rows, moments));
    if (wants.moments)
        RC_TRY(add_merge_moments(b, RC_STATES, b->at.block_rows, moments));
    if (!entropy)
        return RATECL_OK;
    if (rc_wants_gradients(spec)) {
        RC_TRY(rc_cl_scratch_reals(b, ((int64_t)spec->entropy_count + 1) * 2 * rc_view_rows(view),
                                   &b->row_factors));
        RC_TRY(rc_cl_scratch(b, b->at.blocks, sizeof(cl_int), NULL, &b->block_exponents));
    }
    RC_TRY(add_merge_entropy(b, 0, wants.entropy ? 0 : (int64_t)spec->entropy_count));
    for (size_t k = 0; k < spec->entropy_count; ++k) {
        if (spec->epsilons[k] == 0)
            continue;
        const sweep_wants second = { .entropy = 2 };
        RC_TRY(add_sweep(b, RC_STATES, &second, spec->epsilons[k], b->at.block_rows, moments));
        RC_TRY(add_merge_entropy(b, spec->epsilons[k], (int64_t)k));
    }
    return RATECL_OK;
}

/* Whether one program reads both well. */
static bool are_alike(const rc_view *a, const rc_view *b)
{
    return a->element == b->element && rc_is_contiguous(a) && rc_is_contiguous(b);
}

static ratecl_status add_reference(rc_cl_builder *b)
{
    if (!b->spec->uses[RC_REFERENCE])
        return RATECL_OK;
    const rc_view *view = &b->spec->inputs[RC_REFERENCE];
    const int64_t rows = rc_cl_block_rows(b->plan, view);
    sweep_wants wants = { .moments = true };
    if (are_alike(view, &b->spec->inputs[RC_STATES]))
        wants = states_wants(b->spec);
    wants.moments_alone = true;
    cl_mem moments;
    RC_TRY(rc_cl_scratch_reals(b, moments_count(b, view, rows), &moments));
    RC_TRY(add_sweep(b, RC_REFERENCE, &wants, 0, rows, moments));
    return add_merge_moments(b, RC_REFERENCE, rows, moments);
}

ratecl_status rc_cl_add_sweeps(rc_cl_builder *b)
{
    RC_TRY(add_reference(b)); /* first: the gradient begins where the states' sweep ends */
    return add_states(b);
}

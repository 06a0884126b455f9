/* SPDX-License-Identifier: Apache-2.0 */
/* The Hebbian sums: fold, correlate, correlate_step, merge_steps. */
#include <stdio.h>

#include "builder.h"

static void correlation_options(const rc_cl_builder *b, int input, char *options, size_t bytes)
{
    const rc_view *view = &b->spec->inputs[input];
    const rc_tuning *t = &b->plan->tuning;
    snprintf(options, bytes,
             "-cl-std=CL1.2 -DPRECISION=%d -DELEMENT=%d -DCONTIGUOUS=%d -DLANES=%d -DVECTOR=%d -DTILE=%d "
             "-DACROSS=%d "
             "-DDOWN=%d -DDEPTH=%d -DPANEL=%d",
             rc_precision_bits(b->spec), (int)view->element, rc_is_contiguous(view), t->tile_lanes,
             t->tile_vector, t->tile, t->across, t->down, t->depth, t->panel);
}

static ratecl_status add_fold(rc_cl_builder *b)
{
    const rc_view *view = &b->spec->inputs[RC_WEIGHTS];
    const rc_tuning *t = &b->plan->tuning;
    const cl_long N = view->shape[2], padded = b->at.padded;
    char options[320];
    correlation_options(b, RC_WEIGHTS, options, sizeof options);
    rc_cl_step *step;
    RC_TRY(rc_cl_scratch_reals(b, padded * padded, &b->folded));
    RC_TRY(rc_cl_add_step(b, "correlation.cl", options, "fold", t->tile_lanes, &step));
    step->reads_input = true;
    step->input = RC_WEIGHTS;
    step->groups = rc_ceil_div(padded * padded, (int64_t)t->tile_lanes * t->tile_vector);
    step->units = 1;
    step->unit_rows = N;
    return SET_ARGUMENTS(step->kernel, 5, ARGUMENT(N), ARGUMENT(padded), ARGUMENT(b->folded));
}

static ratecl_status add_correlate(rc_cl_builder *b)
{
    const rc_view *view = &b->spec->inputs[RC_STATES];
    const rc_tuning *t = &b->plan->tuning;
    const cl_long T = view->shape[1], N = view->shape[2], steps = t->chunk_steps, chunks = b->at.chunks,
                  zero = 0;
    const cl_long padded = b->at.padded, first = b->at.batches;
    char options[320];
    correlation_options(b, RC_STATES, options, sizeof options);
    rc_cl_step *step;
    RC_TRY(rc_cl_add_step(b, "correlation.cl", options, "correlate", t->tile_lanes, &step));
    step->reads_input = true;
    step->first_unit = 9;
    step->input = RC_STATES;
    step->groups = b->at.pairs;
    step->units = view->shape[0] * chunks;
    step->unit_rows = steps;
    step->units_per_batch = chunks;
    return SET_ARGUMENTS(step->kernel, 5, ARGUMENT(T), ARGUMENT(N), ARGUMENT(steps), ARGUMENT(chunks),
                         ARGUMENT(zero), ARGUMENT(padded), ARGUMENT(b->folded), ARGUMENT(first),
                         ARGUMENT(b->sums));
}

static ratecl_status add_correlate_step(rc_cl_builder *b)
{
    const rc_view *view = &b->spec->inputs[RC_STATES];
    const rc_tuning *t = &b->plan->tuning;
    const cl_long T = view->shape[1], N = view->shape[2], R = rc_view_rows(view), zero = 0;
    const cl_long padded = b->at.padded, tiles = padded / t->tile, rows = MERGE_ROWS, first = b->at.steps;
    char options[320];
    correlation_options(b, RC_STATES, options, sizeof options);
    cl_mem step_sums;
    rc_cl_step *step;
    RC_TRY(rc_cl_scratch_reals(b, tiles * R, &step_sums));
    RC_TRY(rc_cl_add_step(b, "correlation.cl", options, "correlate_step", t->tile_lanes, &step));
    step->reads_input = true;
    step->first_unit = 8;
    step->input = RC_STATES;
    step->groups = tiles;
    step->units = rc_ceil_div(R, t->tile);
    step->unit_rows = t->tile;
    RC_TRY(SET_ARGUMENTS(step->kernel, 5, ARGUMENT(T), ARGUMENT(N), ARGUMENT(R), ARGUMENT(zero),
                         ARGUMENT(padded), ARGUMENT(b->folded), ARGUMENT(step_sums)));
    RC_TRY(rc_cl_add_launch(b, "merge_steps", b->at.groups, &step));
    return SET_ARGUMENTS(step->kernel, 0, ARGUMENT(step_sums), ARGUMENT(tiles), ARGUMENT(R), ARGUMENT(rows),
                         ARGUMENT(first), ARGUMENT(b->sums));
}

ratecl_status rc_cl_add_correlation(rc_cl_builder *b)
{
    if (!b->spec->uses[RC_WEIGHTS])
        return RATECL_OK;
    RC_TRY(add_fold(b));
    if (b->spec->hebbian_batch)
        RC_TRY(add_correlate(b));
    return b->spec->hebbian_step ? add_correlate_step(b) : RATECL_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The Hebbian sums: fold, correlate, correlate_step; and the gradient to the weights: correlate_weights,
 * gradient_weights. */
#include <stdio.h>

#include "builder.h"

enum { OPTION_BYTES = 320 };

/* The programs of correlation.cl, as its GRADIENT numbers them. */
typedef enum variant { OF_VALUES, OF_PRODUCT, OF_WEIGHTS } variant;

static variant of_values(const rc_spec *spec)
{
    return spec->gradients[RC_STATES].wanted ? OF_PRODUCT : OF_VALUES;
}

static void correlation_options(const rc_cl_builder *b, int input, variant which, char options[OPTION_BYTES])
{
    const rc_view *view = &b->spec->inputs[input];
    const rc_gradient *gradient = &b->spec->gradients[RC_WEIGHTS];
    const rc_tuning *t = &b->plan->tuning;
    const int used =
        snprintf(options, OPTION_BYTES,
                 "-DPRECISION=%d -DELEMENT=%d -DCONTIGUOUS=%d -DLANES=%d -DVECTOR=%d -DTILE=%d "
                 "-DACROSS=%d -DDOWN=%d -DDEPTH=%d -DPANEL=%d -DGRADIENT=%d -DFETCH=%d",
                 rc_precision_bits(b->spec), (int)view->element, rc_is_contiguous(view), t->tile_lanes,
                 t->tile_vector, t->tile, t->across, t->down, t->depth, t->panel, (int)which,
                 b->plan->context->limits.kind == RATECL_DEVICE_CPU);
    if (which == OF_WEIGHTS)
        snprintf(options + used, (size_t)(OPTION_BYTES - used), " -DSIGNS=%d -DOUTPUT=%d -DACCUMULATE=%d",
                 rc_hebbian_signs(b->spec), gradient->view.element == RATECL_F64, gradient->accumulate);
}

static ratecl_status add_fold(rc_cl_builder *b)
{
    const rc_view *view = &b->spec->inputs[RC_WEIGHTS];
    const rc_tuning *t = &b->plan->tuning;
    const cl_long N = view->shape[2], padded = b->at.padded;
    char options[OPTION_BYTES];
    correlation_options(b, RC_WEIGHTS, of_values(b->spec), options);
    rc_cl_step *step;
    RC_TRY(rc_cl_scratch_reals(b, padded * padded, &b->folded));
    RC_TRY(rc_cl_add_step(b, "correlation.cl", options, "fold", t->tile_lanes, &step));
    step->input = RC_WEIGHTS;
    step->groups = padded / t->tile_vector;
    step->units = 1;
    step->unit_rows = N;
    return SET_ARGUMENTS(step->kernel, 5, ARGUMENT(N), ARGUMENT(padded), ARGUMENT(b->folded));
}

static ratecl_status add_correlate(rc_cl_builder *b)
{
    const rc_view *view = &b->spec->inputs[RC_STATES];
    const rc_tuning *t = &b->plan->tuning;
    const cl_long T = view->shape[1], N = view->shape[2], steps = t->chunk_steps, chunks = b->at.chunks;
    const cl_long padded = b->at.padded, zero = 0;
    char options[OPTION_BYTES];
    correlation_options(b, RC_STATES, OF_VALUES, options);
    cl_mem parts;
    rc_cl_step *step;
    RC_TRY(rc_cl_scratch_reals(b, view->shape[0] * chunks * b->at.pairs, &parts));
    RC_TRY(rc_cl_add_step(b, "correlation.cl", options, "correlate", t->tile_lanes, &step));
    step->first_unit = 9;
    step->input = RC_STATES;
    step->groups = b->at.pairs;
    step->units = view->shape[0] * chunks;
    step->unit_rows = steps;
    step->units_per_batch = chunks;
    RC_TRY(SET_ARGUMENTS(step->kernel, 5, ARGUMENT(T), ARGUMENT(N), ARGUMENT(steps), ARGUMENT(chunks),
                         ARGUMENT(zero), ARGUMENT(padded), ARGUMENT(b->folded), ARGUMENT(parts)));
    b->batch_parts.parts = parts;
    b->batch_parts.inner = chunks * b->at.pairs;
    b->batch_parts.outers = 1;
    return RATECL_OK;
}

/* The energies of rows, and with a gradient to the states their product. */
static ratecl_status add_correlate_step(rc_cl_builder *b)
{
    const rc_view *view = &b->spec->inputs[RC_STATES];
    const rc_tuning *t = &b->plan->tuning;
    const cl_long T = view->shape[1], N = view->shape[2], R = rc_view_rows(view), zero = 0;
    const cl_long padded = b->at.padded, tiles = padded / t->tile;
    char options[OPTION_BYTES];
    correlation_options(b, RC_STATES, of_values(b->spec), options);
    cl_mem step_sums;
    rc_cl_step *step;
    RC_TRY(rc_cl_scratch_reals(b, tiles * R, &step_sums));
    if (of_values(b->spec) == OF_PRODUCT)
        RC_TRY(rc_cl_scratch_reals(b, R * N, &b->product));
    RC_TRY(rc_cl_add_step(b, "correlation.cl", options, "correlate_step", t->tile_lanes, &step));
    step->first_unit = 8;
    step->input = RC_STATES;
    step->groups = tiles;
    step->units = rc_ceil_div(R, t->tile);
    step->unit_rows = t->tile;
    b->step_sums = step_sums;
    b->step_tiles = tiles;
    return SET_ARGUMENTS(step->kernel, 5, ARGUMENT(T), ARGUMENT(N), ARGUMENT(R), ARGUMENT(zero), ARGUMENT(padded),
                         ARGUMENT(b->folded), ARGUMENT(step_sums), ARGUMENT(b->product));
}

ratecl_status rc_cl_add_correlation(rc_cl_builder *b)
{
    const rc_spec *spec = b->spec;
    if (!spec->uses[RC_WEIGHTS])
        return RATECL_OK;
    RC_TRY(add_fold(b));
    const bool product = of_values(spec) == OF_PRODUCT;
    if (spec->hebbian_batch && !product)
        RC_TRY(add_correlate(b));
    if (spec->hebbian_step || product)
        RC_TRY(add_correlate_step(b));
    if (spec->hebbian_batch && product) {
        b->batch_parts.parts = b->step_sums;
        b->batch_parts.inner = spec->inputs[RC_STATES].shape[1];
        b->batch_parts.outers = b->step_tiles;
        b->batch_parts.outer_stride = rc_view_rows(&spec->inputs[RC_STATES]);
    }
    return RATECL_OK;
}

/* ---- The gradient to the weights ---- */

/* Triangles that are added up side by side: enough to occupy the device, which depends on shape and device
 * alone. */
static int64_t slots_of(const rc_cl_builder *b, int64_t units)
{
    const int64_t wanted = rc_ceil_div((int64_t)b->plan->context->limits.compute_units * 8, b->at.pairs);
    return wanted < units ? wanted : units;
}

static ratecl_status add_correlate_weights(rc_cl_builder *b, int64_t slots, int64_t units, cl_mem triangles)
{
    const rc_view *view = &b->spec->inputs[RC_STATES];
    const rc_tuning *t = &b->plan->tuning;
    const cl_long T = view->shape[1], N = view->shape[2], R = rc_view_rows(view), rows = t->chunk_steps;
    const cl_long slot_count = slots, zero = 0, factor = b->at.factors - 2;
    char options[OPTION_BYTES];
    correlation_options(b, RC_STATES, OF_WEIGHTS, options);
    rc_cl_step *step;
    RC_TRY(rc_cl_add_step(b, "correlation.cl", options, "correlate_weights", t->tile_lanes, &step));
    step->first_unit = 10;
    step->input = RC_STATES;
    step->groups = b->at.pairs;
    step->units = units;
    step->unit_rows = rows;
    step->most_units = slots;
    return SET_ARGUMENTS(step->kernel, 5, ARGUMENT(T), ARGUMENT(N), ARGUMENT(R), ARGUMENT(rows),
                         ARGUMENT(slot_count), ARGUMENT(zero), ARGUMENT(factor), ARGUMENT(b->factors),
                         ARGUMENT(b->batch_energies), ARGUMENT(b->row_energies),
                         ARGUMENT(triangles));
}

ratecl_status rc_cl_add_weights_gradient(rc_cl_builder *b)
{
    const rc_tuning *t = &b->plan->tuning;
    const int64_t units = rc_ceil_div(rc_view_rows(&b->spec->inputs[RC_STATES]), t->chunk_steps);
    const cl_long N = b->spec->inputs[RC_WEIGHTS].shape[2], slots = slots_of(b, units);
    cl_mem triangles;
    RC_TRY(rc_cl_scratch_reals(b, slots * b->at.pairs * 2 * t->tile * t->tile, &triangles));
    RC_TRY(add_correlate_weights(b, slots, units, triangles));

    char options[OPTION_BYTES];
    correlation_options(b, RC_STATES, OF_WEIGHTS, options);
    rc_cl_step *step;
    RC_TRY(rc_cl_add_step(b, "correlation.cl", options, "gradient_weights", t->tile_lanes, &step));
    step->gradient = RC_WEIGHTS;
    const int64_t blocks = rc_ceil_div(N, t->tile_vector);
    step->groups = rc_ceil_div(blocks * blocks, t->tile_lanes);
    step->units = 1;
    step->unit_rows = N;
    return SET_ARGUMENTS(step->kernel, 5, ARGUMENT(N), ARGUMENT(slots), ARGUMENT(triangles));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The Hebbian sums: fold, correlate, correlate_step; and the gradient to the weights: correlate_weights,
 * gradient_weights. Both families of kernels have these, with the same arguments but for those noted here. */
#include <stdio.h>
#include <string.h>

#include "builder.h"

enum { OPTION_BYTES = 400 };

/* The programs of correlation.cl. */
typedef enum variant {
    OF_BATCHES, /* correlate */
    OF_STEPS,   /* correlate_step without the product, */
    OF_PRODUCT, /* and with it */
    OF_WEIGHTS
} variant;

static bool wants_product(const rc_spec *spec)
{
    return spec->gradients[RC_STATES].wanted;
}

/* ---- The geometry of GPU sets ---- */

/* Sums of the micro-kernel in a work-item: MR x NR. */
enum { MAX_SUMS = 64 };
static int32_t sums_of(const rc_tuning *t)
{
    return t->tile * t->tile / t->tile_lanes;
}

int64_t rc_cl_tile_pairs(int64_t N, int32_t tile)
{
    const int64_t tiles = rc_ceil_div(N, tile);
    return tiles * (tiles + 1) / 2;
}

/* The time of a product with such tiles, in multiply-adds of the set's own tile. The operands of a smaller
 * micro-kernel are loaded more often, and so are those of a smaller tile, by which correlate_step loses 6 %.
 * correlate gains 20 %: several small work-groups at once wait for different barriers. Both are predictions
 * for an H200 at N = 1024. */
static double cost_of(const rc_tuning *t, const rc_tuning *set, const rc_spec *spec)
{
    const double area =
        (double)rc_cl_tile_pairs(spec->inputs[RC_STATES].shape[2], t->tile) * t->tile * t->tile;
    const double loads = t->tile == set->tile || sums_of(set) < MAX_SUMS ? 1
                         : wants_product(spec)                           ? 1.1
                                                                         : 0.9;
    return area * (sums_of(t) == MAX_SUMS ? loads : sums_of(t) == MAX_SUMS / 2 ? 1.4 : 2);
}

/* A quarter of the work-items for half the tile, unless that leaves less than a group of 64. */
static rc_tuning half_tile(const rc_tuning *t)
{
    rc_tuning half = *t;
    half.tile /= 2;
    half.tile_lanes = t->tile_lanes / 4;
    if (half.tile_lanes < 64)
        half.tile_lanes = t->tile_lanes < 64 ? t->tile_lanes : 64;
    while (half.tile_lanes * 16 > half.tile * half.tile)
        half.tile_lanes /= 2;
    while (half.depth > half.tile)
        half.depth /= 2;
    while (half.depth * half.tile < 4 * half.tile_lanes)
        half.depth *= 2;
    /* One vector of each operand for a work-item: with more, f64 spills on Intel. */
    while (half.tile <= 16 && half.depth * half.tile > 4 * half.tile_lanes)
        half.depth /= 2;
    return half;
}

/* Enough work-groups for any GPU: several for each of its multiprocessors. */
enum { ENOUGH_GROUPS = 1024, MIN_CHUNK_STEPS = 32 };

void rc_cl_fit_products(rc_tuning *t, const rc_spec *spec)
{
    if (!spec->uses[RC_WEIGHTS] || rc_is_cpu_family(t))
        return;
    const int64_t *shape = spec->inputs[RC_STATES].shape;
    const rc_tuning set = *t;
    for (rc_tuning half = half_tile(t); t->tile >= 32 && cost_of(&half, &set, spec) < cost_of(t, &set, spec);
         half = half_tile(t))
        *t = half;
    const int64_t groups = shape[0] * rc_cl_tile_pairs(shape[2], t->tile);
    while (t->chunk_steps > MIN_CHUNK_STEPS && groups * rc_ceil_div(shape[1], t->chunk_steps) < ENOUGH_GROUPS)
        t->chunk_steps /= 2;
}

/* ---- Options ---- */

static void cpu_options(const rc_cl_builder *b, int input, variant which, char options[OPTION_BYTES])
{
    const rc_view *view = &b->spec->inputs[input];
    const rc_tuning *t = &b->plan->tuning;
    snprintf(options, OPTION_BYTES,
             "-DPRECISION=%d -DELEMENT=%d -DCONTIGUOUS=%d -DLANES=%d -DVECTOR=%d -DTILE=%d "
             "-DACROSS=%d -DDOWN=%d -DDEPTH=%d -DPANEL=%d -DGRADIENT=%d -DFETCH=%d",
             rc_precision_bits(b->spec), (int)view->element, rc_is_contiguous(view), t->tile_lanes,
             t->tile_vector, t->tile, t->across, t->down, t->depth, t->panel,
             which == OF_BATCHES ? 0 : (int)which - 1, b->plan->context->limits.kind == RATECL_DEVICE_CPU);
}

/* Steps of the inner sum of a product, and how many of these plain sums of runs may add up: for so many equal
 * numbers they are right within 9e-7. */
enum { MAX_PLAIN_STEPS = 1024 };
static int64_t sum_steps(const rc_spec *spec, const rc_tuning *t, variant which)
{
    return which == OF_BATCHES ? t->chunk_steps : spec->inputs[RC_STATES].shape[2];
}

/* The states' layout does not count for fold, but the same options are the same program. */
static void gpu_options(const rc_cl_builder *b, int input, variant which, char options[OPTION_BYTES])
{
    const rc_view *view = &b->spec->inputs[input], *states = &b->spec->inputs[RC_STATES];
    const rc_tuning *t = &b->plan->tuning;
    const int32_t sums = sums_of(t);
    snprintf(
        options, OPTION_BYTES,
        "-DPRECISION=%d -DELEMENT=%d -DALIGNED=%d -DALONG=%d -DLANES=%d -DVECTOR=4 -DTILE=%d -DMR=%d -DNR=%d "
        "-DSQUARE_LANES=%d -DDEPTH=%d -DPASS=%d -DCARRY=%d",
        rc_precision_bits(b->spec), (int)view->element, rc_cl_is_aligned(states, 4), rc_is_along(states),
        t->tile_lanes, t->tile, sums >= 32 ? 8 : 4, sums >= 64 ? 8 : 4, t->merge_lanes, t->depth, (int)which,
        sum_steps(b->spec, t, which) > MAX_PLAIN_STEPS);
}

static void correlation_options(const rc_cl_builder *b, int input, variant which, char options[OPTION_BYTES])
{
    const rc_gradient *gradient = &b->spec->gradients[RC_WEIGHTS];
    (rc_is_cpu_family(&b->plan->tuning) ? cpu_options : gpu_options)(b, input, which, options);
    const size_t used = strlen(options);
    if (which == OF_WEIGHTS)
        snprintf(options + used, OPTION_BYTES - used, " -DSIGNS=%d -DOUTPUT=%d -DACCUMULATE=%d",
                 rc_hebbian_signs(b->spec), gradient->view.element == RATECL_F64, gradient->accumulate);
}

/* ---- The passes ---- */

/* Pairs of the squares, which are tiles or parts of them, that fold and gradient_weights of GPU sets turn
 * about the diagonal. */
static int64_t square_pairs(const rc_tuning *t, int64_t N)
{
    return rc_cl_tile_pairs(N, t->tile < 32 ? t->tile : 32);
}

static ratecl_status add_fold(rc_cl_builder *b)
{
    const rc_spec *spec = b->spec;
    const rc_tuning *t = &b->plan->tuning;
    const cl_long N = spec->inputs[RC_WEIGHTS].shape[2], padded = b->at.padded;
    const variant which = wants_product(spec) ? OF_PRODUCT : spec->hebbian_batch ? OF_BATCHES : OF_STEPS;
    char options[OPTION_BYTES];
    correlation_options(b, RC_WEIGHTS, which, options);
    rc_cl_step *step;
    RC_TRY(rc_cl_scratch_reals(b, padded * padded, &b->folded));
    RC_TRY(rc_cl_add_step(b, "correlation.cl", options, "fold", t->merge_lanes, &step));
    step->input = RC_WEIGHTS;
    step->groups = rc_is_cpu_family(t) ? padded / t->tile_vector : square_pairs(t, padded);
    step->units = 1;
    step->unit_rows = N;
    return SET_ARGUMENTS(step->kernel, 5, ARGUMENT(N), ARGUMENT(padded), ARGUMENT(b->folded));
}

/* The energies of batches: parts (B, chunks * pairs). */
static ratecl_status add_correlate(rc_cl_builder *b)
{
    const rc_view *view = &b->spec->inputs[RC_STATES];
    const rc_tuning *t = &b->plan->tuning;
    const cl_long T = view->shape[1], N = view->shape[2], steps = t->chunk_steps, chunks = b->at.chunks;
    const cl_long padded = b->at.padded, zero = 0;
    char options[OPTION_BYTES];
    correlation_options(b, RC_STATES, OF_BATCHES, options);
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
    b->batch_parts.parts = parts;
    b->batch_parts.inner = chunks * b->at.pairs;
    b->batch_parts.outers = 1;
    return SET_ARGUMENTS(step->kernel, 5, ARGUMENT(T), ARGUMENT(N), ARGUMENT(steps), ARGUMENT(chunks),
                         ARGUMENT(zero), ARGUMENT(padded), ARGUMENT(b->folded), ARGUMENT(parts));
}

/* The energies of rows, step_sums (tiles, R), and with a gradient to the states their product. */
static ratecl_status add_correlate_step(rc_cl_builder *b)
{
    const rc_view *view = &b->spec->inputs[RC_STATES];
    const rc_tuning *t = &b->plan->tuning;
    const cl_long T = view->shape[1], N = view->shape[2], R = rc_view_rows(view), zero = 0;
    const cl_long padded = b->at.padded;
    const bool product = wants_product(b->spec);
    char options[OPTION_BYTES];
    correlation_options(b, RC_STATES, product ? OF_PRODUCT : OF_STEPS, options);
    rc_cl_step *step;
    b->step_tiles = padded / t->tile;
    RC_TRY(rc_cl_scratch_reals(b, b->step_tiles * R, &b->step_sums));
    if (product)
        RC_TRY(rc_cl_scratch_reals(b, R * N, &b->product));
    if (product && b->spec->hebbian_batch) {
        b->batch_parts.parts = b->step_sums;
        b->batch_parts.inner = T;
        b->batch_parts.outers = b->step_tiles;
        b->batch_parts.outer_stride = R;
    }
    RC_TRY(rc_cl_add_step(b, "correlation.cl", options, "correlate_step", t->tile_lanes, &step));
    step->first_unit = 8;
    step->input = RC_STATES;
    step->groups = b->step_tiles;
    step->units = rc_ceil_div(R, t->tile);
    step->unit_rows = t->tile;
    return SET_ARGUMENTS(step->kernel, 5, ARGUMENT(T), ARGUMENT(N), ARGUMENT(R), ARGUMENT(zero),
                         ARGUMENT(padded), ARGUMENT(b->folded), ARGUMENT(b->step_sums), ARGUMENT(b->product));
}

ratecl_status rc_cl_add_correlation(rc_cl_builder *b)
{
    const rc_spec *spec = b->spec;
    if (!spec->uses[RC_WEIGHTS])
        return RATECL_OK;
    RC_TRY(add_fold(b));
    if (spec->hebbian_batch && !wants_product(spec))
        RC_TRY(add_correlate(b));
    return spec->hebbian_step || wants_product(spec) ? add_correlate_step(b) : RATECL_OK;
}

/* ---- The gradient to the weights ---- */

/* How its rows are shared out. A unit is rows that a work-group adds up; each of the slots adds up the units
 * of which the number leaves that rest. */
typedef struct weights_shares {
    int64_t unit_rows, units, slots;
    int64_t slot_reals; /* of a tile */
} weights_shares;

/* Units of the tuning's length, and as many slots as occupy a CPU of many cores, whose number must not change
 * the bits. */
static weights_shares cpu_shares(const rc_cl_builder *b, int64_t R)
{
    enum { ENOUGH_TILES = 64 }; /* of sums, each of which gradient_weights reads again */
    const rc_tuning *t = &b->plan->tuning;
    const int64_t wanted = rc_ceil_div(ENOUGH_TILES, b->at.pairs);
    weights_shares shares = { .unit_rows = t->chunk_steps, .units = rc_ceil_div(R, t->chunk_steps) };
    shares.slots = wanted < shares.units ? wanted : shares.units;
    shares.slot_reals = (int64_t)2 * t->tile * t->tile;
    return shares;
}

/* Rows of a unit: a sum of so many equal numbers is right within 8e-6. */
enum { MAX_UNIT_ROWS = 512, MIN_UNIT_ROWS = 64, TRIANGLES_BYTES = 128 << 20 };
/* Fewer work-groups than elsewhere are enough, since each leaves a tile that gradient_weights reads again. */
enum { ENOUGH_UNITS = 768 };

/* Enough units, each with a slot of its own if these fit into TRIANGLES_BYTES. If not, slots take several
 * units, one in each launch, and have compensated sums. */
static weights_shares gpu_shares(const rc_cl_builder *b, int64_t R)
{
    const rc_tuning *t = &b->plan->tuning;
    const int64_t enough = rc_ceil_div(ENOUGH_UNITS, b->at.pairs), most = rc_ceil_div(R, MIN_UNIT_ROWS);
    weights_shares shares = { .units = rc_ceil_div(R, MAX_UNIT_ROWS),
                              .slot_reals = (int64_t)t->tile * t->tile };
    if (shares.units < enough)
        shares.units = enough < most ? enough : most;
    int64_t fitting = TRIANGLES_BYTES / (int64_t)b->plan->real_bytes / (b->at.pairs * shares.slot_reals);
    if (shares.units > fitting) {
        shares.slot_reals *= 2;
        fitting = fitting / 2 > 1 ? fitting / 2 : 1;
    }
    const int64_t rounds = rc_ceil_div(shares.units, fitting);
    shares.slots = rc_ceil_div(shares.units, rounds);
    shares.unit_rows = rc_ceil_div(R, rounds * shares.slots);
    shares.units = rc_ceil_div(R, shares.unit_rows);
    if (shares.units < shares.slots)
        shares.slots = shares.units;
    return shares;
}

static ratecl_status add_correlate_weights(rc_cl_builder *b, const char *options,
                                           const weights_shares *shares, cl_mem triangles)
{
    const rc_view *view = &b->spec->inputs[RC_STATES];
    const cl_long T = view->shape[1], N = view->shape[2], R = rc_view_rows(view), rows = shares->unit_rows;
    const cl_long slots = shares->slots, zero = 0, factor = b->at.factors - 2,
                  slot_reals = shares->slot_reals;
    rc_cl_step *step;
    RC_TRY(
        rc_cl_add_step(b, "correlation.cl", options, "correlate_weights", b->plan->tuning.tile_lanes, &step));
    step->first_unit = 10;
    step->input = RC_STATES;
    step->groups = b->at.pairs;
    step->units = shares->units;
    step->unit_rows = rows;
    step->most_units = slots;
    return SET_ARGUMENTS(step->kernel, 5, ARGUMENT(T), ARGUMENT(N), ARGUMENT(R), ARGUMENT(rows),
                         ARGUMENT(slots), ARGUMENT(zero), ARGUMENT(factor), ARGUMENT(b->factors),
                         ARGUMENT(b->batch_energies), ARGUMENT(b->row_energies), ARGUMENT(triangles),
                         ARGUMENT(slot_reals));
}

ratecl_status rc_cl_add_weights_gradient(rc_cl_builder *b)
{
    const rc_tuning *t = &b->plan->tuning;
    const int64_t R = rc_view_rows(&b->spec->inputs[RC_STATES]);
    const weights_shares shares = rc_is_cpu_family(t) ? cpu_shares(b, R) : gpu_shares(b, R);
    const cl_long N = b->spec->inputs[RC_WEIGHTS].shape[2], slots = shares.slots,
                  slot_reals = shares.slot_reals;
    char options[OPTION_BYTES];
    correlation_options(b, RC_STATES, OF_WEIGHTS, options);
    cl_mem triangles;
    rc_cl_step *step;
    RC_TRY(rc_cl_scratch_reals(b, slots * b->at.pairs * slot_reals, &triangles));
    RC_TRY(add_correlate_weights(b, options, &shares, triangles));
    RC_TRY(rc_cl_add_step(b, "correlation.cl", options, "gradient_weights", t->merge_lanes, &step));
    step->gradient = RC_WEIGHTS;
    const int64_t blocks = rc_ceil_div(N, t->tile_vector);
    step->groups = rc_is_cpu_family(t) ? blocks * blocks : square_pairs(t, N);
    step->units = 1;
    step->unit_rows = N;
    const cl_long spoiled_place = rc_cl_spoiled_place(b->plan);
    return SET_ARGUMENTS(step->kernel, 5, ARGUMENT(N), ARGUMENT(slots), ARGUMENT(triangles),
                         ARGUMENT(slot_reals), ARGUMENT(b->plan->results), ARGUMENT(spoiled_place));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The sweeps over states and reference, and how passes over rows are cut into tiles and blocks. */
#include <stdio.h>
#include <stdlib.h>

#include "builder.h"

/* ---- The CPU family's grid ---- */

/* Divide by eights: few programs serve all N. */
static void shrink(int32_t *count, int64_t each, int64_t N)
{
    while (*count % 8 == 0 && *count / 8 * each >= N)
        *count /= 8;
}

void rc_cl_fit_width(const rc_spec *spec, rc_tuning *t)
{
    enum { STREAMS = 64 };
    const int64_t N = spec->inputs[RC_STATES].shape[2];
    if (!rc_is_cpu_family(t))
        return;
    while (t->sweep_vector > 2 && t->sweep_vector > N)
        t->sweep_vector /= 2;
    shrink(&t->sweep_vectors, t->sweep_vector, N);
    /* Where time steps are neighbours, few neurons for each work-group: every neuron is a stream of its own.
     */
    for (int k = RC_STATES; k <= RC_REFERENCE; ++k)
        while (spec->uses[k] && rc_is_along(&spec->inputs[k]) && t->sweep_vectors > 1 &&
               t->sweep_vector * t->sweep_vectors > STREAMS)
            t->sweep_vectors /= 2;
}

/* Cut into enough blocks to occupy a CPU of many cores, and few enough that their sums are a small part of
 * what is read. The number of cores plays no part in it: the bits of the sums must not depend on it. */
static rc_cl_grid cpu_grid(const rc_cl_plan *plan, const rc_view *view)
{
    enum { ENOUGH_GROUPS = 64, LEAST_ROWS = 64 };
    const rc_tuning *t = &plan->tuning;
    const int64_t R = rc_view_rows(view), most = t->sweep_rows, least = rc_min(most, LEAST_ROWS);
    rc_cl_grid grid = { .across = 1, .down = 1, .vector = t->sweep_vector, .along = rc_is_along(view) };
    grid.step = grid.along ? t->sweep_vector : t->sweep_step;
    grid.tile = (int64_t)t->sweep_vector * t->sweep_vectors;
    grid.tiles = rc_ceil_div(view->shape[2], grid.tile);
    const int64_t wanted = rc_ceil_div(R * grid.tiles, ENOUGH_GROUPS);
    grid.block_rows = rc_round_up(rc_min(rc_max(wanted, least), most), t->merge_vector);
    grid.blocks = rc_ceil_div(R, grid.block_rows);
    return grid;
}

/* ---- The GPU family's grid ---- */

/* True if all rows of the view begin at multiples of `unit` elements; those of one element do at any. */
static bool has_rows_at(const rc_view *view, int64_t unit)
{
    return view->offset % unit == 0 && (view->shape[0] == 1 || view->strides[0] % unit == 0) &&
           (view->shape[1] == 1 || view->strides[1] % unit == 0);
}

bool rc_cl_is_aligned(const rc_view *view, int64_t vector)
{
    return view->shape[2] % vector == 0 && (view->strides[2] == 1 || view->shape[2] == 1) &&
           has_rows_at(view, vector);
}

/* True if time steps are neighbours. */
static bool is_along(const rc_view *view)
{
    return view->strides[1] == 1 && view->shape[1] > 1 && (view->shape[2] == 1 || view->strides[2] != 1);
}

/* True if vectors of `step` time steps can be read as such, from every multiple of `step` rows on. */
static bool is_aligned_along(const rc_view *view, int64_t step)
{
    return view->shape[1] % step == 0 && view->offset % step == 0 &&
           (view->shape[0] == 1 || view->strides[0] % step == 0) &&
           (view->shape[2] == 1 || view->strides[2] % step == 0);
}

/* Work-items across: the widest tile that leaves few of them idle. */
static int32_t across_of(int64_t N, int64_t vector, int32_t most)
{
    enum { LEAST = 16 };
    int32_t best = 1;
    while (best < most && best * vector < N)
        best *= 2;
    int32_t across = best;
    for (int32_t k = best / 2; k >= LEAST && best == most; k /= 2)
        if (rc_round_up(N, k * vector) * 8 < rc_round_up(N, across * vector) * 7)
            across = k;
    return across;
}

/* Columns of a work-item. */
static int32_t columns_of(const rc_tuning *t, int64_t N)
{
    return N < 3 ? (int32_t)rc_min(N, t->sweep_vector) : t->sweep_vector;
}

/* Give a block as many rounds of rows as leave some GROUPS_WANTED work-groups. */
static void cut_rows(rc_cl_grid *grid, int64_t R, int32_t most_rounds)
{
    enum { GROUPS_WANTED = 1024, ROWS_UNIT = 16 };
    const int64_t round = (int64_t)grid->down * grid->step;
    int64_t rounds = rc_min(rc_max(R * grid->tiles / (round * GROUPS_WANTED), 1), most_rounds);
    grid->block_rows = rc_round_up(round * rounds, ROWS_UNIT);
    grid->blocks = rc_ceil_div(R, grid->block_rows);
}

/* True if numbers of rows need more than 32 bits. */
static bool is_wide(const rc_spec *spec)
{
    enum { MOST_ROWS = INT32_MAX - (1 << 24) };
    bool wide = false;
    for (int k = RC_STATES; k <= RC_REFERENCE; ++k)
        wide = wide || (spec->uses[k] && rc_view_rows(&spec->inputs[k]) > MOST_ROWS);
    return wide;
}

/* Reals of local memory that a sweep of the grid takes, as SCRATCH_REALS of gpu/sweep.cl. */
static int64_t sweep_reals(const rc_cl_grid *grid)
{
    const int64_t lanes = (int64_t)grid->across * grid->down, sums = (int64_t)2 * grid->down * grid->step;
    const int64_t line = grid->across > 1 ? grid->across + rc_max(lanes / sums, 1) : 1;
    return rc_max(sums * line + lanes, 2 * grid->vector * lanes);
}

/* Take fewer rows at once where local memory is short. */
static void fit_local_memory(rc_cl_grid *grid, const rc_cl_plan *plan)
{
    const int64_t reals = (int64_t)(plan->context->limits.local_bytes / plan->real_bytes);
    while (grid->step > 1 && sweep_reals(grid) > reals)
        grid->step /= 2;
}

static rc_cl_grid gpu_grid(const rc_cl_plan *plan, const rc_view *first, const rc_view *second, int32_t step,
                           int32_t rounds)
{
    enum { LEAST_DOWN_ALONG = 8, STEPS_ALONG = 4 };
    const rc_tuning *t = &plan->tuning;
    const int64_t N = first->shape[2];
    rc_cl_grid grid = { .vector = columns_of(t, N), .step = step, .wide = is_wide(plan->model) };
    grid.along = is_along(first) && (!second || is_along(second));
    int32_t most = (int32_t)rc_min(t->sweep_across, t->sweep_lanes);
    if (grid.along) {
        grid.step = (int32_t)rc_min(STEPS_ALONG, t->sweep_vector);
        most = (int32_t)rc_max(rc_min(most, t->sweep_lanes / LEAST_DOWN_ALONG), 1);
    }
    grid.across = across_of(N, grid.vector, most);
    grid.down = t->sweep_lanes / grid.across;
    grid.tile = (int64_t)grid.across * grid.vector;
    grid.tiles = rc_ceil_div(N, grid.tile);
    fit_local_memory(&grid, plan);
    const int64_t unit = grid.along ? grid.step : grid.vector;
    bool (*const aligned)(const rc_view *, int64_t) = grid.along ? is_aligned_along : rc_cl_is_aligned;
    grid.aligned = aligned(first, unit) && (!second || aligned(second, unit));
    cut_rows(&grid, rc_view_rows(first), rounds);
    return grid;
}

rc_cl_grid rc_cl_sweep_grid(const rc_cl_plan *plan, const rc_view *view)
{
    const rc_tuning *t = &plan->tuning;
    /* Bytes in flight for every work-item; and fewer records, since sums of so few counts are exact. */
    const int32_t wider = view->element == RATECL_U8 ? 2 : 1;
    return rc_is_cpu_family(t) ? cpu_grid(plan, view)
                               : gpu_grid(plan, view, NULL, t->sweep_step * wider, t->sweep_rounds * wider);
}

rc_cl_grid rc_cl_gradient_grid(const rc_cl_plan *plan, const rc_view *read, const rc_view *written)
{
    const rc_tuning *t = &plan->tuning;
    if (!rc_is_cpu_family(t))
        return gpu_grid(plan, written, read, t->gradient_step, t->gradient_rounds);
    rc_cl_grid grid = cpu_grid(plan, written);
    grid.along = read && rc_is_along(read);
    grid.step = grid.along || rc_is_along(written) ? t->sweep_vector : t->gradient_step;
    return grid;
}

int rc_cl_grid_options(const rc_cl_plan *plan, const rc_cl_grid *grid, char *options, size_t bytes)
{
    const rc_tuning *t = &plan->tuning;
    const int bits = rc_precision_bits(plan->spec);
    if (rc_is_cpu_family(t))
        return snprintf(options, bytes,
                        "-DPRECISION=%d -DALONG=%d -DLANES=1 -DVECTOR=%d -DVECTORS=%d -DSTEP=%d -DFETCH=%d",
                        bits, grid->along, t->sweep_vector, t->sweep_vectors, grid->step,
                        plan->context->limits.kind == RATECL_DEVICE_CPU);
    return snprintf(options, bytes,
                    "-DPRECISION=%d -DALONG=%d -DLANES=%d -DVECTOR=4 -DACROSS=%d -DCOLUMNS=%d -DSTEP=%d "
                    "-DALIGNED=%d -DWIDE=%d",
                    bits, grid->along, grid->across * grid->down, grid->across, grid->vector, grid->step,
                    grid->aligned, grid->wide);
}

/* ---- Sweeps ---- */

typedef struct sweep_wants {
    bool moments, sums;
    int entropy; /* as in sweep.cl */
    size_t lags;
    bool moments_alone; /* of what the program can give */
} sweep_wants;

static ratecl_status add_sweep(rc_cl_builder *b, int input, const sweep_wants *wants, double eps)
{
    const rc_cl_plan *plan = b->plan;
    const rc_spec *spec = b->spec;
    const rc_view *view = &spec->inputs[input];
    const rc_cl_grid grid = rc_cl_sweep_grid(plan, view);
    const cl_long T = view->shape[1], N = view->shape[2], R = rc_view_rows(view), rows = grid.block_rows;
    const cl_long blocks = grid.blocks, zero = 0, pitch = b->at.pitch;
    char options[400];
    int used = rc_cl_grid_options(plan, &grid, options, sizeof options);
    used +=
        snprintf(options + used, sizeof options - (size_t)used,
                 " -DELEMENT=%d -DMOMENTS=%d -DSUMS=%d -DENTROPY=%d -DLAGS=%zu -DGRADIENT=%d -DDIVERGENCE=%d",
                 (int)view->element, wants->moments, wants->sums, wants->entropy, wants->lags,
                 wants->entropy == 2 && rc_wants_gradients(spec), spec->uses[RC_REFERENCE]);
    if (rc_is_cpu_family(&plan->tuning))
        snprintf(options + used, sizeof options - (size_t)used, " -DCONTIGUOUS=%d",
                 rc_is_contiguous(view) && N > 1);
    rc_cl_step *step;
    RC_TRY(rc_cl_add_step(b, "sweep.cl", options, "sweep", grid.across * grid.down, &step));
    step->first_unit = 10;
    step->input = input;
    step->groups = grid.tiles;
    step->units = blocks;
    step->unit_rows = rows;
    if (wants->lags && !wants->moments_alone) {
        step->after = rc_longest_lag(spec);
        step->windows = (int)wants->lags;
    }
    step->taus = 12;
    step->whole_taus = b->taus;
    const rc_cl_real epsilon = rc_cl_positive_real_of(eps);
    const cl_int moments_alone = wants->moments_alone;
    return SET_ARGUMENTS(step->kernel, 5, ARGUMENT(T), ARGUMENT(N), ARGUMENT(R), ARGUMENT(rows),
                         ARGUMENT(blocks), ARGUMENT(zero), ARGUMENT(pitch), ARGUMENT(b->taus),
                         ARGUMENT(b->row_z), rc_cl_real_argument(plan, &epsilon),
                         ARGUMENT(b->records[input].moments), ARGUMENT(b->row_sums), ARGUMENT(b->exponents),
                         ARGUMENT(b->lag_sums), ARGUMENT(moments_alone));
}

static ratecl_status make_records(rc_cl_builder *b, int input)
{
    const rc_cl_grid grid = rc_cl_sweep_grid(b->plan, &b->spec->inputs[input]);
    rc_cl_records *records = &b->records[input];
    records->block_rows = grid.block_rows;
    records->blocks = grid.blocks;
    return rc_cl_scratch_reals(b, grid.blocks * 3 * b->at.pitch, &records->moments);
}

static sweep_wants states_wants(const rc_spec *spec)
{
    return (sweep_wants){ .moments = spec->moments,
                          .sums = spec->entropy_count > 0,
                          .entropy = rc_sweep_has_entropy(spec),
                          .lags = spec->lag_count };
}

/* Make what the states' sweep leaves of rows. */
static ratecl_status make_row_sums(rc_cl_builder *b)
{
    const rc_spec *spec = b->spec;
    const int64_t R = rc_view_rows(&spec->inputs[RC_STATES]), sets = (int64_t)spec->entropy_count + 1;
    RC_TRY(rc_cl_scratch_reals(b, b->at.sweep_tiles * 2 * R, &b->row_sums));
    RC_TRY(rc_cl_scratch_reals(b, R, &b->row_z));
    RC_TRY(rc_cl_scratch(b, b->at.blocks * b->at.sweep_tiles, sizeof(cl_int), NULL, &b->exponents));
    return rc_wants_gradients(spec) ? rc_cl_scratch_reals(b, sets * 2 * R, &b->row_factors) : RATECL_OK;
}

/* Make (3, lag_count): the lags, and how far away in memory the later and the earlier rows are. */
static ratecl_status make_taus(rc_cl_builder *b)
{
    const size_t count = b->spec->lag_count;
    cl_long *taus = malloc(3 * count * sizeof *taus);
    if (!taus)
        return rc_fail_memory(3 * count * sizeof *taus);
    for (size_t k = 0; k < count; ++k) {
        taus[k] = taus[count + k] = b->spec->lags[k];
        taus[2 * count + k] = -taus[k];
    }
    const ratecl_status status = rc_cl_scratch(b, 3 * (int64_t)count, sizeof *taus, taus, &b->taus);
    free(taus);
    return status;
}

/* The states' one sweep, with all it can give. */
static ratecl_status add_states(rc_cl_builder *b)
{
    const rc_spec *spec = b->spec;
    const sweep_wants wants = states_wants(spec);
    if (!wants.moments && !wants.sums && !wants.lags)
        return RATECL_OK;
    if (wants.moments)
        RC_TRY(make_records(b, RC_STATES));
    if (wants.sums)
        RC_TRY(make_row_sums(b));
    if (wants.lags) {
        RC_TRY(make_taus(b));
        RC_TRY(rc_cl_scratch_reals(b, (int64_t)spec->lag_count * b->at.blocks * b->at.sweep_tiles,
                                   &b->lag_sums));
    }
    return add_sweep(b, RC_STATES, &wants, 0);
}

ratecl_status rc_cl_add_entropy_sweep(rc_cl_builder *b, size_t which)
{
    const sweep_wants second = { .entropy = 2 };
    return add_sweep(b, RC_STATES, &second, b->spec->epsilons[which]);
}

/* True if one program reads both well. */
static bool are_alike(const rc_cl_plan *plan, const rc_view *a, const rc_view *b)
{
    const rc_cl_grid x = rc_cl_sweep_grid(plan, a), y = rc_cl_sweep_grid(plan, b);
    return a->element == b->element && rc_is_contiguous(a) == rc_is_contiguous(b) && x.along == y.along &&
           x.aligned == y.aligned;
}

static ratecl_status add_reference(rc_cl_builder *b)
{
    if (!b->spec->uses[RC_REFERENCE])
        return RATECL_OK;
    const rc_view *view = &b->spec->inputs[RC_REFERENCE];
    sweep_wants wants = { .moments = true };
    if (rc_is_cpu_family(&b->plan->tuning) && are_alike(b->plan, view, &b->spec->inputs[RC_STATES]))
        wants = states_wants(b->spec);
    wants.moments_alone = true;
    RC_TRY(make_records(b, RC_REFERENCE));
    return add_sweep(b, RC_REFERENCE, &wants, 0);
}

ratecl_status rc_cl_add_sweeps(rc_cl_builder *b)
{
    RC_TRY(add_reference(b)); /* first: the gradient begins where the states' sweep ends */
    return add_states(b);
}

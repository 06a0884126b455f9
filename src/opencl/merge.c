/* SPDX-License-Identifier: Apache-2.0 */
/* The merges: which work-groups join which partial sums, and the launches of merge_blocks, merge and
 * deviations. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "builder.h"

enum {
    OPTION_BYTES = 256,
    FAN = 64,           /* records that merge_blocks joins to one */
    MOST_BLOCKS = 4096, /* that merge joins itself */
    LEAST_ACROSS = 2    /* work-items side by side read whole sectors of memory */
};

/* The smallest power of two that is at least n. */
static int64_t power_of_two_from(int64_t n)
{
    int64_t power = 1;
    while (power < n)
        power *= 2;
    return power;
}

/* Share `count` things among at most PARTIALS work-groups, in multiples of `unit`; return how many each gets.
 */
static int64_t share_of(int64_t count, int64_t unit)
{
    return rc_round_up(rc_max(rc_ceil_div(count, PARTIALS), 1), unit);
}

/* ---- Jobs ---- */

static void set_columns(const rc_cl_builder *b, cl_long job[RC_JOB_PARAMETERS])
{
    const rc_spec *spec = b->spec;
    const rc_tuning *t = &b->plan->tuning;
    const int64_t N = spec->inputs[RC_STATES].shape[2];
    job[RC_JOB_PITCH] = b->at.pitch;
    int64_t most_blocks = 1;
    for (int k = RC_STATES; k <= RC_REFERENCE; ++k) {
        if (!spec->uses[k])
            continue;
        const cl_int first = k == RC_STATES ? RC_JOB_ROWS : RC_JOB_REFERENCE_ROWS;
        job[first] = rc_view_rows(&spec->inputs[k]);
        job[first + 1] = b->records[k].block_rows;
        job[first + 2] = b->records[k].blocks;
        most_blocks = rc_max(most_blocks, b->records[k].blocks);
    }
    const int64_t lanes = t->merge_lanes, vectors = power_of_two_from(rc_ceil_div(N, t->merge_vector));
    const int64_t across = rc_max(lanes / power_of_two_from(most_blocks), LEAST_ACROSS);
    job[RC_JOB_ACROSS] = rc_min(rc_min(across, vectors), lanes);
    job[RC_JOB_GROUP_COLUMNS] = share_of(N, job[RC_JOB_ACROSS] * t->merge_vector);
    job[RC_JOB_COLUMN_GROUPS] = spec->moments ? rc_ceil_div(N, job[RC_JOB_GROUP_COLUMNS]) : 0;
}

static void set_rows(const rc_cl_builder *b, cl_long job[RC_JOB_PARAMETERS])
{
    enum { TILES_OF_A_WORK_ITEM = 8, MOST_PARTS = 16 };
    const rc_spec *spec = b->spec;
    const rc_tuning *t = &b->plan->tuning;
    const int64_t R = rc_view_rows(&spec->inputs[RC_STATES]);
    const int64_t tiles = power_of_two_from(rc_ceil_div(b->at.sweep_tiles, TILES_OF_A_WORK_ITEM));
    const int64_t parts = rc_min(rc_min(tiles, MOST_PARTS), t->merge_lanes);
    const int64_t rows = share_of(R, t->merge_lanes / parts * t->merge_vector);
    job[RC_JOB_ROW_PARTS] = parts;
    job[RC_JOB_GROUP_ROWS] = rows;
    job[RC_JOB_TILES] = b->at.sweep_tiles;
    job[RC_JOB_SWEEP_BLOCK_ROWS] = b->at.block_rows;
    job[RC_JOB_ENTROPY_GROUPS] = spec->entropy_count > 0 ? rc_ceil_div(R, rows) : 0;
    job[RC_JOB_STEP_GROUPS] = spec->hebbian_step ? rc_ceil_div(R, rows) : 0;
    job[RC_JOB_STEP_TILES] = b->step_tiles;
    job[RC_JOB_STEP_QUANTITY] = b->at.steps;
}

static void set_lags(const rc_cl_builder *b, cl_long job[RC_JOB_PARAMETERS])
{
    enum { SUMS_OF_A_WORK_ITEM = 16 };
    const int64_t count = b->at.blocks * b->at.sweep_tiles;
    job[RC_JOB_LAG_COUNT] = count;
    job[RC_JOB_LAG_PARTS] =
        rc_min(rc_ceil_div(count, (int64_t)b->plan->tuning.merge_lanes * SUMS_OF_A_WORK_ITEM), PARTIALS);
    job[RC_JOB_LAG_GROUPS] = job[RC_JOB_LAG_PARTS] * (int64_t)b->spec->lag_count;
    job[RC_JOB_LAG_QUANTITY] = b->at.lags;
}

static void set_batches(const rc_cl_builder *b, cl_long job[RC_JOB_PARAMETERS])
{
    if (!b->spec->hebbian_batch)
        return;
    const int64_t B = b->spec->inputs[RC_STATES].shape[0], lanes = b->plan->tuning.merge_lanes;
    const int64_t each = rc_min(power_of_two_from(b->batch_parts.inner), lanes);
    job[RC_JOB_BATCH_LANES] = each;
    job[RC_JOB_BATCH_COUNT] = B;
    job[RC_JOB_BATCH_GROUPS] = rc_min(rc_ceil_div(B * each, lanes), PARTIALS);
    job[RC_JOB_BATCH_INNER] = b->batch_parts.inner;
    job[RC_JOB_BATCH_OUTERS] = b->batch_parts.outers;
    job[RC_JOB_BATCH_STRIDE] = b->batch_parts.outer_stride;
    job[RC_JOB_BATCH_QUANTITY] = b->at.batches;
}

static bool has_metric(const rc_spec *spec, ratecl_metric metric)
{
    for (size_t k = 0; k < spec->term_count; ++k)
        if (spec->terms[k].options.criterion == RATECL_FIRING_RATE_DIST &&
            spec->terms[k].options.metric == metric)
            return true;
    return false;
}

/* True if a term needs distances from the mean over neurons, or the largest of them. */
static bool wants_distances(const rc_spec *spec)
{
    return has_metric(spec, RATECL_METRIC_MEAN_AD) || has_metric(spec, RATECL_METRIC_MAX_AD);
}

/* True if a term needs what deviations() sums. */
static bool needs_deviations(const rc_spec *spec)
{
    return has_metric(spec, RATECL_METRIC_MEAN_AD) ||
           (has_metric(spec, RATECL_METRIC_MAX_AD) && rc_wants_gradients(spec));
}

static void fill_job(const rc_cl_builder *b, cl_long job[RC_JOB_PARAMETERS])
{
    enum { FINISH_GROUPS_OF_CPU = 16 };
    const rc_spec *spec = b->spec;
    const int64_t N = spec->inputs[RC_STATES].shape[2], lanes = b->plan->tuning.merge_lanes;
    job[RC_JOB_NEURONS] = N;
    job[RC_JOB_TERMS] = (cl_long)spec->term_count;
    for (size_t k = 0; k < spec->term_count; ++k)
        job[RC_JOB_NEURON_TERMS] += rc_cl_is_of_neurons(&spec->terms[k]);
    job[RC_JOB_SKIPPED_OFFSET] = (cl_long)(b->plan->skipped_offset / sizeof(cl_long));
    job[RC_JOB_VALUE_COUNT] = (cl_long)spec->value_count;
    job[RC_JOB_FACTORS] = b->at.factors;
    job[RC_JOB_DEVIATIONS] = needs_deviations(spec);
    job[RC_JOB_FINISH_COLUMNS] = lanes > 1 ? lanes : rc_ceil_div(N, FINISH_GROUPS_OF_CPU);
    set_columns(b, job);
    set_rows(b, job);
    set_lags(b, job);
    set_batches(b, job);
}

int64_t rc_cl_merged_counts(const rc_cl_builder *b, const rc_term *term)
{
    switch (term->options.criterion) {
    case RATECL_STATE_PREDICTION:
        return b->job[RC_JOB_LAG_PARTS];
    case RATECL_ENTROPY:
        return b->job[RC_JOB_ENTROPY_GROUPS];
    case RATECL_HEBBIAN:
        return b->job[term->options.over == RATECL_OVER_STEP ? RC_JOB_STEP_GROUPS : RC_JOB_BATCH_GROUPS];
    case RATECL_FIRING_RATE:
    case RATECL_POPULATION_KL:
        return b->job[RC_JOB_COLUMN_GROUPS];
    default:
        return 0; /* it is made of the population's */
    }
}

/* ---- Launches ---- */

/* What the kernels of a program of finish.cl read, as their options. */
typedef struct merge_options {
    int kernels;
    bool gradient, moments, reference, entropy, lags, steps, batches, distances;
} merge_options;

/* The options of a GPU's program: as few of them as the kernel reads, so that other plans have the same
 * program, and a program for each kernel, since such drivers compile side by side. CPU drivers do not; they
 * get one of all kernels. */
static merge_options options_of(const rc_cl_plan *plan, const char *name)
{
    enum { ALL, MERGE, FINISH, MERGE_BLOCKS };
    const rc_spec *spec = plan->spec;
    if (strcmp(name, "merge_blocks") == 0)
        return (merge_options){ .kernels = MERGE_BLOCKS, .moments = true };
    merge_options o = { ALL,
                        rc_wants_gradients(spec),
                        spec->moments,
                        spec->uses[RC_REFERENCE],
                        spec->entropy_count > 0,
                        spec->lag_count > 0,
                        spec->hebbian_step,
                        spec->hebbian_batch,
                        wants_distances(spec) };
    if (rc_is_cpu_family(&plan->tuning))
        return o;
    if (strcmp(name, "merge") == 0) {
        o.kernels = MERGE;
        o.gradient = o.gradient && o.entropy; /* factors of rows */
        o.distances = false;                  /* which finish reads */
        return o;
    }
    return (merge_options){ .kernels = FINISH,
                            .gradient = o.gradient,
                            .moments = o.moments,
                            .reference = o.gradient && o.reference,
                            .distances = o.distances };
}

ratecl_status rc_cl_add_merge_launch(rc_cl_builder *b, const char *name, int64_t groups, rc_cl_step **step)
{
    const rc_tuning *t = &b->plan->tuning;
    const merge_options o = options_of(b->plan, name);
    char options[OPTION_BYTES];
    snprintf(options, sizeof options,
             "-DPRECISION=%d -DLANES=%d -DVECTOR=%d -DKERNELS=%d -DGRADIENT=%d -DMOMENTS=%d -DREFERENCE=%d "
             "-DENTROPY=%d -DLAGS=%d -DSTEPS=%d -DBATCHES=%d -DDISTANCES=%d",
             rc_precision_bits(b->spec), t->merge_lanes, t->merge_vector, o.kernels, o.gradient, o.moments,
             o.reference, o.entropy, o.lags, o.steps, o.batches, o.distances);
    RC_TRY(rc_cl_add_step(b, "finish.cl", options, name, t->merge_lanes, step));
    (*step)->groups = groups;
    return RATECL_OK;
}

/* Join the records of an input's blocks until merge can join them. */
static ratecl_status add_merge_blocks(rc_cl_builder *b, int input)
{
    rc_cl_records *records = &b->records[input];
    const rc_tuning *t = &b->plan->tuning;
    const cl_long R = rc_view_rows(&b->spec->inputs[input]), pitch = b->at.pitch, fan = FAN;
    while (records->blocks > MOST_BLOCKS) {
        const int64_t joined = rc_ceil_div(records->blocks, FAN);
        const cl_int across = (cl_int)rc_min(rc_max(t->merge_lanes / FAN, LEAST_ACROSS), t->merge_lanes);
        cl_mem made;
        rc_cl_step *step;
        RC_TRY(rc_cl_scratch_reals(b, joined * 3 * pitch, &made));
        RC_TRY(rc_cl_add_merge_launch(b, "merge_blocks",
                                      joined * rc_ceil_div(pitch, (int64_t)across * t->merge_vector), &step));
        const cl_long rows = records->block_rows, blocks = records->blocks;
        RC_TRY(SET_ARGUMENTS(step->kernel, 0, ARGUMENT(records->moments), ARGUMENT(pitch), ARGUMENT(R),
                             ARGUMENT(rows), ARGUMENT(blocks), ARGUMENT(fan), ARGUMENT(across),
                             ARGUMENT(made)));
        *records = (rc_cl_records){ made, rows * FAN, joined };
    }
    return RATECL_OK;
}

/* One launch of merge for a job. eps: of its entropies. */
static ratecl_status add_merge_of(rc_cl_builder *b, const cl_long job[RC_JOB_PARAMETERS], double eps)
{
    const rc_cl_real log_N = rc_cl_real_of(log((double)b->spec->inputs[RC_STATES].shape[2])),
                     epsilon = rc_cl_positive_real_of(eps);
    const int64_t groups = job[RC_JOB_COLUMN_GROUPS] + job[RC_JOB_ENTROPY_GROUPS] + job[RC_JOB_LAG_GROUPS] +
                           job[RC_JOB_BATCH_GROUPS] + job[RC_JOB_STEP_GROUPS];
    cl_mem packed;
    rc_cl_step *step;
    RC_TRY(rc_cl_scratch(b, RC_JOB_PARAMETERS, sizeof *job, job, &packed));
    if (!b->packed_job)
        b->packed_job = packed;
    RC_TRY(rc_cl_add_merge_launch(b, "merge", groups, &step));
    return SET_ARGUMENTS(step->kernel, 0, ARGUMENT(packed), ARGUMENT(b->integers), ARGUMENT(b->reals),
                         ARGUMENT(b->records[RC_STATES].moments), ARGUMENT(b->records[RC_REFERENCE].moments),
                         ARGUMENT(b->statistics[RC_STATES]), ARGUMENT(b->statistics[RC_REFERENCE]),
                         ARGUMENT(b->plan->results), ARGUMENT(b->row_sums), ARGUMENT(b->exponents),
                         rc_cl_real_argument(b->plan, &log_N), rc_cl_real_argument(b->plan, &epsilon),
                         ARGUMENT(b->row_z), ARGUMENT(b->row_factors), ARGUMENT(b->lag_sums),
                         ARGUMENT(b->batch_parts.parts), ARGUMENT(b->batch_energies), ARGUMENT(b->step_sums),
                         ARGUMENT(b->row_energies), ARGUMENT(b->partials));
}

ratecl_status rc_cl_add_merge(rc_cl_builder *b)
{
    const rc_spec *spec = b->spec;
    for (int k = RC_STATES; k <= RC_REFERENCE && spec->moments; ++k)
        if (spec->uses[k]) {
            RC_TRY(add_merge_blocks(b, k));
            RC_TRY(rc_cl_scratch_reals(b, 3 * spec->inputs[k].shape[2], &b->statistics[k]));
        }
    if (spec->hebbian_batch)
        RC_TRY(rc_cl_scratch_reals(b, spec->inputs[RC_STATES].shape[0], &b->batch_energies));
    if (spec->hebbian_step)
        RC_TRY(rc_cl_scratch_reals(b, rc_view_rows(&spec->inputs[RC_STATES]), &b->row_energies));
    fill_job(b, b->job);
    RC_TRY(rc_cl_pack_terms(b));
    const int64_t set =
        rc_sweep_has_entropy(spec) ? 0 : (int64_t)spec->entropy_count; /* the last one is for a Z alone */
    b->job[RC_JOB_ENTROPY_QUANTITY] = b->at.entropies + set;
    b->job[RC_JOB_FIRST_FACTOR] = 2 * set * rc_view_rows(&spec->inputs[RC_STATES]);
    return add_merge_of(b, b->job, 0);
}

ratecl_status rc_cl_add_merge_entropy(rc_cl_builder *b, size_t which)
{
    cl_long job[RC_JOB_PARAMETERS];
    memcpy(job, b->job, sizeof job);
    job[RC_JOB_COLUMN_GROUPS] = job[RC_JOB_LAG_GROUPS] = job[RC_JOB_BATCH_GROUPS] = job[RC_JOB_STEP_GROUPS] =
        0;
    job[RC_JOB_DIRECT] = 1;
    job[RC_JOB_ENTROPY_QUANTITY] = b->at.entropies + (cl_long)which;
    job[RC_JOB_FIRST_FACTOR] = 2 * (cl_long)which * rc_view_rows(&b->spec->inputs[RC_STATES]);
    return add_merge_of(b, job, b->spec->epsilons[which]);
}

ratecl_status rc_cl_add_deviations(rc_cl_builder *b)
{
    if (!b->job[RC_JOB_DEVIATIONS])
        return RATECL_OK;
    rc_cl_step *step;
    RC_TRY(rc_cl_add_merge_launch(b, "deviations", b->job[RC_JOB_COLUMN_GROUPS], &step));
    return SET_ARGUMENTS(step->kernel, 0, ARGUMENT(b->packed_job), ARGUMENT(b->statistics[RC_STATES]),
                         ARGUMENT(b->partials));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The values and the coefficients of the gradient: the terms packed for finish, and its launch. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "builder.h"

/* The numbers by which finish.cl calls a packed term's parts. */
enum {
    CRITERION,
    METRIC,
    SYMMETRIC,
    REDUCTION,
    LOG_SIGMA,
    SKIP,
    VALUE,
    QUANTITY,
    COUNT,
    FACTOR,
    COTANGENT,
    NEURON_TERM,
    INTEGERS
};
enum { WEIGHT, TARGET, TARGET_LOW, REG, FLOOR, SCALE, REALS };

/* Finish reads as many terms at once, whether there are so many or not; as kernels/finish.cl has it. */
enum { TERMS_AT_ONCE = 16 };

/* Pack where a term's partials and its factor in the gradient lie, and what its value is divided by. */
static void pack_sums(const rc_cl_builder *b, const rc_term *term, size_t k, cl_long *integers, double *scale)
{
    const int64_t *shape = b->spec->inputs[RC_STATES].shape;
    const double B = (double)shape[0], T = (double)shape[1], N = (double)shape[2];
    const bool over_step = term->options.over == RATECL_OVER_STEP;
    integers[QUANTITY] = RC_FIRST_TERM + 2 * (cl_long)k;
    integers[COUNT] = rc_cl_merged_counts(b, term);
    switch (term->options.criterion) {
    case RATECL_FIRING_RATE:
    case RATECL_POPULATION_KL:
        break;
    case RATECL_FIRING_RATE_DIST:
        *scale = 1 / (N - (double)term->options.ddof);
        break;
    case RATECL_STATE_PREDICTION:
        integers[QUANTITY] = b->at.lags + (cl_long)term->lag;
        integers[FACTOR] = (cl_long)term->lag;
        *scale = 1 / (B * (T - (double)term->options.tau) * N);
        break;
    case RATECL_ENTROPY:
        integers[QUANTITY] = b->at.entropies + (cl_long)term->entropy;
        integers[FACTOR] = (cl_long)(b->spec->lag_count + term->entropy);
        *scale = 1 / (B * T);
        break;
    case RATECL_HEBBIAN:
        integers[QUANTITY] = over_step ? b->at.steps : b->at.batches;
        integers[FACTOR] = b->at.factors - 2 + over_step;
        *scale = 1 / (B * T);
        break;
    }
}

static void pack_term(const rc_cl_builder *b, size_t k, cl_long *integers, double *reals)
{
    const rc_term *term = &b->spec->terms[k];
    const ratecl_term *o = &term->options;
    integers[CRITERION] = o->criterion;
    integers[METRIC] = o->metric;
    integers[SYMMETRIC] = o->symmetric;
    integers[REDUCTION] = o->reduction;
    integers[LOG_SIGMA] = o->log == RATECL_LOG_SIGMA;
    integers[SKIP] = o->degenerate == RATECL_DEGENERATE_SKIP;
    integers[VALUE] = (cl_long)term->value;
    integers[COTANGENT] = (cl_long)term->cotangent;
    reals[WEIGHT] = o->weight;
    reals[TARGET] = o->target;
    if (b->plan->real_bytes == sizeof(cl_float) && fabs(o->target) <= FLT_MAX)
        reals[TARGET_LOW] = o->target - (double)(cl_float)o->target;
    reals[REG] = o->reg;
    reals[FLOOR] = sqrt(o->var_floor);
    pack_sums(b, term, k, integers, &reals[SCALE]);
}

/* Doubles become reals of the plan's precision, in place. */
static void narrow(const rc_cl_plan *plan, double *reals, size_t count)
{
    if (plan->real_bytes == sizeof(cl_double))
        return;
    for (size_t k = 0; k < count; ++k) {
        const bool is_floor = k % REALS == FLOOR; /* which stays one */
        const cl_float narrower = (is_floor ? rc_cl_positive_real_of(reals[k]) : rc_cl_real_of(reals[k])).f32;
        memcpy((char *)reals + k * sizeof narrower, &narrower, sizeof narrower);
    }
}

ratecl_status rc_cl_pack_terms(rc_cl_builder *b)
{
    const size_t count = b->spec->term_count;
    const size_t readable = count + TERMS_AT_ONCE;
    cl_long *integers = calloc(readable * INTEGERS, sizeof *integers);
    double *reals = calloc(readable * REALS, sizeof *reals);
    ratecl_status status =
        integers && reals ? RATECL_OK : rc_fail_memory(readable * INTEGERS * sizeof *integers);
    if (status == RATECL_OK) {
        size_t of_neurons = 0;
        for (size_t k = 0; k < count; ++k) {
            pack_term(b, k, integers + k * INTEGERS, reals + k * REALS);
            if (rc_cl_is_of_neurons(&b->spec->terms[k]))
                integers[of_neurons++ * INTEGERS + NEURON_TERM] = (cl_long)k;
        }
        narrow(b->plan, reals, count * REALS);
    }
    if (status == RATECL_OK)
        status = rc_cl_scratch(b, (int64_t)readable * INTEGERS, sizeof *integers, integers, &b->integers);
    if (status == RATECL_OK)
        status = rc_cl_scratch(b, (int64_t)readable * REALS, b->plan->real_bytes, reals, &b->reals);
    free(integers);
    free(reals);
    return status;
}

/* Read `count` reals from index `first` on of a row of an input's statistics, (3, N), as doubles. */
static ratecl_status read_statistics(const rc_cl_plan *plan, int input, int64_t row, int64_t first,
                                     int64_t count, double *reals)
{
    const size_t at = (size_t)(row * plan->spec->inputs[RC_STATES].shape[2] + first);
    CL_TRY(clEnqueueReadBuffer(plan->transfers, plan->statistics[input], CL_TRUE, at * plan->real_bytes,
                               (size_t)count * plan->real_bytes, reals, 1, &plan->last, NULL));
    for (int64_t k = count - 1; k >= 0 && plan->real_bytes == sizeof(cl_float); --k) {
        cl_float narrow;
        memcpy(&narrow, (const char *)reals + k * (int64_t)sizeof narrow, sizeof narrow);
        reals[k] = (double)narrow;
    }
    return RATECL_OK;
}

ratecl_status rc_cl_read_moments(void *plan_state, int input, int64_t first, int64_t count, double *mean,
                                 double *deviation)
{
    const rc_cl_plan *plan = plan_state;
    /* `deviation` holds the mean's second part meanwhile. */
    RC_TRY(read_statistics(plan, input, 0, first, count, mean));
    RC_TRY(read_statistics(plan, input, 1, first, count, deviation));
    for (int64_t k = 0; k < count; ++k)
        mean[k] += deviation[k];
    return read_statistics(plan, input, 2, first, count, deviation);
}

/* Make room for what finish leaves for the gradients. */
static ratecl_status make_coefficients(rc_cl_builder *b)
{
    const int64_t N = b->spec->inputs[RC_STATES].shape[2];
    RC_TRY(rc_cl_scratch_reals(b, 2 * N, &b->lines[RC_STATES]));
    RC_TRY(rc_cl_scratch_reals(b, 2 * N, &b->lines[RC_REFERENCE]));
    RC_TRY(rc_cl_scratch_reals(b, b->at.factors, &b->factors));
    return rc_cl_scratch_reals(b, (int64_t)b->spec->cotangent_count * N, &b->plan->cotangents);
}

ratecl_status rc_cl_add_finish(rc_cl_builder *b)
{
    rc_cl_plan *plan = b->plan;
    const rc_spec *spec = b->spec;
    const bool gradients = rc_wants_gradients(spec);
    const int reference = spec->uses[RC_REFERENCE] ? RC_REFERENCE : RC_STATES;
    const rc_cl_real R = rc_cl_real_of((double)rc_view_rows(&spec->inputs[RC_STATES]));
    const rc_cl_real R1 = rc_cl_real_of((double)rc_view_rows(&spec->inputs[reference]));
    const rc_cl_real one = rc_cl_real_of(1);
    const cl_int no = 0;
    if (gradients)
        RC_TRY(make_coefficients(b));
    const int64_t groups = rc_ceil_div(b->job[RC_JOB_NEURONS], b->job[RC_JOB_FINISH_COLUMNS]);
    rc_cl_step *step;
    plan->statistics[RC_STATES] = b->statistics[RC_STATES];
    plan->statistics[RC_REFERENCE] = b->statistics[RC_REFERENCE];
    RC_TRY(rc_cl_add_merge_launch(b, "finish", gradients ? groups : 1, &step));
    if (gradients)
        plan->coefficients = step->kernel;
    return SET_ARGUMENTS(
        step->kernel, 0, rc_cl_real_argument(plan, &one), ARGUMENT(no), ARGUMENT(b->none), ARGUMENT(no),
        ARGUMENT(b->none), ARGUMENT(b->packed_job), ARGUMENT(b->integers), ARGUMENT(b->reals),
        ARGUMENT(b->statistics[RC_STATES]), ARGUMENT(b->statistics[reference]), ARGUMENT(b->partials),
        rc_cl_real_argument(plan, &R), rc_cl_real_argument(plan, &R1), ARGUMENT(plan->results),
        ARGUMENT(b->lines[RC_STATES]), ARGUMENT(b->lines[RC_REFERENCE]), ARGUMENT(b->factors));
}

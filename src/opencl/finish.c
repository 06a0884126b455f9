/* SPDX-License-Identifier: Apache-2.0 */
/* The values: the terms packed for finish, and its launch. */
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
    FIRST,
    COUNT,
    FACTOR,
    COTANGENT,
    INTEGERS
};
enum { WEIGHT, TARGET, TARGET_LOW, REG, VAR_FLOOR, SCALE, REALS };
enum { SHARED = 4 }; /* what finish leaves of each term for its gradient */

/* Where a term's merged sums and its factor in the gradient lie, and what its value is divided by. */
static void pack_sums(const rc_cl_builder *b, const rc_term *term, cl_long *integers, double *scale)
{
    const int64_t *shape = b->spec->inputs[RC_STATES].shape;
    const double B = (double)shape[0], T = (double)shape[1], N = (double)shape[2];
    integers[COUNT] = shape[2];
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
        integers[FACTOR] = (cl_long)term->lag;
        *scale = 1 / (B * (T - (double)term->options.tau) * N);
        break;
    case RATECL_ENTROPY:
        integers[COUNT] = b->at.blocks;
        integers[FIRST] = b->at.entropies + (cl_long)term->entropy * b->at.blocks;
        integers[FACTOR] = (cl_long)(b->spec->lag_count + term->entropy);
        *scale = 1 / (B * T);
        break;
    case RATECL_HEBBIAN:
        *scale = 1 / (B * T);
        integers[COUNT] = term->options.over == RATECL_OVER_STEP ? b->at.groups : shape[0];
        integers[FIRST] = term->options.over == RATECL_OVER_STEP ? b->at.steps : b->at.batches;
        integers[FACTOR] = b->at.factors - 2 + (term->options.over == RATECL_OVER_STEP);
        break;
    }
}

static void pack_term(const rc_cl_builder *b, const rc_term *term, cl_long *integers, double *reals)
{
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
    reals[VAR_FLOOR] = o->var_floor;
    pack_sums(b, term, integers, &reals[SCALE]);
}

/* Doubles become reals of the plan's precision, in place. */
static ratecl_status narrow(const rc_cl_plan *plan, double *reals, size_t count)
{
    if (plan->real_bytes == sizeof(cl_double))
        return RATECL_OK;
    for (size_t k = 0; k < count; ++k) {
        if (fabs(reals[k]) > FLT_MAX)
            return rc_fail(RATECL_ERROR_ARGUMENT,
                           "options.terms[%zu] has a parameter of %g: expected one within the range of f32",
                           k / REALS, reals[k]);
        cl_float narrower = (cl_float)reals[k];
        if (k % REALS == VAR_FLOOR && reals[k] > 0 && narrower < FLT_MIN)
            narrower = FLT_MIN; /* a floor stays one */
        memcpy((char *)reals + k * sizeof narrower, &narrower, sizeof narrower);
    }
    return RATECL_OK;
}

static ratecl_status pack_terms(rc_cl_builder *b)
{
    const size_t count = b->spec->term_count;
    cl_long *integers = calloc(count * INTEGERS, sizeof *integers);
    double *reals = calloc(count * REALS, sizeof *reals);
    ratecl_status status =
        integers && reals ? RATECL_OK : rc_fail_memory(count * INTEGERS * sizeof *integers);
    if (status == RATECL_OK) {
        for (size_t k = 0; k < count; ++k)
            pack_term(b, &b->spec->terms[k], integers + k * INTEGERS, reals + k * REALS);
        status = narrow(b->plan, reals, count * REALS);
    }
    if (status == RATECL_OK)
        status = rc_cl_scratch(b, (int64_t)count * INTEGERS, sizeof *integers, integers, &b->integers);
    if (status == RATECL_OK)
        status = rc_cl_scratch(b, (int64_t)count * REALS, b->plan->real_bytes, reals, &b->reals);
    free(integers);
    free(reals);
    return status;
}

ratecl_status rc_cl_add_finish(rc_cl_builder *b)
{
    rc_cl_plan *plan = b->plan;
    const rc_spec *spec = b->spec;
    RC_TRY(pack_terms(b));
    if (rc_wants_gradients(spec))
        RC_TRY(rc_cl_scratch_reals(b, (int64_t)spec->term_count * SHARED + 2, &b->shared));

    const cl_int terms = (cl_int)spec->term_count;
    const cl_int has_moments = spec->moments, has_reference = spec->uses[RC_REFERENCE];
    const cl_long value_count = (cl_long)spec->value_count, N = spec->inputs[RC_STATES].shape[2];
    rc_cl_step *step;
    RC_TRY(rc_cl_add_launch(b, "finish", 1, &step));
    return SET_ARGUMENTS(step->kernel, 0, ARGUMENT(b->integers), ARGUMENT(b->reals), ARGUMENT(terms),
                         ARGUMENT(value_count), ARGUMENT(N), ARGUMENT(has_moments), ARGUMENT(has_reference),
                         ARGUMENT(b->statistics[RC_STATES]), ARGUMENT(b->statistics[RC_REFERENCE]),
                         ARGUMENT(b->sums), ARGUMENT(plan->values), ARGUMENT(plan->skipped),
                         ARGUMENT(b->shared));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The values: the terms packed for finish, and its launch. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "builder.h"

/* The numbers by which finish.cl calls a packed term's parts. */
enum { CRITERION, METRIC, SYMMETRIC, REDUCTION, LOG_SIGMA, SKIP, VALUE, FIRST, COUNT, PER_ITEM, INTEGERS };
enum { WEIGHT, TARGET, REG, VAR_FLOOR, SCALE, REALS };

/* Where a term's merged sums lie, and what its value is divided by. */
static void pack_sums(const rc_cl_builder *b, const rc_term *term, cl_long *integers, double *scale)
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
        integers[COUNT] = b->at.blocks;
        integers[FIRST] = b->at.entropies + (cl_long)term->entropy * b->at.blocks;
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
    reals[WEIGHT] = o->weight;
    reals[TARGET] = o->target;
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

static ratecl_status pack_terms(rc_cl_builder *b, cl_mem *integer_buffer, cl_mem *real_buffer)
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
        status = rc_cl_scratch(b, (int64_t)count * INTEGERS, sizeof *integers, integers, integer_buffer);
    if (status == RATECL_OK)
        status = rc_cl_scratch(b, (int64_t)count * REALS, b->plan->real_bytes, reals, real_buffer);
    free(integers);
    free(reals);
    return status;
}

ratecl_status rc_cl_add_finish(rc_cl_builder *b)
{
    rc_cl_plan *plan = b->plan;
    const rc_spec *spec = b->spec;
    cl_mem integers, reals;
    RC_TRY(pack_terms(b, &integers, &reals));
    RC_TRY(rc_cl_scratch_reals(b, (int64_t)spec->value_count + 1, &plan->values));
    RC_TRY(rc_cl_scratch(b, (int64_t)spec->term_count, sizeof(cl_long), NULL, &plan->skipped));

    const cl_int terms = (cl_int)spec->term_count;
    const cl_int has_moments = spec->moments, has_reference = spec->uses[RC_REFERENCE];
    const cl_long value_count = (cl_long)spec->value_count, N = spec->inputs[RC_STATES].shape[2];
    cl_mem statistics = b->statistics ? b->statistics : b->sums;
    cl_mem reference = b->reference_statistics ? b->reference_statistics : statistics;
    rc_cl_step *step;
    RC_TRY(rc_cl_add_launch(b, "finish", 1, &step));
    return SET_ARGUMENTS(step->kernel, 0, ARGUMENT(integers), ARGUMENT(reals), ARGUMENT(terms),
                         ARGUMENT(value_count), ARGUMENT(N), ARGUMENT(has_moments), ARGUMENT(has_reference),
                         ARGUMENT(statistics), ARGUMENT(reference), ARGUMENT(b->sums), ARGUMENT(plan->values),
                         ARGUMENT(plan->skipped));
}

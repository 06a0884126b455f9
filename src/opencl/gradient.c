/* SPDX-License-Identifier: Apache-2.0 */
/* The gradients: coefficients, then one write for each input. */
#include <math.h>
#include <stdio.h>

#include "builder.h"

/* The first arguments of coefficients are set by each evaluation. */
enum { FIRST_FIXED_ARGUMENT = 5 };

enum { STREAM_BYTES = 1 << 25 }; /* as much as a large cache holds */

static ratecl_status add_coefficients(rc_cl_builder *b)
{
    const rc_spec *spec = b->spec;
    const int reference = spec->uses[RC_REFERENCE] ? RC_REFERENCE : RC_STATES;
    const cl_int terms = (cl_int)spec->term_count, factor_count = (cl_int)b->at.factors;
    const cl_long N = spec->inputs[RC_STATES].shape[2];
    const rc_cl_real R = rc_cl_real_of((double)rc_view_rows(&spec->inputs[RC_STATES]));
    const rc_cl_real R1 = rc_cl_real_of((double)rc_view_rows(&spec->inputs[reference]));
    RC_TRY(rc_cl_scratch_reals(b, 2 * N, &b->lines[RC_STATES]));
    RC_TRY(rc_cl_scratch_reals(b, 2 * N, &b->lines[RC_REFERENCE]));
    RC_TRY(rc_cl_scratch_reals(b, b->at.factors, &b->factors));
    RC_TRY(rc_cl_scratch_reals(b, (int64_t)spec->cotangent_count * N, &b->plan->cotangents));
    rc_cl_step *step;
    RC_TRY(rc_cl_add_launch(b, "coefficients", rc_ceil_div(N, b->plan->tuning.merge_lanes), &step));
    b->plan->coefficients = step->kernel;
    return SET_ARGUMENTS(
        step->kernel, FIRST_FIXED_ARGUMENT, ARGUMENT(b->integers), ARGUMENT(b->reals), ARGUMENT(b->shared),
        ARGUMENT(terms), ARGUMENT(N), rc_cl_real_argument(b->plan, &R), rc_cl_real_argument(b->plan, &R1),
        ARGUMENT(b->statistics[RC_STATES]), ARGUMENT(b->statistics[RC_REFERENCE]), ARGUMENT(factor_count),
        ARGUMENT(b->lines[RC_STATES]), ARGUMENT(b->lines[RC_REFERENCE]), ARGUMENT(b->factors));
}

/* What the gradient to an input is made of, as in gradient.cl. */
typedef struct gradient_parts {
    bool reads, slopes;
    size_t lags, entropies;
    int product;
} gradient_parts;

/* Whether a gradient leaves the cache before anyone reads it. */
static bool is_large(const rc_cl_builder *b, int input)
{
    const rc_gradient *gradient = &b->plan->model->gradients[input];
    const uint64_t bytes = (uint64_t)gradient->view.extent * rc_element_bytes(gradient->view.element);
    return b->plan->context->limits.kind == RATECL_DEVICE_CPU && bytes >= STREAM_BYTES &&
           !gradient->accumulate;
}

static void gradient_options(const rc_cl_builder *b, int input, const gradient_parts *parts, char *options,
                             size_t bytes)
{
    const rc_spec *spec = b->spec;
    const rc_view *view = &spec->inputs[input];
    const rc_gradient *gradient = &spec->gradients[input];
    const rc_tuning *t = &b->plan->tuning;
    const bool along = (parts->reads && rc_is_along(view)) || rc_is_along(&gradient->view);
    snprintf(options, bytes,
             "-cl-std=CL1.2 -DPRECISION=%d -DELEMENT=%d -DCONTIGUOUS=%d -DALONG=%d -DLANES=%d -DVECTOR=%d "
             "-DVECTORS=%d "
             "-DSTEP=%d -DOUTPUT=%d -DOUTPUT_CONTIGUOUS=%d -DOUTPUT_ALONG=%d -DACCUMULATE=%d -DREADS=%d "
             "-DSLOPES=%d -DLAGS=%zu -DENTROPIES=%zu -DZERO_FIRST=%d -DPRODUCT=%d -DSTREAM=%d -DFETCH=%d",
             rc_precision_bits(spec), (int)view->element, rc_is_contiguous(view), rc_is_along(view),
             t->sweep_lanes, t->sweep_vector, t->sweep_vectors, along ? t->sweep_vector : t->gradient_step,
             gradient->view.element == RATECL_F64, rc_is_contiguous(&gradient->view),
             rc_is_along(&gradient->view), gradient->accumulate, parts->reads, parts->slopes, parts->lags,
             parts->entropies, rc_sweep_has_entropy(spec), parts->product, is_large(b, input),
             b->plan->context->limits.kind == RATECL_DEVICE_CPU);
}

static ratecl_status add_gradient(rc_cl_builder *b, int input, const gradient_parts *parts,
                                  int64_t block_rows)
{
    const rc_view *view = &b->spec->inputs[input];
    const rc_tuning *t = &b->plan->tuning;
    const cl_long T = view->shape[1], N = view->shape[2], R = rc_view_rows(view), rows = block_rows;
    const cl_long zero = 0, batches = b->at.batches;
    char options[480];
    gradient_options(b, input, parts, options, sizeof options);
    rc_cl_step *step;
    cl_mem epsilons;
    RC_TRY(rc_cl_scratch_epsilons(b, parts->entropies, &epsilons));
    RC_TRY(rc_cl_add_step(b, "gradient.cl", options, "gradient", t->sweep_lanes, &step));
    step->input = parts->reads ? input : RC_NO_INPUT;
    step->gradient = input;
    step->gradient_argument = 5;
    step->first_unit = 14;
    step->groups = rc_ceil_div(N, rc_cl_sweep_tile(t));
    step->units = rc_ceil_div(R, rows);
    step->unit_rows = rows;
    step->before = step->after = parts->lags ? rc_longest_lag(b->spec) : 0;
    const rc_cl_argument nothing_read[] = { ARGUMENT(b->none), ARGUMENT(zero), ARGUMENT(zero), ARGUMENT(zero),
                                            ARGUMENT(zero) };
    RC_TRY(rc_cl_set_arguments(step->kernel, 0, nothing_read, 5));
    return SET_ARGUMENTS(step->kernel, 10, ARGUMENT(T), ARGUMENT(N), ARGUMENT(R), ARGUMENT(rows),
                         ARGUMENT(zero), ARGUMENT(b->statistics[input]), ARGUMENT(b->lines[input]),
                         ARGUMENT(b->factors), ARGUMENT(b->taus), ARGUMENT(epsilons),
                         ARGUMENT(b->row_factors), ARGUMENT(b->block_exponents), ARGUMENT(b->product),
                         ARGUMENT(batches), ARGUMENT(b->sums), ARGUMENT(b->row_energies));
}

ratecl_status rc_cl_add_gradients(rc_cl_builder *b)
{
    const rc_spec *spec = b->spec;
    if (!rc_wants_gradients(spec))
        return RATECL_OK;
    RC_TRY(add_coefficients(b));
    if (spec->gradients[RC_STATES].wanted) {
        const gradient_parts parts = { spec->gradient_reads, spec->gradient_reads && spec->moments,
                                       spec->lag_count, spec->entropy_count, rc_hebbian_signs(spec) };
        RC_TRY(add_gradient(b, RC_STATES, &parts, b->at.block_rows));
    }
    if (spec->gradients[RC_REFERENCE].wanted) {
        const gradient_parts parts = { .reads = true, .slopes = true };
        RC_TRY(add_gradient(b, RC_REFERENCE, &parts, rc_cl_block_rows(b->plan, &spec->inputs[RC_REFERENCE])));
    }
    return spec->gradients[RC_WEIGHTS].wanted ? rc_cl_add_weights_gradient(b) : RATECL_OK;
}

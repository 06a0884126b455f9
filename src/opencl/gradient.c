/* SPDX-License-Identifier: Apache-2.0 */
/* The gradients: one write for each input. */
#include <stdio.h>

#include "builder.h"

enum { STREAM_BYTES = 1 << 25 }; /* as much as a large cache holds */

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

static void gradient_options(const rc_cl_builder *b, int input, const gradient_parts *parts,
                             const rc_cl_grid *grid, char *options, size_t bytes)
{
    const rc_spec *spec = b->spec;
    const rc_view *view = &spec->inputs[input];
    const rc_gradient *gradient = &spec->gradients[input];
    int used = rc_cl_grid_options(b->plan, grid, options, bytes);
    used += snprintf(
        options + used, bytes - (size_t)used,
        " -DELEMENT=%d -DOUTPUT=%d -DACCUMULATE=%d -DREADS=%d -DSLOPES=%d -DLAGS=%zu -DENTROPIES=%zu "
        "-DZERO_FIRST=%d -DPRODUCT=%d -DDIVERGENCE=%d",
        (int)view->element, gradient->view.element == RATECL_F64, gradient->accumulate, parts->reads,
        parts->slopes, parts->lags, parts->entropies, rc_sweep_has_entropy(spec), parts->product,
        spec->uses[RC_REFERENCE]);
    if (rc_is_cpu_family(&b->plan->tuning))
        snprintf(options + used, bytes - (size_t)used,
                 " -DCONTIGUOUS=%d -DOUTPUT_CONTIGUOUS=%d -DOUTPUT_ALONG=%d -DSTREAM=%d",
                 rc_is_contiguous(view), rc_is_contiguous(&gradient->view), rc_is_along(&gradient->view),
                 is_large(b, input));
}

static ratecl_status add_gradient(rc_cl_builder *b, int input, const gradient_parts *parts)
{
    const rc_view *view = &b->spec->inputs[input];
    const rc_cl_grid grid =
        rc_cl_gradient_grid(b->plan, parts->reads ? view : NULL, &b->spec->gradients[input].view);
    const cl_long T = view->shape[1], N = view->shape[2], R = rc_view_rows(view), rows = grid.block_rows,
                  zero = 0;
    char options[480];
    gradient_options(b, input, parts, &grid, options, sizeof options);
    rc_cl_step *step;
    cl_mem epsilons;
    const cl_long spoiled_place = rc_cl_spoiled_place(b->plan);
    RC_TRY(rc_cl_scratch_epsilons(b, parts->entropies, &epsilons));
    RC_TRY(rc_cl_add_step(b, "gradient.cl", options, "gradient", grid.across * grid.down, &step));
    step->input = parts->reads ? input : RC_NO_INPUT;
    step->gradient = input;
    step->gradient_argument = 5;
    step->first_unit = 14;
    step->end_unit = 15;
    step->groups = grid.tiles;
    step->units = grid.blocks;
    step->unit_rows = rows;
    step->after = parts->lags ? rc_longest_lag(b->spec) : 0;
    step->before = rc_round_up(step->after, RC_PIECE_UNIT);
    step->windows = 2 * (int)parts->lags;
    step->taus = 19;
    step->whole_taus = b->taus;
    const rc_cl_argument nothing_read[] = { ARGUMENT(b->none), ARGUMENT(zero), ARGUMENT(zero), ARGUMENT(zero),
                                            ARGUMENT(zero) };
    RC_TRY(rc_cl_set_arguments(step->kernel, 0, nothing_read, 5));
    return SET_ARGUMENTS(step->kernel, 10, ARGUMENT(T), ARGUMENT(N), ARGUMENT(R), ARGUMENT(rows),
                         ARGUMENT(zero), ARGUMENT(zero), ARGUMENT(b->statistics[input]),
                         ARGUMENT(b->lines[input]), ARGUMENT(b->factors), ARGUMENT(b->taus),
                         ARGUMENT(epsilons), ARGUMENT(b->row_factors), ARGUMENT(b->product),
                         ARGUMENT(b->batch_energies), ARGUMENT(b->row_energies), ARGUMENT(b->plan->results),
                         ARGUMENT(spoiled_place));
}

ratecl_status rc_cl_add_gradients(rc_cl_builder *b)
{
    const rc_spec *spec = b->spec;
    if (!rc_wants_gradients(spec))
        return RATECL_OK;
    if (spec->gradients[RC_STATES].wanted) {
        const gradient_parts parts = { spec->gradient_reads, spec->gradient_reads && spec->moments,
                                       spec->lag_count, spec->entropy_count, rc_hebbian_signs(spec) };
        RC_TRY(add_gradient(b, RC_STATES, &parts));
    }
    if (spec->gradients[RC_REFERENCE].wanted) {
        const gradient_parts parts = { .reads = true, .slopes = true };
        RC_TRY(add_gradient(b, RC_REFERENCE, &parts));
    }
    return spec->gradients[RC_WEIGHTS].wanted ? rc_cl_add_weights_gradient(b) : RATECL_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A step of an evaluation: launched whole, or in pieces of rows where its arrays are in host memory. Two
 * slots of device memory take turns, so that the host fills or empties one while the device works on the
 * other:
 *
 *   host    fill 0, fill 1          empty 0, fill 0          empty 1, fill 1 ...
 *   device          launch on 0     launch on 1              launch on 0     ...
 *
 * The host's half (staging.c) goes through a queue of its own; events tell each side when the other is done.
 */
#include "chain.h"

static ratecl_status enqueue_groups(rc_cl_chain *c, const rc_cl_step *step, int64_t groups)
{
    const size_t global = (size_t)groups * step->lanes;
    cl_event event;
    cl_event *wanted = rc_cl_chain_event(c, &event);
    CL_TRY(clEnqueueNDRangeKernel(c->plan->queue, step->kernel, 1, NULL, &global, &step->lanes, c->wait_count,
                                  c->wait_list, wanted));
    rc_cl_chain_on(c, event);
    return RATECL_OK;
}

/* Set the five arguments of an array from number `first` on. */
static ratecl_status set_array(const rc_cl_step *step, cl_uint first, cl_mem memory, cl_long offset,
                               const int64_t strides[3])
{
    CL_TRY(clSetKernelArg(step->kernel, first, sizeof memory, &memory));
    CL_TRY(clSetKernelArg(step->kernel, first + 1, sizeof offset, &offset));
    for (cl_uint axis = 0; axis < 3; ++axis) {
        const cl_long stride = strides[axis];
        CL_TRY(clSetKernelArg(step->kernel, first + 2 + axis, sizeof stride, &stride));
    }
    return RATECL_OK;
}

/* The units [first, end) of a step, in launches that every driver's counters hold. */
static ratecl_status enqueue_units(rc_cl_chain *c, const rc_cl_step *step, cl_long first, cl_long end)
{
    const int64_t most_groups = INT32_MAX / (int64_t)step->lanes;
    int64_t most_units = most_groups > step->groups ? most_groups / step->groups : 1;
    if (step->most_units && step->most_units < most_units)
        most_units = step->most_units;
    for (cl_long next; first < end; first = next) {
        next = end - first > most_units ? first + most_units : end;
        if (step->first_unit)
            CL_TRY(clSetKernelArg(step->kernel, step->first_unit, sizeof first, &first));
        if (step->end_unit)
            CL_TRY(clSetKernelArg(step->kernel, step->end_unit, sizeof next, &next));
        RC_TRY(enqueue_groups(c, step, (next - first) * step->groups));
    }
    return RATECL_OK;
}

/* ---- Rows ---- */

/* The rows of the units [first, end), and those before and after that they read. */
static rc_cl_rows rows_read(const rc_cl_step *step, const rc_view *view, int64_t first, int64_t end)
{
    const int64_t T = view->shape[1], per_batch = step->units_per_batch, last = end - 1;
    rc_cl_rows rows = { first * step->unit_rows, end * step->unit_rows };
    int64_t bound = rc_view_rows(view);
    if (per_batch) {
        rows.first = first / per_batch * T + first % per_batch * step->unit_rows;
        rows.end = last / per_batch * T + (last % per_batch + 1) * step->unit_rows;
        bound = (last / per_batch + 1) * T;
    }
    rows.first = rows.first > step->before ? rows.first - step->before : 0;
    rows.end = rows.end + step->after < bound ? rows.end + step->after : bound;
    return rows;
}

/* The rows that the units [first, end) write. */
static rc_cl_rows rows_written(const rc_cl_step *step, const rc_view *view, int64_t first, int64_t end)
{
    const int64_t R = rc_view_rows(view), last = end * step->unit_rows;
    return (rc_cl_rows){ first * step->unit_rows, last < R ? last : R };
}

/* ---- Slots ---- */

/* The device's turn: what is enqueued from here on finds what the host left there. */
static ratecl_status begin_turn(const rc_cl_chain *c, const rc_cl_slot *slot)
{
    if (slot->host_done)
        CL_TRY(clEnqueueBarrierWithWaitList(c->plan->queue, 1, &slot->host_done, NULL));
    return RATECL_OK;
}

static ratecl_status end_turn(const rc_cl_chain *c, rc_cl_slot *slot)
{
    cl_event event;
    CL_TRY(clEnqueueMarkerWithWaitList(c->plan->queue, c->wait_count, c->wait_list, &event));
    rc_cl_replace_event(&slot->device_done, event);
    CL_TRY(clFlush(c->plan->queue));
    return RATECL_OK;
}

static rc_cl_slot *next_slot(rc_cl_staging *staging)
{
    staging->turn = !staging->turn;
    return &staging->slots[staging->turn];
}

/* ---- Pieces ---- */

/* A step with the arrays that it reads and writes; NULL where there is none. */
typedef struct exchange_step {
    const rc_cl_step *step;
    const rc_view *input;
    const rc_cl_source *source;
    rc_cl_staging *in; /* NULL: the whole input is there */
    const rc_gradient *gradient;
    const rc_cl_sink *sink;
    rc_cl_staging *out;
} exchange_step;

static exchange_step exchange_of(rc_cl_plan *plan, const rc_cl_step *step, const rc_cl_exchange *exchange)
{
    exchange_step x = { .step = step };
    if (step->input != RC_NO_INPUT) {
        x.input = &plan->spec->inputs[step->input];
        x.source = &exchange->inputs[step->input];
        x.in = x.source->host ? &plan->staging[step->input] : NULL;
    }
    if (step->gradient != RC_NO_INPUT) {
        x.gradient = &plan->spec->gradients[step->gradient];
        x.sink = &exchange->gradients[step->gradient];
        x.out = x.sink->host ? &plan->gradient_staging[step->gradient] : NULL;
    }
    return x;
}

static bool has_windows(const exchange_step *x)
{
    return x->in && x->in->window_rows > 0 && x->step->windows > 0;
}

/* True if the units' input fits into a slot; one with windows has room for all rows around, there or not. */
static bool fits_in(const exchange_step *x, int64_t first, int64_t end)
{
    const rc_cl_step *step = x->step;
    const int64_t own = (end - first) * step->unit_rows;
    if (has_windows(x))
        return own <= x->in->window_rows && step->before + own + step->after <= x->in->rows;
    return !x->in || rc_cl_rows_count(rows_read(step, x->input, first, end)) <= x->in->rows;
}

static bool fits(const exchange_step *x, int64_t first, int64_t end)
{
    return fits_in(x, first, end) && (!x->out || rc_cl_rows_count(rows_written(x->step, &x->gradient->view,
                                                                               first, end)) <= x->out->rows);
}

/* The end of the piece that begins with unit `first`. */
static int64_t piece_end(const exchange_step *x, int64_t first)
{
    int64_t end = first + 1;
    if (fits(x, first, x->step->units))
        return x->step->units;
    while (end < x->step->units && fits(x, first, end + 1))
        ++end;
    return end;
}

/* Set the arguments of a piece: row `first_row` of the array would lie at the start of the memory. */
static ratecl_status set_piece(const rc_cl_step *step, cl_uint argument, const rc_cl_staging *staging,
                               cl_mem memory, const rc_view *view, int64_t first_row)
{
    const int64_t packed[3] = { view->shape[1] * view->shape[2], view->shape[2], 1 };
    return staging->in_place
               ? set_array(step, argument, memory, -first_row * rc_cl_row_pitch(view), view->strides)
               : set_array(step, argument, memory, -first_row * view->shape[2], packed);
}

/* Set the argument that says how far away a lag's rows are. */
static ratecl_status set_taus(const rc_cl_step *step, bool cut)
{
    const cl_mem *taus = cut ? &step->cut_taus : &step->whole_taus;
    if (step->cut_taus)
        CL_TRY(clSetKernelArg(step->kernel, step->taus, sizeof *taus, taus));
    return RATECL_OK;
}

/* Fill a slot's windows for the units [first, end): those of their rows a lag later or earlier that there
 * are. */
static ratecl_status fill_windows(const rc_cl_chain *c, const exchange_step *x, rc_cl_slot *slot,
                                  int64_t first, int64_t end)
{
    const rc_cl_rows own = rows_written(x->step, x->input, first, end);
    const int64_t R = rc_view_rows(x->input);
    for (int k = 0; k < x->step->windows; ++k) {
        const int64_t shift = rc_cl_window_shift(c->plan->spec, k), begin = own.first + shift;
        const rc_cl_rows rows = { begin > 0 ? begin : 0, own.end + shift < R ? own.end + shift : R };
        if (x->in->window_at[k] > 0 && rows.first < rows.end)
            RC_TRY(rc_cl_fill_slot(c->plan, x->in, slot, x->in->window_at[k] + rows.first - begin, x->input,
                                   (void *)x->source->host, rows));
    }
    return RATECL_OK;
}

/* Make the units' input ready and set its arguments. A slot with windows has the units' own rows always in
 * the same place. */
static ratecl_status bring_input(rc_cl_chain *c, const exchange_step *x, int64_t first, int64_t end)
{
    const rc_view *view = x->input;
    if (!view)
        return RATECL_OK;
    RC_TRY(set_taus(x->step, x->in != NULL));
    if (!x->in)
        return set_array(x->step, 0, x->source->memory, view->offset, view->strides);
    const bool windows = has_windows(x);
    const rc_cl_rows rows = rows_read(x->step, view, first, end);
    const int64_t origin = windows ? first * x->step->unit_rows - x->step->before : rows.first;
    rc_cl_slot *slot = next_slot(x->in);
    void *host = (void *)x->source->host;
    RC_TRY(x->in->in_place ? rc_cl_wrap_rows(c->plan, x->in, slot, CL_MEM_READ_ONLY, view, host, rows)
                           : rc_cl_fill_slot(c->plan, x->in, slot, rows.first - origin, view, host, rows));
    if (windows)
        RC_TRY(fill_windows(c, x, slot, first, end));
    RC_TRY(begin_turn(c, slot));
    return set_piece(x->step, 0, x->in, slot->memory, view, origin);
}

static ratecl_status bring_gradient(rc_cl_chain *c, const exchange_step *x, int64_t first, int64_t end)
{
    if (!x->gradient)
        return RATECL_OK;
    const rc_view *view = &x->gradient->view;
    const cl_uint argument = x->step->gradient_argument;
    if (!x->out) {
        const rc_view *there = x->sink->view ? x->sink->view : view;
        return set_array(x->step, argument, x->sink->memory, there->offset, there->strides);
    }
    const rc_cl_rows rows = rows_written(x->step, view, first, end);
    rc_cl_slot *slot = next_slot(x->out);
    if (x->out->in_place)
        RC_TRY(rc_cl_wrap_rows(c->plan, x->out, slot, CL_MEM_READ_WRITE, view, x->sink->host, rows));
    else if (x->gradient->accumulate)
        RC_TRY(rc_cl_fill_slot(c->plan, x->out, slot, 0, view, x->sink->host, rows));
    RC_TRY(begin_turn(c, slot));
    return set_piece(x->step, argument, x->out, slot->memory, view, rows.first);
}

/* The gradient of a piece that was launched; none before the first. */
static ratecl_status take_gradient(const rc_cl_chain *c, const exchange_step *x, rc_cl_slot *slot,
                                   rc_cl_rows rows)
{
    return slot ? rc_cl_empty_slot(c->plan, x->out, slot, &x->gradient->view, x->sink->host, rows)
                : RATECL_OK;
}

static ratecl_status enqueue_pieces(rc_cl_chain *c, const exchange_step *x)
{
    rc_cl_slot *launched = NULL; /* that holds a gradient, */
    rc_cl_rows rows = { 0, 0 };  /* of these rows */
    for (int64_t first = 0, end; first < x->step->units; first = end) {
        end = piece_end(x, first);
        RC_TRY(bring_input(c, x, first, end));
        RC_TRY(bring_gradient(c, x, first, end));
        RC_TRY(enqueue_units(c, x->step, first, end));
        if (x->in)
            RC_TRY(end_turn(c, &x->in->slots[x->in->turn]));
        if (x->out) {
            rc_cl_slot *slot = &x->out->slots[x->out->turn];
            RC_TRY(end_turn(c, slot));
            RC_TRY(take_gradient(c, x, launched, rows));
            launched = slot;
            rows = rows_written(x->step, &x->gradient->view, first, end);
        }
    }
    return take_gradient(c, x, launched, rows);
}

ratecl_status rc_cl_enqueue_step(rc_cl_chain *c, const rc_cl_step *step, const rc_cl_exchange *exchange)
{
    const exchange_step x = exchange_of(c->plan, step, exchange);
    return step->units ? enqueue_pieces(c, &x) : enqueue_groups(c, step, step->groups);
}

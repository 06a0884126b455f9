/* SPDX-License-Identifier: Apache-2.0 */
/* A step of an evaluation: launched whole, or in pieces of rows where its arrays are in host memory. Two
 * slots of device memory take turns, so that the host fills or empties one while the device works on the
 * other:
 *
 *   host    fill 0, fill 1          empty 0, fill 0          empty 1, fill 1 ...
 *   device          launch on 0     launch on 1              launch on 0     ...
 *
 * The host's half goes through a queue of its own; events tell each side when the other is through. */
#include <string.h>

#include "chain.h"

static ratecl_status enqueue_groups(rc_cl_chain *c, const rc_cl_step *step, int64_t groups)
{
    const size_t global = (size_t)groups * step->lanes;
    cl_event event;
    cl_event *wanted = rc_cl_chain_event(c, &event);
    CL_TRY(clEnqueueNDRangeKernel(c->plan->queue, step->kernel, 1, NULL, &global, &step->lanes,
                                  c->wait_count, c->wait_list, wanted));
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
        RC_TRY(enqueue_groups(c, step, (next - first) * step->groups));
    }
    return RATECL_OK;
}

/* ---- Rows ---- */

typedef struct row_range {
    int64_t first, end;
} row_range;

static int64_t count_of(row_range rows)
{
    return rows.end - rows.first;
}

/* The rows of the units [first, end), and those before and after that they read. */
static row_range rows_read(const rc_cl_step *step, const rc_view *view, int64_t first, int64_t end)
{
    const int64_t T = view->shape[1], per_batch = step->units_per_batch, last = end - 1;
    row_range rows = { first * step->unit_rows, end * step->unit_rows };
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
static row_range rows_written(const rc_cl_step *step, const rc_view *view, int64_t first, int64_t end)
{
    const int64_t R = rc_view_rows(view), last = end * step->unit_rows;
    return (row_range){ first * step->unit_rows, last < R ? last : R };
}

enum { BAND_ROWS = 16 };

static size_t row_bytes(const rc_view *view)
{
    return (size_t)view->shape[2] * rc_element_bytes(view->element);
}

int64_t rc_cl_row_pitch(const rc_view *view)
{
    const int64_t B = view->shape[0], T = view->shape[1], N = view->shape[2];
    const int64_t pitch = view->strides[T > 1 ? 1 : 0], step = view->strides[2];
    const bool even = B == 1 || T == 1 || view->strides[0] == T * pitch;
    if (B * T == 1)
        return even && step > 0 ? N * step : 0;
    return even && (step > 0 || N == 1) && pitch > (N - 1) * step ? pitch : 0;
}

typedef enum direction { PACK, UNPACK } direction;

static void copy(direction where, char *there, char *packed, size_t bytes)
{
    memcpy(where == PACK ? packed : there, where == PACK ? there : packed, bytes);
}

/* Rows of neighbours. */
static void copy_runs(direction where, const rc_view *view, char *host, row_range rows, char *packed)
{
    const int64_t T = view->shape[1], N = view->shape[2];
    const int64_t run = rc_cl_row_pitch(view) == N ? count_of(rows) : 1; /* rows that are neighbours, too */
    const size_t element = rc_element_bytes(view->element);
    for (int64_t row = rows.first; row < rows.end; row += run, packed += (size_t)run * row_bytes(view)) {
        const int64_t begin = view->offset + row / T * view->strides[0] + row % T * view->strides[1];
        copy(where, host + begin * (int64_t)element, packed, (size_t)run * row_bytes(view));
    }
}

/* Some rows whose neurons are apart; `element` is a constant wherever this is called. */
static inline void copy_band(direction where, const rc_view *view, char *host, row_range rows, char *packed,
                             const size_t element)
{
    const int64_t T = view->shape[1], N = view->shape[2], count = count_of(rows), size = (int64_t)element;
    int64_t begin[BAND_ROWS];
    for (int64_t r = 0; r < count; ++r)
        begin[r] =
            view->offset + (rows.first + r) / T * view->strides[0] + (rows.first + r) % T * view->strides[1];
    for (int64_t i = 0; i < N; ++i)
        for (int64_t r = 0; r < count; ++r)
            copy(where, host + (begin[r] + i * view->strides[2]) * size, packed + (r * N + i) * size,
                 element);
}

/* Copy rows of host memory into `packed`, side by side, or back. Neurons that are apart go in bands of rows,
 * so that a cache line serves more than one element where time is the fastest axis. */
static void copy_rows(direction where, const rc_view *view, char *host, row_range rows, char *packed)
{
    const size_t element = rc_element_bytes(view->element);
    if (view->strides[2] == 1 || view->shape[2] == 1) {
        copy_runs(where, view, host, rows, packed);
        return;
    }
    for (int64_t row = rows.first; row < rows.end; row += BAND_ROWS) {
        const row_range band = { row, row + BAND_ROWS < rows.end ? row + BAND_ROWS : rows.end };
        char *there = packed + (size_t)(row - rows.first) * row_bytes(view);
        switch (element) {
        case 1:
            copy_band(where, view, host, band, there, 1);
            break;
        case 2:
            copy_band(where, view, host, band, there, 2);
            break;
        case 4:
            copy_band(where, view, host, band, there, 4);
            break;
        default:
            copy_band(where, view, host, band, there, 8);
        }
    }
}

/* ---- Slots ---- */

static void replace_event(cl_event *held, cl_event event)
{
    if (*held)
        clReleaseEvent(*held);
    *held = event;
}

/* From the first element of the rows to the last one, in a slot. */
static size_t piece_bytes(const rc_cl_staging *staging, const rc_view *view, row_range rows)
{
    const size_t before = (size_t)(count_of(rows) - 1), element = rc_element_bytes(view->element);
    if (!staging->in_place)
        return (before + 1) * row_bytes(view);
    return (before * (size_t)rc_cl_row_pitch(view) + (size_t)((view->shape[2] - 1) * view->strides[2] + 1)) *
           element;
}

/* Rows of host memory as the slot's memory, where the device shares it. */
static ratecl_status wrap_rows(const rc_cl_chain *c, const rc_cl_staging *staging, rc_cl_slot *slot,
                               cl_mem_flags flags, const rc_view *view, void *host, row_range rows)
{
    const int64_t begin = view->offset + rows.first * rc_cl_row_pitch(view);
    if (slot->memory)
        clReleaseMemObject(slot->memory);
    cl_int code;
    slot->memory = clCreateBuffer(c->plan->context->context, flags | CL_MEM_USE_HOST_PTR,
                                  piece_bytes(staging, view, rows),
                                  (char *)host + begin * (int64_t)rc_element_bytes(view->element), &code);
    return slot->memory ? RATECL_OK : rc_cl_fail("clCreateBuffer", code);
}

/* The host's turn: copy rows into the slot or out of it, once the device is through with it. In a slot that
 * is the host's own memory, mapping it is all that there is to do. */
static ratecl_status copy_through(const rc_cl_chain *c, const rc_cl_staging *staging, rc_cl_slot *slot,
                                  direction where, const rc_view *view, void *host, row_range rows)
{
    cl_command_queue queue = c->plan->transfers;
    const cl_map_flags flags = where == PACK ? CL_MAP_WRITE_INVALIDATE_REGION : CL_MAP_READ;
    const cl_uint wait_count = slot->device_done != NULL;
    cl_int code;
    char *mapped =
        clEnqueueMapBuffer(queue, slot->memory, CL_TRUE, flags, 0, piece_bytes(staging, view, rows),
                           wait_count, wait_count ? &slot->device_done : NULL, NULL, &code);
    if (!mapped)
        return rc_cl_fail("clEnqueueMapBuffer", code);
    if (!staging->in_place)
        copy_rows(where, view, host, rows, mapped);
    cl_event event;
    CL_TRY(clEnqueueUnmapMemObject(queue, slot->memory, mapped, 0, NULL, &event));
    replace_event(&slot->host_done, event);
    CL_TRY(clFlush(queue));
    return RATECL_OK;
}

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
    replace_event(&slot->device_done, event);
    CL_TRY(clFlush(c->plan->queue));
    return RATECL_OK;
}

static rc_cl_slot *next_slot(rc_cl_staging *staging)
{
    staging->turn = !staging->turn;
    return &staging->slots[staging->turn];
}

static ratecl_status make_buffer(const rc_cl_plan *plan, cl_mem *memory, cl_mem_flags flags, size_t bytes)
{
    cl_int code = CL_SUCCESS;
    if (!*memory)
        *memory = clCreateBuffer(plan->context->context, flags, bytes, NULL, &code);
    return *memory ? RATECL_OK : rc_cl_fail("clCreateBuffer", code);
}

ratecl_status rc_cl_staging_make(rc_cl_plan *plan, rc_cl_staging *staging, const rc_view *view,
                                 cl_mem_flags flags)
{
    for (int k = 0; k < 2 && !staging->in_place; ++k)
        RC_TRY(make_buffer(plan, &staging->slots[k].memory, flags, (size_t)staging->rows * row_bytes(view)));
    return RATECL_OK;
}

void rc_cl_staging_reset(rc_cl_staging *staging)
{
    for (int k = 0; k < 2; ++k) {
        replace_event(&staging->slots[k].host_done, NULL);
        replace_event(&staging->slots[k].device_done, NULL);
        if (staging->in_place && staging->slots[k].memory) { /* the caller's, who may free it */
            clReleaseMemObject(staging->slots[k].memory);
            staging->slots[k].memory = NULL;
        }
    }
}

void rc_cl_staging_release(rc_cl_staging *staging)
{
    rc_cl_staging_reset(staging);
    for (int k = 0; k < 2; ++k)
        if (staging->slots[k].memory)
            clReleaseMemObject(staging->slots[k].memory);
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

static bool fits(const exchange_step *x, int64_t first, int64_t end)
{
    return (!x->in || count_of(rows_read(x->step, x->input, first, end)) <= x->in->rows) &&
           (!x->out || count_of(rows_written(x->step, &x->gradient->view, first, end)) <= x->out->rows);
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

/* The arguments of a piece: its first row is the memory's. */
static ratecl_status set_piece(const rc_cl_step *step, cl_uint argument, const rc_cl_staging *staging,
                               cl_mem memory, const rc_view *view, int64_t first_row)
{
    const int64_t packed[3] = { view->shape[1] * view->shape[2], view->shape[2], 1 };
    return staging->in_place
               ? set_array(step, argument, memory, -first_row * rc_cl_row_pitch(view), view->strides)
               : set_array(step, argument, memory, -first_row * view->shape[2], packed);
}

/* Make the units' input ready and set its arguments. */
static ratecl_status bring_input(rc_cl_chain *c, const exchange_step *x, int64_t first, int64_t end)
{
    const rc_view *view = x->input;
    if (!view)
        return RATECL_OK;
    if (!x->in)
        return set_array(x->step, 0, x->source->memory, view->offset, view->strides);
    const row_range rows = rows_read(x->step, view, first, end);
    rc_cl_slot *slot = next_slot(x->in);
    void *host = (void *)x->source->host;
    RC_TRY(x->in->in_place ? wrap_rows(c, x->in, slot, CL_MEM_READ_ONLY, view, host, rows)
                           : copy_through(c, x->in, slot, PACK, view, host, rows));
    RC_TRY(begin_turn(c, slot));
    return set_piece(x->step, 0, x->in, slot->memory, view, rows.first);
}

static ratecl_status bring_gradient(rc_cl_chain *c, const exchange_step *x, int64_t first, int64_t end)
{
    if (!x->gradient)
        return RATECL_OK;
    const rc_view *view = &x->gradient->view;
    const cl_uint argument = x->step->gradient_argument;
    if (!x->out)
        return set_array(x->step, argument, x->sink->memory, view->offset, view->strides);
    const row_range rows = rows_written(x->step, view, first, end);
    rc_cl_slot *slot = next_slot(x->out);
    if (x->out->in_place)
        RC_TRY(wrap_rows(c, x->out, slot, CL_MEM_READ_WRITE, view, x->sink->host, rows));
    else if (x->gradient->accumulate)
        RC_TRY(copy_through(c, x->out, slot, PACK, view, x->sink->host, rows));
    RC_TRY(begin_turn(c, slot));
    return set_piece(x->step, argument, x->out, slot->memory, view, rows.first);
}

/* The gradient of a piece that was launched; none before the first. */
static ratecl_status take_gradient(const rc_cl_chain *c, const exchange_step *x, rc_cl_slot *slot,
                                   row_range rows)
{
    return slot ? copy_through(c, x->out, slot, UNPACK, &x->gradient->view, x->sink->host, rows) : RATECL_OK;
}

static ratecl_status enqueue_pieces(rc_cl_chain *c, const exchange_step *x)
{
    rc_cl_slot *launched = NULL; /* that holds a gradient, */
    row_range rows = { 0, 0 };   /* of these rows */
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

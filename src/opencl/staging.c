/* SPDX-License-Identifier: Apache-2.0 */
/* Host memory on its way to the device and back.
 *
 * A device that shares the host's memory has arrays where they lie. Another one has copies, which go through
 * two slots of page-locked memory: threads fill one, or empty it, while the other is on the bus.
 *
 * Arrays too large for the device go through it in pieces of rows, which take turns in two slots of device
 * memory. */
#include "staging.h"

#include <string.h>

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

static void copy(rc_cl_direction where, char *there, char *packed, size_t bytes)
{
    memcpy(where == RC_PACK ? packed : there, where == RC_PACK ? there : packed, bytes);
}

/* Rows of neighbours. */
static void copy_runs(rc_cl_direction where, const rc_view *view, char *host, rc_cl_rows rows, char *packed)
{
    const int64_t T = view->shape[1], N = view->shape[2];
    const int64_t run =
        rc_cl_row_pitch(view) == N ? rc_cl_rows_count(rows) : 1; /* rows that are neighbours, too */
    const size_t element = rc_element_bytes(view->element);
    for (int64_t row = rows.first; row < rows.end; row += run, packed += (size_t)run * row_bytes(view)) {
        const int64_t begin = view->offset + row / T * view->strides[0] + row % T * view->strides[1];
        copy(where, host + begin * (int64_t)element, packed, (size_t)run * row_bytes(view));
    }
}

/* Some rows whose neurons are apart; `element` is a constant wherever this is called. */
static inline void copy_band(rc_cl_direction where, const rc_view *view, char *host, rc_cl_rows rows,
                             char *packed, const size_t element)
{
    const int64_t T = view->shape[1], N = view->shape[2], count = rc_cl_rows_count(rows),
                  size = (int64_t)element;
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
static void copy_rows(rc_cl_direction where, const rc_view *view, char *host, rc_cl_rows rows, char *packed)
{
    const size_t element = rc_element_bytes(view->element);
    if (view->strides[2] == 1 || view->shape[2] == 1) {
        copy_runs(where, view, host, rows, packed);
        return;
    }
    for (int64_t row = rows.first; row < rows.end; row += BAND_ROWS) {
        const rc_cl_rows band = { row, row + BAND_ROWS < rows.end ? row + BAND_ROWS : rows.end };
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

/* ---- Page-locked memory ---- */

enum {
    PINNED_BYTES = 8 << 20, /* takes many times what a transfer costs beside its bytes */
    SHARED_WORK = 1 << 18,  /* bytes from which on threads copy faster than one */
    PAGE = 4096,
};

ratecl_status rc_cl_make_buffer(const rc_cl_plan *plan, cl_mem *memory, cl_mem_flags flags, size_t bytes)
{
    cl_int code = CL_SUCCESS;
    if (!*memory)
        *memory = clCreateBuffer(plan->context->context, flags, bytes, NULL, &code);
    return *memory ? RATECL_OK : rc_cl_fail("clCreateBuffer", code);
}

void rc_cl_replace_event(cl_event *held, cl_event event)
{
    if (*held)
        clReleaseEvent(*held);
    *held = event;
}

/* Rows or bytes of host memory, side by side in `packed`. */
typedef struct transfer {
    rc_cl_direction where;
    const rc_cl_host_array *array;
    rc_cl_rows rows;
    char *packed;
} transfer;

static size_t unit_bytes(const rc_cl_host_array *array)
{
    return array->view ? row_bytes(array->view) : 1;
}

static void copy_part(void *argument, int part, int parts)
{
    const transfer *t = argument;
    const int64_t grain = t->array->view ? BAND_ROWS : PAGE, count = rc_cl_rows_count(t->rows);
    const int64_t grains = (count + grain - 1) / grain;
    const int64_t first = grains * part / parts * grain, end = grains * (part + 1) / parts * grain;
    const rc_cl_rows rows = { t->rows.first + first, t->rows.first + (end < count ? end : count) };
    char *packed = t->packed + (size_t)first * unit_bytes(t->array);
    if (rows.first >= rows.end)
        return;
    if (t->array->view)
        copy_rows(t->where, t->array->view, t->array->host, rows, packed);
    else
        copy(t->where, (char *)t->array->host + rows.first, packed, (size_t)rc_cl_rows_count(rows));
}

static void copy_all(const rc_cl_plan *plan, transfer *t)
{
    if ((size_t)rc_cl_rows_count(t->rows) * unit_bytes(t->array) < SHARED_WORK)
        copy_part(t, 0, 1);
    else
        rc_workers_run(plan->context->workers, copy_part, t);
}

static ratecl_status make_workers(rc_cl_context *context)
{
    pthread_mutex_lock(&context->lock);
    if (!context->workers)
        context->workers = rc_workers_create();
    const bool made = context->workers != NULL;
    pthread_mutex_unlock(&context->lock);
    return made ? RATECL_OK : rc_fail_memory(sizeof(void *));
}

/* Return how many bytes a slot of page-locked memory takes: no more than the plan's largest array or a
 * quarter of what may be staged, but a row of any array. */
static size_t choose_pinned_bytes(const rc_cl_plan *plan)
{
    uint64_t largest = 1, row = 1;
    for (int k = 0; k < RC_INPUT_COUNT; ++k) {
        const rc_gradient *gradient = &plan->spec->gradients[k];
        const rc_view *views[] = { plan->spec->uses[k] ? &plan->spec->inputs[k] : NULL,
                                   gradient->wanted ? &gradient->view : NULL };
        for (size_t v = 0; v < sizeof views / sizeof *views; ++v) {
            if (!views[v])
                continue;
            const uint64_t bytes = (uint64_t)views[v]->extent * rc_element_bytes(views[v]->element);
            largest = bytes > largest ? bytes : largest;
            row = row_bytes(views[v]) > row ? row_bytes(views[v]) : row;
        }
    }
    const uint64_t limit = plan->context->staging_limit / 4;
    uint64_t bytes = limit < PINNED_BYTES ? limit : PINNED_BYTES;
    bytes = bytes < largest ? bytes : largest;
    return (size_t)(bytes > row ? bytes : row);
}

static ratecl_status make_pinned(rc_cl_plan *plan)
{
    if (plan->pinned_bytes)
        return RATECL_OK;
    RC_TRY(make_workers(plan->context));
    const size_t bytes = choose_pinned_bytes(plan);
    for (int k = 0; k < 2; ++k) {
        rc_cl_pinned *slot = &plan->pinned[k];
        cl_int code = CL_SUCCESS;
        RC_TRY(rc_cl_make_buffer(plan, &slot->memory, CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR, bytes));
        if (!slot->host)
            slot->host = clEnqueueMapBuffer(plan->transfers, slot->memory, CL_TRUE,
                                            CL_MAP_READ | CL_MAP_WRITE, 0, bytes, 0, NULL, NULL, &code);
        if (!slot->host)
            return rc_cl_fail("clEnqueueMapBuffer", code);
    }
    plan->pinned_bytes = bytes;
    return RATECL_OK;
}

void rc_cl_pinned_release(rc_cl_plan *plan)
{
    for (int k = 0; k < 2; ++k) {
        rc_cl_pinned *slot = &plan->pinned[k];
        rc_cl_replace_event(&slot->done, NULL);
        if (slot->host)
            clEnqueueUnmapMemObject(plan->transfers, slot->memory, slot->host, 0, NULL, NULL);
        if (slot->memory)
            clReleaseMemObject(slot->memory);
    }
}

/* Wait for the transfer that uses a slot, if there is one. */
static ratecl_status wait_for(rc_cl_pinned *slot)
{
    const cl_int code = slot->done ? clWaitForEvents(1, &slot->done) : CL_SUCCESS;
    rc_cl_replace_event(&slot->done, NULL); /* a failed transfer is not waited for again */
    return code == CL_SUCCESS ? RATECL_OK : rc_cl_fail("clWaitForEvents", code);
}

/* Take the slot whose turn it is, when its last transfer is done. */
static ratecl_status next_pinned(rc_cl_plan *plan, rc_cl_pinned **slot)
{
    plan->pinned_turn = !plan->pinned_turn;
    *slot = &plan->pinned[plan->pinned_turn];
    return wait_for(*slot);
}

/* Return the rows from `first` on that a slot holds. */
static rc_cl_rows rows_at(const rc_cl_plan *plan, const rc_cl_host_array *array, int64_t first, int64_t end)
{
    const int64_t most = (int64_t)(plan->pinned_bytes / unit_bytes(array));
    return (rc_cl_rows){ first, end - first > most ? first + most : end };
}

ratecl_status rc_cl_send(rc_cl_plan *plan, const rc_cl_host_array *array, rc_cl_rows rows, cl_mem memory,
                         int64_t at, cl_event after, cl_event *sent)
{
    const size_t unit = unit_bytes(array);
    rc_cl_pinned *slot;
    int64_t first = rows.first;
    RC_TRY(make_pinned(plan));
    do {
        RC_TRY(next_pinned(plan, &slot));
        transfer t = { RC_PACK, array, rows_at(plan, array, first, rows.end), slot->host };
        copy_all(plan, &t);
        const cl_uint wait_count = first == rows.first && after; /* the queue is in order */
        CL_TRY(clEnqueueWriteBuffer(plan->transfers, memory, CL_FALSE,
                                    (size_t)(at + first - rows.first) * unit,
                                    (size_t)rc_cl_rows_count(t.rows) * unit, slot->host, wait_count,
                                    wait_count ? &after : NULL, &slot->done));
        CL_TRY(clFlush(plan->transfers));
        first = t.rows.end;
    } while (first < rows.end);
    CL_TRY(clRetainEvent(slot->done));
    *sent = slot->done;
    return RATECL_OK;
}

/* Unpack what has arrived in a slot, or is about to; nothing if there is no slot. */
static ratecl_status take(const rc_cl_plan *plan, rc_cl_pinned *slot, transfer *t)
{
    if (!slot)
        return RATECL_OK;
    RC_TRY(wait_for(slot));
    copy_all(plan, t);
    return RATECL_OK;
}

ratecl_status rc_cl_fetch(rc_cl_plan *plan, const rc_cl_host_array *array, rc_cl_rows rows, cl_mem memory,
                          cl_event after)
{
    const size_t unit = unit_bytes(array);
    rc_cl_pinned *before = NULL; /* the slot that is on its way, */
    transfer arriving;           /* with this */
    RC_TRY(make_pinned(plan));
    for (int64_t first = rows.first; first < rows.end;) {
        rc_cl_pinned *slot;
        RC_TRY(next_pinned(plan, &slot));
        const transfer t = { RC_UNPACK, array, rows_at(plan, array, first, rows.end), slot->host };
        const cl_uint wait_count = first == rows.first && after;
        CL_TRY(clEnqueueReadBuffer(plan->transfers, memory, CL_FALSE, (size_t)(first - rows.first) * unit,
                                   (size_t)rc_cl_rows_count(t.rows) * unit, slot->host, wait_count,
                                   wait_count ? &after : NULL, &slot->done));
        CL_TRY(clFlush(plan->transfers));
        RC_TRY(take(plan, before, &arriving));
        before = slot;
        arriving = t;
        first = t.rows.end;
    }
    return take(plan, before, &arriving);
}

/* ---- Slots ---- */

/* From the first element of the rows to the last one, in a slot. */
static size_t piece_bytes(const rc_cl_staging *staging, const rc_view *view, rc_cl_rows rows)
{
    const size_t before = (size_t)(rc_cl_rows_count(rows) - 1), element = rc_element_bytes(view->element);
    if (!staging->in_place)
        return (before + 1) * row_bytes(view);
    return (before * (size_t)rc_cl_row_pitch(view) + (size_t)((view->shape[2] - 1) * view->strides[2] + 1)) *
           element;
}

ratecl_status rc_cl_wrap_rows(const rc_cl_plan *plan, const rc_cl_staging *staging, rc_cl_slot *slot,
                              cl_mem_flags flags, const rc_view *view, void *host, rc_cl_rows rows)
{
    const int64_t begin = view->offset + rows.first * rc_cl_row_pitch(view);
    if (slot->memory)
        clReleaseMemObject(slot->memory);
    cl_int code;
    slot->memory =
        clCreateBuffer(plan->context->context, flags | CL_MEM_USE_HOST_PTR, piece_bytes(staging, view, rows),
                       (char *)host + begin * (int64_t)rc_element_bytes(view->element), &code);
    return slot->memory ? RATECL_OK : rc_cl_fail("clCreateBuffer", code);
}

/* A slot that lies in the host's memory: map it, and copy the rows unless they are what is mapped. */
static ratecl_status copy_mapped(const rc_cl_plan *plan, const rc_cl_staging *staging, rc_cl_slot *slot,
                                 rc_cl_direction where, int64_t at, const rc_view *view, void *host,
                                 rc_cl_rows rows)
{
    cl_command_queue queue = plan->transfers;
    const cl_map_flags flags = where == RC_PACK ? CL_MAP_WRITE_INVALIDATE_REGION : CL_MAP_READ;
    const cl_uint wait_count = slot->device_done != NULL;
    cl_int code;
    char *mapped = clEnqueueMapBuffer(queue, slot->memory, CL_TRUE, flags, (size_t)at * row_bytes(view),
                                      piece_bytes(staging, view, rows), wait_count,
                                      wait_count ? &slot->device_done : NULL, NULL, &code);
    if (!mapped)
        return rc_cl_fail("clEnqueueMapBuffer", code);
    if (!staging->in_place)
        copy_rows(where, view, host, rows, mapped);
    cl_event event;
    CL_TRY(clEnqueueUnmapMemObject(queue, slot->memory, mapped, 0, NULL, &event));
    rc_cl_replace_event(&slot->host_done, event);
    CL_TRY(clFlush(queue));
    return RATECL_OK;
}

ratecl_status rc_cl_fill_slot(rc_cl_plan *plan, const rc_cl_staging *staging, rc_cl_slot *slot, int64_t at,
                              const rc_view *view, void *host, rc_cl_rows rows)
{
    if (plan->shares_host_memory)
        return copy_mapped(plan, staging, slot, RC_PACK, at, view, host, rows);
    const rc_cl_host_array array = { view, host };
    cl_event sent;
    RC_TRY(rc_cl_send(plan, &array, rows, slot->memory, at, slot->device_done, &sent));
    rc_cl_replace_event(&slot->host_done, sent);
    return RATECL_OK;
}

ratecl_status rc_cl_empty_slot(rc_cl_plan *plan, const rc_cl_staging *staging, rc_cl_slot *slot,
                               const rc_view *view, void *host, rc_cl_rows rows)
{
    if (plan->shares_host_memory)
        return copy_mapped(plan, staging, slot, RC_UNPACK, 0, view, host, rows);
    const rc_cl_host_array array = { view, host };
    return rc_cl_fetch(plan, &array, rows, slot->memory, slot->device_done);
}

ratecl_status rc_cl_staging_make(rc_cl_plan *plan, rc_cl_staging *staging, const rc_view *view,
                                 cl_mem_flags flags)
{
    for (int k = 0; k < 2 && !staging->in_place; ++k)
        RC_TRY(rc_cl_make_buffer(plan, &staging->slots[k].memory, flags,
                                 (size_t)staging->slot_rows * row_bytes(view)));
    return RATECL_OK;
}

void rc_cl_staging_reset(rc_cl_staging *staging)
{
    for (int k = 0; k < 2; ++k) {
        rc_cl_replace_event(&staging->slots[k].host_done, NULL);
        rc_cl_replace_event(&staging->slots[k].device_done, NULL);
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

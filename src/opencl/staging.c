/* SPDX-License-Identifier: Apache-2.0 */
/* Host memory on its way to the device and back: rows are packed side by side into slots of device memory, or
 * wrapped where they lie if the device shares the host's memory. */
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

/* ---- Slots ---- */

void rc_cl_replace_event(cl_event *held, cl_event event)
{
    if (*held)
        clReleaseEvent(*held);
    *held = event;
}

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

ratecl_status rc_cl_copy_through(const rc_cl_plan *plan, const rc_cl_staging *staging, rc_cl_slot *slot,
                                 rc_cl_direction where, const rc_view *view, void *host, rc_cl_rows rows)
{
    cl_command_queue queue = plan->transfers;
    const cl_map_flags flags = where == RC_PACK ? CL_MAP_WRITE_INVALIDATE_REGION : CL_MAP_READ;
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
    rc_cl_replace_event(&slot->host_done, event);
    CL_TRY(clFlush(queue));
    return RATECL_OK;
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

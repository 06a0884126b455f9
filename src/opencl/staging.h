/* SPDX-License-Identifier: Apache-2.0 */
/* Host memory on its way to the device and back. */
#ifndef RATECL_SRC_OPENCL_STAGING_H
#define RATECL_SRC_OPENCL_STAGING_H

#include "cl.h"

typedef struct rc_cl_rows {
    int64_t first, end;
} rc_cl_rows;

static inline int64_t rc_cl_rows_count(rc_cl_rows rows)
{
    return rows.end - rows.first;
}

/* An array in host memory: its rows, as they are numbered in C order; or its bytes, where `view` is NULL, and
 * then the numbers are of bytes. */
typedef struct rc_cl_host_array {
    const rc_view *view;
    void *host;
} rc_cl_host_array;

/* Send rows, side by side, to `memory` from its row `at` on, after the event `after` unless that is NULL.
 * Returns when the host's memory has been read; `*sent`, which the caller releases, is complete when the
 * device has it. */
ratecl_status rc_cl_send(rc_cl_plan *plan, const rc_cl_host_array *array, rc_cl_rows rows, cl_mem memory,
                         int64_t at, cl_event after, cl_event *sent);
/* Fetch rows, side by side at the start of `memory`, after the event `after` unless that is NULL. Returns
 * when the host's memory has been written. */
ratecl_status rc_cl_fetch(rc_cl_plan *plan, const rc_cl_host_array *array, rc_cl_rows rows, cl_mem memory,
                          cl_event after);
void rc_cl_pinned_release(rc_cl_plan *plan);

typedef enum rc_cl_direction { RC_PACK, RC_UNPACK } rc_cl_direction;

/* Elements from one row to the next, where every row ends before the next begins and all are so far apart;
 * else 0. */
int64_t rc_cl_row_pitch(const rc_view *view);

/* Make the plan's device memory for the pieces of an array of these rows. */
ratecl_status rc_cl_staging_make(rc_cl_plan *plan, rc_cl_staging *staging, const rc_view *view,
                                 cl_mem_flags flags);
/* Forget what an evaluation left of its pieces; nothing of it may be in flight. */
void rc_cl_staging_reset(rc_cl_staging *staging);
void rc_cl_staging_release(rc_cl_staging *staging);

/* Make rows of host memory the slot's memory, where the device shares it. */
ratecl_status rc_cl_wrap_rows(const rc_cl_plan *plan, const rc_cl_staging *staging, rc_cl_slot *slot,
                              cl_mem_flags flags, const rc_view *view, void *host, rc_cl_rows rows);

/* Copy rows of host memory into the slot, from its row `at` on, after the device is done with it. */
ratecl_status rc_cl_fill_slot(rc_cl_plan *plan, const rc_cl_staging *staging, rc_cl_slot *slot, int64_t at,
                              const rc_view *view, void *host, rc_cl_rows rows);
/* Copy rows from the start of the slot into host memory, after the device is done with it. A slot that is the
 * host's own memory is only mapped. */
ratecl_status rc_cl_empty_slot(rc_cl_plan *plan, const rc_cl_staging *staging, rc_cl_slot *slot,
                               const rc_view *view, void *host, rc_cl_rows rows);

/* Return how many rows lie from a row to that which has its place in window `k`: later ones for each lag,
 * then earlier ones. */
static inline int64_t rc_cl_window_shift(const rc_spec *spec, int k)
{
    const int count = (int)spec->lag_count;
    return k < count ? spec->lags[k] : -spec->lags[k - count];
}

/* Make a buffer in `*memory` unless there is one. */
ratecl_status rc_cl_make_buffer(const rc_cl_plan *plan, cl_mem *memory, cl_mem_flags flags, size_t bytes);

/* Release the event that is held and hold another one, or NULL. */
void rc_cl_replace_event(cl_event *held, cl_event event);

#endif

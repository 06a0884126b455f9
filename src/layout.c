/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "plan.h"

void ratecl_layout_init_sized(ratecl_layout *layout, size_t size, ratecl_element element, int64_t B,
                              int64_t T, int64_t N)
{
    const ratecl_layout defaults = RATECL_LAYOUT_INIT(element, B, T, N);
    rc_struct_init(layout, size, &defaults, sizeof defaults);
}

static ratecl_status shape_check(const ratecl_layout *layout, const char *name)
{
    int64_t elements = 1;
    for (int axis = 0; axis < 3; ++axis) {
        if (layout->shape[axis] < 1)
            return rc_fail(RATECL_ERROR_ARGUMENT, "%s.shape[%d] is %" PRId64 ": expected at least 1", name,
                           axis, layout->shape[axis]);
        if (__builtin_mul_overflow(elements, layout->shape[axis], &elements) || elements > INT64_MAX / 8)
            return rc_fail(RATECL_ERROR_ARGUMENT,
                           "%s.shape is (%" PRId64 ", %" PRId64 ", %" PRId64
                           "): expected a product of which the bytes fit in 63 bits",
                           name, layout->shape[0], layout->shape[1], layout->shape[2]);
    }
    return RATECL_OK;
}

/* The lowest and the highest index that b, t and i reach, from the offset on. */
static bool index_range(const rc_view *view, int64_t *low, int64_t *high)
{
    *low = *high = view->offset;
    for (int axis = 0; axis < 3; ++axis) {
        int64_t reach, *end = view->strides[axis] < 0 ? low : high;
        if (__builtin_mul_overflow(view->shape[axis] - 1, view->strides[axis], &reach) ||
            __builtin_add_overflow(*end, reach, end))
            return false;
    }
    return *high < INT64_MAX / 8;
}

ratecl_status rc_view_check(const ratecl_layout *given, const char *name, rc_view *view)
{
    ratecl_layout layout = RATECL_LAYOUT_INIT(RATECL_F32, 0, 0, 0);
    RC_TRY(RC_OPTIONS(&layout, given, name));
    if ((unsigned)layout.element > RATECL_U8)
        return rc_fail(RATECL_ERROR_ARGUMENT,
                       "%s.element is %d: expected RATECL_F32, RATECL_F64, RATECL_F16 or RATECL_U8", name,
                       (int)layout.element);
    RC_TRY(shape_check(&layout, name));

    const int64_t bytes = (int64_t)rc_element_bytes(layout.element);
    if (layout.offset < 0 || layout.offset % bytes != 0)
        return rc_fail(RATECL_ERROR_ARGUMENT,
                       "%s.offset is %" PRId64 ": expected a multiple of the element's %" PRId64
                       " bytes that is not negative",
                       name, layout.offset, bytes);

    *view = (rc_view){ .element = layout.element, .offset = layout.offset / bytes };
    memcpy(view->shape, layout.shape, sizeof view->shape);
    memcpy(view->strides, layout.strides, sizeof view->strides);
    if (!layout.strides[0] && !layout.strides[1] && !layout.strides[2]) {
        view->strides[2] = 1;
        view->strides[1] = layout.shape[2];
        view->strides[0] = layout.shape[1] * layout.shape[2];
    }
    int64_t low, high;
    if (!index_range(view, &low, &high) || low < 0)
        return rc_fail(RATECL_ERROR_ARGUMENT,
                       "%s.strides are (%" PRId64 ", %" PRId64 ", %" PRId64 ") with offset %" PRId64
                       ": expected every element to lie at or after the start of the memory, within 63 bits",
                       name, view->strides[0], view->strides[1], view->strides[2], layout.offset);
    view->extent = high + 1;
    return RATECL_OK;
}

/* Whether the axes, from the closest neighbours to the farthest, each step over all that the ones before
 * reach. */
static bool is_distinct(const rc_view *view)
{
    int order[3] = { 0, 1, 2 };
    for (int k = 0; k < 2; ++k)
        for (int axis = 0; axis < 2; ++axis)
            if (llabs(view->strides[order[axis]]) > llabs(view->strides[order[axis + 1]])) {
                const int farther = order[axis];
                order[axis] = order[axis + 1];
                order[axis + 1] = farther;
            }
    int64_t reach = 0;
    for (int k = 0; k < 3; ++k) {
        const int64_t count = view->shape[order[k]], stride = llabs(view->strides[order[k]]);
        if (count > 1 && stride <= reach)
            return false;
        reach += count > 1 ? (count - 1) * stride : 0;
    }
    return true;
}

ratecl_status rc_view_check_output(const rc_view *view, const char *name)
{
    if (view->element != RATECL_F32 && view->element != RATECL_F64)
        return rc_fail(RATECL_ERROR_ARGUMENT, "%s.element is %d: expected RATECL_F32 or RATECL_F64", name,
                       (int)view->element);
    if (!is_distinct(view))
        return rc_fail(RATECL_ERROR_ARGUMENT,
                       "%s.strides are (%" PRId64 ", %" PRId64 ", %" PRId64
                       "): expected each axis to step over what the closer ones reach",
                       name, view->strides[0], view->strides[1], view->strides[2]);
    return RATECL_OK;
}

uint64_t ratecl_layout_bytes(const ratecl_layout *layout)
{
    rc_view view = { .extent = 0 };
    if (!layout || rc_view_check(layout, "layout", &view) != RATECL_OK)
        return 0;
    return (uint64_t)view.extent * rc_element_bytes(view.element);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Compile-time parameters of the kernels, by the kind of device. */
#ifndef RATECL_SRC_OPENCL_TUNING_H
#define RATECL_SRC_OPENCL_TUNING_H

#include "../plan.h"

/* What bounds the choice. */
typedef struct rc_device_limits {
    ratecl_device_kind kind;
    const char *device, *platform; /* their names */
    size_t group_lanes;            /* the largest work-group */
    size_t local_bytes;
    size_t vector_bytes; /* of the widest native vector */
    int64_t compute_units;
} rc_device_limits;

/* Named as in the kernels. */
typedef struct rc_tuning {
    int32_t sweep_lanes, sweep_vector, sweep_vectors, sweep_step;
    int32_t gradient_step; /* sweep_step of the kernel that writes too */
    int32_t sweep_rows;    /* most rows of a block */
    int32_t merge_lanes;
    int32_t tile_lanes, tile_vector, tile, across, down, depth, panel;
    int32_t chunk_steps;
} rc_tuning;

enum { RC_TUNING_BYTES = 640 }; /* of all parameters as text, "sweep_lanes=1,..." */

/* Set single parameters from text, which is said to be in `source`. Errors: ARGUMENT. */
ratecl_status rc_tuning_apply(rc_tuning *tuning, const char *text, const char *source);

/* All parameters as text. */
void rc_tuning_print(const rc_tuning *tuning, char text[RC_TUNING_BYTES]);

/* What the table has for the device; then `tuned` on it, what was found on this very device, or ""; then the
 * environment's RATECL_TUNING; all within the device's limits. */
ratecl_status rc_tuning_choose(const rc_device_limits *limits, ratecl_precision precision, const char *tuned,
                               rc_tuning *tuning);

#endif

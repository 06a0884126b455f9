/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel sets: which kernels a class of device gets, and their compile-time parameters. */
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
} rc_device_limits;

/* Two families of kernels read the states: one work-item per work-group with long vectors, for the caches of
 * CPUs, and work-groups of across x down work-items, for the memory of GPUs. Both leave the same partial
 * sums. */
typedef enum rc_family { RC_FAMILY_CPU, RC_FAMILY_GPU } rc_family;

/* Named as in the kernels. A parameter that only the other family has is 0, but a number of work-items is 1.
 */
typedef struct rc_tuning {
    int32_t set; /* number of the kernel set, see rc_kernel_set_of() */
    int32_t sweep_lanes, sweep_vector, sweep_step;
    int32_t gradient_step;             /* sweep_step of the kernel that writes too */
    int32_t sweep_vectors, sweep_rows; /* CPU: vectors of a work-item; the most rows of a block */
    int32_t sweep_across;              /* GPU: the most work-items of a group side by side in a row */
    int32_t sweep_rounds,
        gradient_rounds; /* GPU: the most times that a work-item takes its step of rows in a block */
    int32_t merge_lanes, merge_vector;
    int32_t tile_lanes, tile, depth, chunk_steps;
    int32_t tile_vector, across, down, panel; /* CPU */
} rc_tuning;

/* A row of the table of kernel sets. */
typedef struct rc_kernel_set {
    const char *name;
    rc_family family;
    const char *folder;  /* of the family's kernels */
    const char *options; /* more compile options of all its kernels, or "" */
    rc_tuning tuning;
} rc_kernel_set;

const rc_kernel_set *rc_kernel_set_of(const rc_tuning *tuning);

static inline bool rc_is_cpu_family(const rc_tuning *tuning)
{
    return rc_kernel_set_of(tuning)->family == RC_FAMILY_CPU;
}

enum { RC_TUNING_BYTES = 640 }; /* of all parameters as text, "set=gpu,sweep_lanes=256,..." */

/* Parse "set=NAME,parameter=number,...": `set=` replaces all parameters by the set's, so it comes first.
 * `source` names the text's origin in error messages. Errors: ARGUMENT. */
ratecl_status rc_tuning_apply(rc_tuning *tuning, const char *text, const char *source);

/* Write all parameters of the tuning's family as text. */
void rc_tuning_print(const rc_tuning *tuning, char text[RC_TUNING_BYTES]);

/* Choose what the table has for the device; then apply `tuned`, what was found on this very device, or "";
 * then the environment's RATECL_TUNING; all within the device's limits. */
ratecl_status rc_tuning_choose(const rc_device_limits *limits, ratecl_precision precision, const char *tuned,
                               rc_tuning *tuning);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The OpenMP path's contexts and plans. */
#ifndef RATECL_SRC_CPU_PATH_H
#define RATECL_SRC_CPU_PATH_H

#include "cpu.h"

enum { RC_MOST_BLOCKS = 32 /* of a plan's memory */ };

typedef struct rc_cpu_context {
    int threads;
    const rc_cpu_isa *isa;
} rc_cpu_context;

typedef struct rc_cpu_plan {
    rc_spec spec;
    int threads;         /* that there is scratch for */
    int running_threads; /* of the evaluation: all of them, or one */
    const rc_cpu_passes *passes;
    bool sweeps[2]; /* of RC_STATES and RC_REFERENCE */
    rc_cpu_sweep sweep[2];
    rc_cpu_entropy entropy;
    rc_cpu_correlation correlation;
    rc_cpu_weights weights;
    rc_cpu_gradient gradient[2];
    rc_cpu_coefficients coefficients;
    double *lags;      /* (lag_count) */
    double *entropies; /* (entropy_count) */
    double
        *batch_forms; /* (B): sum_ij W_ij S_i S_j of all the batch's rows; NULL where no gradient needs it */
    size_t scratch_bytes; /* of one thread */
    char *scratch;        /* (threads, scratch_bytes) */
    void *blocks[RC_MOST_BLOCKS];
    int block_count;
} rc_cpu_plan;

ratecl_status rc_cpu_plan_create(void *context_state, const rc_spec *spec, void **plan_state);
void rc_cpu_plan_release(void *plan_state);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The table of one variant. */
#include "variant.h"

const rc_cpu_passes rc_cpu_passes_table = { .real_bytes = sizeof(real),
                                            .panel = 2 * RC_VECTOR_BYTES / (int64_t)sizeof(real),
                                            .sweep_scratch = rc_sweep_scratch,
                                            .gradient_scratch = rc_gradient_scratch,
                                            .sweep = rc_sweep_task,
                                            .entropy = rc_entropy_task,
                                            .fold = rc_fold_task,
                                            .batch = rc_batch_task,
                                            .step = rc_step_task,
                                            .product = rc_product_task,
                                            .weights = rc_weights_task,
                                            .weights_gradient = rc_weights_gradient_task,
                                            .gradient = rc_gradient_task };

/* SPDX-License-Identifier: Apache-2.0 */
/* The hot passes are compiled once for each instruction set and each type of real. RC_VARIANT, such as
 * avx512_f32, ends every name they export; RC_REAL_BITS is 32 or 64. */
#ifndef RATECL_SRC_CPU_VARIANT_H
#define RATECL_SRC_CPU_VARIANT_H

#include "cpu.h"

#define RC_JOIN_(a, b) a##_##b
#define RC_JOIN(a, b) RC_JOIN_(a, b)
#define RC_NAME(name) RC_JOIN(name, RC_VARIANT)

#if RC_REAL_BITS == 64
typedef double real;
#else
typedef float real;
#endif

#if defined(__AVX512F__)
#define RC_VECTOR_BYTES 64
#elif defined(__AVX__)
#define RC_VECTOR_BYTES 32
#else
#define RC_VECTOR_BYTES 16
#endif

#define rc_cpu_passes_table RC_NAME(rc_cpu_passes)
#define rc_tile_load RC_NAME(rc_tile_load)
#define rc_tile_store RC_NAME(rc_tile_store)
#define rc_tile_store_end RC_NAME(rc_tile_store_end)
#define rc_sweep_task RC_NAME(rc_sweep_task)
#define rc_sweep_scratch RC_NAME(rc_sweep_scratch)
#define rc_entropy_task RC_NAME(rc_entropy_task)
#define rc_fold_task RC_NAME(rc_fold_task)
#define rc_batch_task RC_NAME(rc_batch_task)
#define rc_step_task RC_NAME(rc_step_task)
#define rc_product_task RC_NAME(rc_product_task)
#define rc_weights_task RC_NAME(rc_weights_task)
#define rc_weights_gradient_task RC_NAME(rc_weights_gradient_task)
#define rc_gradient_scratch RC_NAME(rc_gradient_scratch)
#define rc_gradient_task RC_NAME(rc_gradient_task)

extern const rc_cpu_passes rc_cpu_passes_table;
void rc_sweep_task(const void *sweep, int64_t task, void *scratch);
size_t rc_sweep_scratch(void);
void rc_entropy_task(const void *entropy, int64_t task, void *scratch);
void rc_fold_task(const void *correlation, int64_t task, void *scratch);
void rc_batch_task(const void *correlation, int64_t task, void *scratch);
void rc_step_task(const void *correlation, int64_t task, void *scratch);
void rc_product_task(const void *correlation, int64_t task, void *scratch);
void rc_weights_task(const void *weights, int64_t task, void *scratch);
void rc_weights_gradient_task(const void *weights, int64_t panel, void *scratch);
size_t rc_gradient_scratch(size_t lag_count);
void rc_gradient_task(const void *gradient, int64_t task, void *scratch);

#endif

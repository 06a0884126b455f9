/* SPDX-License-Identifier: Apache-2.0 */
/* Host memory that all lines share: the same random numbers in each run, made when they are first used. */
#ifndef RATECL_BENCH_ARRAYS_H
#define RATECL_BENCH_ARRAYS_H

#include <stddef.h>

#include <ratecl/ratecl.h>

typedef enum array {
    STATES_F32,
    STATES_F16,
    STATES_U8,
    REFERENCE_F32,
    REFERENCE_F16,
    REFERENCE_U8,
    WEIGHTS,
    GRADIENT_STATES,
    GRADIENT_WEIGHTS,
    ARRAYS,
    NO_ARRAY = -1
} array;

typedef struct arrays {
    size_t bytes[ARRAYS]; /* how many the largest line uses */
    void *memory[ARRAYS];
} arrays;

size_t element_bytes(ratecl_element element);
array states_of(ratecl_element element);
array reference_of(ratecl_element element);

/* Make room for so many bytes, before the array's first use. */
void reserve(arrays *host, array which, size_t bytes);
/* The array, made if need be; NULL for NO_ARRAY. */
void *memory_for(arrays *host, array which);
void release_arrays(arrays *host);

#endif

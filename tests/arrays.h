/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays to test with: every kind of states, in every element type and layout. */
#ifndef RATECL_TESTS_ARRAYS_H
#define RATECL_TESTS_ARRAYS_H

#include <ratecl/ratecl.h>

typedef enum array_kind {
    ARRAY_RATES,          /* positive, skewed */
    ARRAY_SPIKES,         /* mostly 0, some 1 and 2 */
    ARRAY_CONSTANT,       /* 0.1 everywhere: the sum of R copies rounds, the variance is 0 all the same */
    ARRAY_NEURONS,        /* constant in time, different for each neuron */
    ARRAY_SILENT_ROWS,    /* rates, every third row 0 */
    ARRAY_SILENT_NEURONS, /* rates, every third neuron 0 */
    ARRAY_SILENT,         /* 0 everywhere */
    ARRAY_HUGE_MEAN,      /* |mean| / sd = 1e3; two such arrays differ in mean by about a sd */
    ARRAY_OUTLIER,        /* rates, the first row 1e4 times as large */
    ARRAY_RAMP,           /* growing in time */
    ARRAY_VOLTAGE,        /* around -65: outside entropy's domain */
    ARRAY_KIND_COUNT,
    ARRAY_WEIGHTS = ARRAY_KIND_COUNT, /* of both signs: for W, no states */
} array_kind;
extern const char *const array_kind_names[];

typedef enum array_order {
    ORDER_C, /* strides left 0 */
    ORDER_OFFSET,
    ORDER_PADDED,
    ORDER_TIME_FIRST,
    ORDER_NEURON_FIRST,
    ORDER_FORTRAN,
    ORDER_EVERY_OTHER, /* elements of the fastest axis two apart */
    ORDER_TIME_REVERSED,
    ORDER_REVERSED,
    ORDER_BATCH_REPEATED, /* batch stride 0 */
    ORDER_COUNT
} array_order;
extern const char *const array_order_names[];

enum { ELEMENT_COUNT = 4 };
extern const char *const array_element_names[ELEMENT_COUNT];
extern const size_t array_element_bytes[ELEMENT_COUNT];

typedef struct array_spec {
    int64_t shape[3]; /* B, T, N */
    array_kind kind;
    ratecl_element element;
    array_order order;
    ratecl_precision precision; /* what `values` are rounded to after the element */
    uint64_t seed;
    int exponent;        /* all elements are multiplied by 2^exponent, */
    int neuron_exponent; /* and those of every fourth neuron by 2^neuron_exponent, too */
} array_spec;

typedef struct array {
    ratecl_layout layout;
    void *memory; /* gaps hold a pattern that is NaN in every floating-point type */
    uint64_t bytes;
    double *values; /* (B,T,N) in C order: exactly what the arithmetic sees */
} array;

void array_make(array *made, const array_spec *spec);
void array_free(array *made);

/* Bytes from the start of the memory to element (b,t,i). */
int64_t array_place(const ratecl_layout *layout, int64_t b, int64_t t, int64_t i);

/* One element in memory, rounded to its type to nearest, ties to even; u8 saturates. */
void array_store(ratecl_element element, void *place, double value);
double array_load(ratecl_element element, const void *place);

#endif

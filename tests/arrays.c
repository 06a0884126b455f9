/* SPDX-License-Identifier: Apache-2.0 */
#include "arrays.h"

#include "suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const array_element_names[ELEMENT_COUNT] = { "f32", "f64", "f16", "u8" };
const size_t array_element_bytes[ELEMENT_COUNT] = { 4, 8, 2, 1 };

/* ---- Elements ---- */

static uint16_t half_from_double(double value)
{
    const uint16_t sign = signbit(value) ? 0x8000 : 0;
    const double magnitude = fabs(value);
    if (isnan(value))
        return 0x7e00;
    if (magnitude >= 65520) /* rounds above the largest, 65504 */
        return sign | 0x7c00;
    int exponent;
    frexp(magnitude, &exponent);
    /* 11 significant bits, subnormals in steps of 2^-24. A carry out of the significand is one into the
       exponent, which the addition does. */
    const int step = magnitude == 0 || exponent - 11 < -24 ? -24 : exponent - 11;
    const int significand = (int)nearbyint(ldexp(magnitude, -step));
    return (uint16_t)(sign | (((step + 24) << 10) + significand));
}

static double half_to_double(uint16_t half)
{
    const int exponent = half >> 10 & 31, fraction = half & 1023;
    double magnitude;
    if (exponent == 31)
        magnitude = fraction ? (double)NAN : (double)INFINITY;
    else
        magnitude = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
    return half & 0x8000 ? -magnitude : magnitude;
}

void array_store(ratecl_element element, void *place, double value)
{
    const float single = (float)value;
    const uint16_t half = half_from_double(value);
    const uint8_t byte = (uint8_t)nearbyint(fmin(fmax(value, 0), 255));
    const void *const encoded[ELEMENT_COUNT] = { &single, &value, &half, &byte };
    memcpy(place, encoded[element], array_element_bytes[element]);
}

double array_load(ratecl_element element, const void *place)
{
    float single;
    double value;
    uint16_t half;
    switch (element) {
    case RATECL_F32:
        memcpy(&single, place, sizeof single);
        return (double)single;
    case RATECL_F64:
        memcpy(&value, place, sizeof value);
        return value;
    case RATECL_F16:
        memcpy(&half, place, sizeof half);
        return half_to_double(half);
    case RATECL_U8:
        return *(const uint8_t *)place;
    }
    return (double)NAN;
}

/* ---- Kinds ---- */

/* splitmix64 (Steele, Lea and Flood 2014). */
static double uniform(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

/* Variance 1, mean 0, bounded: the sum of twelve uniforms. */
static double normal(uint64_t *state)
{
    double sum = -6;
    for (int k = 0; k < 12; k++)
        sum += uniform(state);
    return sum;
}

typedef struct cell {
    int64_t b, t, i, T;
    double level; /* in [-1, 1), one for the array */
    uint64_t *random;
} cell;

static double rates(const cell *at)
{
    const double u = uniform(at->random);
    return 5 * u * u + 0.01 * (double)(1 + at->i % 17);
}

static double spikes(const cell *at)
{
    const double u = uniform(at->random);
    return u < 0.02 ? 2 : u < 0.1 ? 1 : 0;
}

static double constant(const cell *at)
{
    (void)at;
    return 0.1;
}

static double neurons(const cell *at)
{
    return 0.1 * (double)(1 + at->i % 50);
}

static double silent_rows(const cell *at)
{
    const double rate = rates(at);
    return (at->b * at->T + at->t) % 3 == 0 ? 0 : rate;
}

static double silent_neurons(const cell *at)
{
    const double rate = rates(at);
    return at->i % 3 == 1 ? 0 : rate;
}

static double silent(const cell *at)
{
    (void)at;
    return 0;
}

static double huge_mean(const cell *at)
{
    return (double)(100 + at->i % 100) * (1 + 1e-3 * (at->level + normal(at->random)));
}

static double outlier(const cell *at)
{
    return rates(at) * (at->b + at->t == 0 ? 1e4 : 1);
}

static double ramp(const cell *at)
{
    return 3 * (double)at->t / (double)at->T + 0.02 * (double)(at->i % 50) + 0.1 * uniform(at->random);
}

static double voltage(const cell *at)
{
    return -65 + 5 * normal(at->random);
}

static double weights(const cell *at)
{
    return normal(at->random);
}

const char *const array_kind_names[] = { "rates",       "spikes",         "constant", "neurons",
                                         "silent rows", "silent neurons", "silent",   "huge mean",
                                         "outlier",     "ramp",           "voltage",  "weights" };
static double (*const kinds[])(const cell *at) = { rates,       spikes,         constant, neurons,
                                                   silent_rows, silent_neurons, silent,   huge_mean,
                                                   outlier,     ramp,           voltage,  weights };

/* ---- Layouts ---- */

typedef struct order {
    int axes[3];     /* from the slowest to the fastest */
    int64_t step;    /* elements between neighbours on the fastest axis */
    int64_t padding; /* elements after each run of the two faster axes */
    int64_t lead;    /* elements before the first one */
    int reversed[3];
} order;

const char *const array_order_names[ORDER_COUNT] = {
    "C",       "offset",      "padded",        "time first", "neuron first",
    "Fortran", "every other", "time reversed", "reversed",   "batch repeated",
};
static const order orders[ORDER_COUNT] = {
    [ORDER_C] = { { 0, 1, 2 }, 1, 0, 0, { 0 } },
    [ORDER_OFFSET] = { { 0, 1, 2 }, 1, 0, 3, { 0 } },
    [ORDER_PADDED] = { { 0, 1, 2 }, 1, 5, 0, { 0 } },
    [ORDER_TIME_FIRST] = { { 1, 0, 2 }, 1, 0, 0, { 0 } },
    [ORDER_NEURON_FIRST] = { { 2, 0, 1 }, 1, 0, 0, { 0 } },
    [ORDER_FORTRAN] = { { 2, 1, 0 }, 1, 0, 0, { 0 } },
    [ORDER_EVERY_OTHER] = { { 0, 1, 2 }, 2, 1, 1, { 0 } },
    [ORDER_TIME_REVERSED] = { { 0, 1, 2 }, 1, 0, 0, { 0, 1, 0 } },
    [ORDER_REVERSED] = { { 0, 1, 2 }, 1, 3, 2, { 1, 1, 1 } },
    [ORDER_BATCH_REPEATED] = { { 0, 1, 2 }, 1, 0, 1, { 0 } },
};

/* Returns the elements that the array spans in memory. */
static int64_t lay_out(ratecl_layout *layout, const array_spec *spec)
{
    const order *how = &orders[spec->order];
    const int64_t *shape = spec->shape;
    ratecl_layout_init(layout, spec->element, shape[0], shape[1], shape[2]);
    int64_t stride = how->step, first = how->lead, last = how->lead;
    for (int k = 2; k >= 0; k--) {
        const int axis = how->axes[k];
        const int is_repeated = spec->order == ORDER_BATCH_REPEATED && axis == 0;
        const int64_t reach = is_repeated ? 0 : stride * (shape[axis] - 1);
        layout->strides[axis] = is_repeated ? 0 : how->reversed[axis] ? -stride : stride;
        first += how->reversed[axis] ? reach : 0;
        last += reach;
        stride = stride * shape[axis] + how->padding;
    }
    if (spec->order == ORDER_C)
        memset(layout->strides, 0, sizeof layout->strides);
    layout->offset = first * (int64_t)array_element_bytes[spec->element];
    return last + 1;
}

int64_t array_place(const ratecl_layout *layout, int64_t b, int64_t t, int64_t i)
{
    const int64_t *shape = layout->shape, *strides = layout->strides;
    const int64_t size = (int64_t)array_element_bytes[layout->element];
    if (strides[0] == 0 && strides[1] == 0 && strides[2] == 0)
        return layout->offset + ((b * shape[1] + t) * shape[2] + i) * size;
    return layout->offset + (b * strides[0] + t * strides[1] + i * strides[2]) * size;
}

void array_make(array *made, const array_spec *spec)
{
    made->bytes = (uint64_t)lay_out(&made->layout, spec) * array_element_bytes[spec->element];
    made->memory = suite_allocate(made->bytes);
    memset(made->memory, 0xff, made->bytes);

    const int64_t B = spec->shape[0], T = spec->shape[1], N = spec->shape[2];
    made->values = suite_allocate((size_t)(B * T * N) * sizeof *made->values);
    uint64_t random = spec->seed;
    cell at = { .T = T, .level = 2 * uniform(&random) - 1, .random = &random };
    for (at.b = 0; at.b < B; at.b++)
        for (at.t = 0; at.t < T; at.t++)
            for (at.i = 0; at.i < N; at.i++)
                array_store(spec->element,
                            (char *)made->memory + array_place(&made->layout, at.b, at.t, at.i),
                            ldexp(kinds[spec->kind](&at),
                                  spec->exponent + (at.i % 4 == 1 ? spec->neuron_exponent : 0)));

    /* Read back from the memory, where repeated batches overlap. */
    double *value = made->values;
    for (int64_t b = 0; b < B; b++)
        for (int64_t t = 0; t < T; t++)
            for (int64_t i = 0; i < N; i++) {
                *value =
                    array_load(spec->element, (char *)made->memory + array_place(&made->layout, b, t, i));
                if (spec->precision == RATECL_PRECISION_F32)
                    *value = (double)(float)*value;
                value++;
            }
}

void array_free(array *made)
{
    free(made->memory);
    free(made->values);
    memset(made, 0, sizeof *made);
}

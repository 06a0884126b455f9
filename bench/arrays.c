/* SPDX-License-Identifier: Apache-2.0 */
#include "arrays.h"

#include <stdlib.h>

#include "support.h"

/* f32: low <= x < high. f16: bits from `low` on, which are the numbers from 0.25 on. u8: counts. */
typedef struct contents {
    ratecl_element element;
    uint32_t seed;
    float low, high;
} contents;

static const contents all[ARRAYS] = {
    [STATES_F32] = { RATECL_F32, 1, 0, 1 },
    [STATES_F16] = { RATECL_F16, 1, 0x3400, 0x3c00 },
    [STATES_U8] = { RATECL_U8, 1, 0, 8 },
    [REFERENCE_F32] = { RATECL_F32, 2, 0, 2 },
    [REFERENCE_F16] = { RATECL_F16, 2, 0x3400, 0x4000 },
    [REFERENCE_U8] = { RATECL_U8, 2, 0, 16 },
    [WEIGHTS] = { RATECL_F32, 3, -0.5f, 1 },
    [GRADIENT_STATES] = { RATECL_F32, 4, 0, 1 },
    [GRADIENT_WEIGHTS] = { RATECL_F32, 5, 0, 1 },
};

size_t element_bytes(ratecl_element element)
{
    static const size_t bytes[] = { [RATECL_F32] = 4, [RATECL_F64] = 8, [RATECL_F16] = 2, [RATECL_U8] = 1 };
    return bytes[element];
}

array states_of(ratecl_element element)
{
    return element == RATECL_F16 ? STATES_F16 : element == RATECL_U8 ? STATES_U8 : STATES_F32;
}

array reference_of(ratecl_element element)
{
    return element == RATECL_F16 ? REFERENCE_F16 : element == RATECL_U8 ? REFERENCE_U8 : REFERENCE_F32;
}

void reserve(arrays *host, array which, size_t bytes)
{
    if (which != NO_ARRAY && bytes > host->bytes[which])
        host->bytes[which] = bytes;
}

static void fill(void *memory, size_t count, const contents *of)
{
    const float range = of->high - of->low;
#ifdef _OPENMP
#pragma omp parallel for schedule(static)
#endif
    for (size_t k = 0; k < count; ++k) {
        const float x = of->low + range * ((float)(hash((uint32_t)k, of->seed) >> 8) * 0x1p-24f);
        if (of->element == RATECL_F32)
            ((float *)memory)[k] = x;
        else if (of->element == RATECL_F16)
            ((uint16_t *)memory)[k] = (uint16_t)x;
        else
            ((uint8_t *)memory)[k] = (uint8_t)x;
    }
}

void *memory_for(arrays *host, array which)
{
    if (which == NO_ARRAY)
        return NULL;
    if (!host->memory[which]) {
        host->memory[which] = new_array(host->bytes[which]);
        fill(host->memory[which], host->bytes[which] / element_bytes(all[which].element), &all[which]);
    }
    return host->memory[which];
}

void release_arrays(arrays *host)
{
    for (int k = 0; k < ARRAYS; ++k)
        free(host->memory[k]);
    *host = (arrays){ 0 };
}

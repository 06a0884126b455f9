/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* strcasestr */
#include "tuning.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Lanes side by side: neighbouring lanes read neighbouring vectors. */
static const rc_tuning wide = {
    .sweep_lanes = 64,
    .sweep_vector = 4,
    .sweep_vectors = 1,
    .sweep_step = 4,
    .gradient_step = 4,
    .sweep_rows = 1024,
    .merge_lanes = 64,
    .tile_lanes = 64,
    .tile_vector = 4,
    .tile = 64,
    .across = 2,
    .down = 8,
    .depth = 16,
    .panel = 64,
    .chunk_steps = 512,
};

/* Small kernels and few lanes, for devices that interpret kernels or take longer to compile than to run them.
 */
static const rc_tuning brief = {
    .sweep_lanes = 16,
    .sweep_vector = 2,
    .sweep_vectors = 1,
    .sweep_step = 1,
    .gradient_step = 1,
    .sweep_rows = 1024,
    .merge_lanes = 16,
    .tile_lanes = 16,
    .tile_vector = 2,
    .tile = 32,
    .across = 2,
    .down = 4,
    .depth = 16,
    .panel = 32,
    .chunk_steps = 512,
};

/* One lane a group: long vectors, and tiles as large as the caches allow. */
static const rc_tuning lone = {
    .sweep_lanes = 1,
    .sweep_vector = 16,
    .sweep_vectors = 64,
    .sweep_step = 8,
    .gradient_step = 4,
    .sweep_rows = 512,
    .merge_lanes = 1,
    .tile_lanes = 1,
    .tile_vector = 16,
    .tile = 256,
    .across = 2,
    .down = 8,
    .depth = 128,
    .panel = 32,
    .chunk_steps = 512,
};

/* Parameters by the kind of device, and by what its name or its platform's contains. The last one that fits
 * counts. */
typedef struct device_class {
    ratecl_device_kind kind;
    const char *text;
    const rc_tuning *tuning;
} device_class;
static const device_class classes[] = {
    { RATECL_DEVICE_GPU, "", &wide },
    { RATECL_DEVICE_ACCELERATOR, "", &wide },
    { RATECL_DEVICE_CPU, "", &lone },
    { RATECL_DEVICE_SOFTWARE, "", &brief },
};

static const rc_tuning *class_of(const rc_device_limits *limits)
{
    const rc_tuning *found = &wide;
    for (size_t k = 0; k < sizeof classes / sizeof *classes; ++k)
        if (classes[k].kind == limits->kind &&
            (strcasestr(limits->device, classes[k].text) || strcasestr(limits->platform, classes[k].text)))
            found = classes[k].tuning;
    return found;
}

typedef struct field {
    const char *name;
    size_t offset;
    int32_t lowest, highest;
} field;

#define FIELD(name, lowest, highest)                      \
    {                                                     \
#name, offsetof(rc_tuning, name), lowest, highest \
    }
static const field fields[] = {
    FIELD(sweep_lanes, 1, 1024), FIELD(sweep_vector, 2, 16),  FIELD(sweep_vectors, 1, 64),
    FIELD(sweep_step, 1, 16),    FIELD(gradient_step, 1, 16), FIELD(sweep_rows, 1, 65536),
    FIELD(merge_lanes, 1, 1024), FIELD(tile_lanes, 1, 1024),  FIELD(tile_vector, 2, 16),
    FIELD(tile, 8, 512),         FIELD(across, 1, 4),         FIELD(down, 1, 16),
    FIELD(depth, 1, 512),        FIELD(panel, 2, 512),        FIELD(chunk_steps, 1, 65536),
};

static int32_t *field_of(rc_tuning *tuning, const field *f)
{
    return (int32_t *)(void *)((char *)tuning + f->offset);
}

/* The largest power of two up to `bound`. */
static int32_t power_of_two(size_t bound)
{
    int32_t power = 1;
    while (power <= 1 << 20 && (size_t)power * 2 <= bound)
        power *= 2;
    return power;
}

static int32_t at_most(int32_t value, int32_t bound)
{
    return value < bound ? value : bound;
}

static bool power_of_two_vector(int32_t v)
{
    return v == 2 || v == 4 || v == 8 || v == 16;
}

static bool consistent(const rc_tuning *t)
{
    const int32_t width = t->across * t->tile_vector;
    return power_of_two_vector(t->sweep_vector) && power_of_two_vector(t->tile_vector) &&
           t->depth % t->tile_vector == 0 && t->tile % width == 0 && t->tile % t->down == 0 &&
           t->tile % t->panel == 0 && t->panel % width == 0 && t->panel % t->down == 0;
}

ratecl_status rc_tuning_apply(rc_tuning *tuning, const char *text, const char *source)
{
    while (*text) {
        char name[32];
        int value, length = 0;
        if (sscanf(text, "%31[a-z_]=%d%n", name, &value, &length) != 2)
            return rc_fail(RATECL_ERROR_ARGUMENT, "%s has \"%s\": expected parameter=number,...", source,
                           text);
        size_t k = 0;
        while (k < sizeof fields / sizeof *fields && strcmp(fields[k].name, name) != 0)
            ++k;
        if (k == sizeof fields / sizeof *fields)
            return rc_fail(RATECL_ERROR_ARGUMENT, "%s has \"%s\": expected a parameter's name", source, name);
        if (value < fields[k].lowest || value > fields[k].highest)
            return rc_fail(RATECL_ERROR_ARGUMENT, "%s has %s=%d: expected %d to %d", source, name, value,
                           (int)fields[k].lowest, (int)fields[k].highest);
        *field_of(tuning, &fields[k]) = value;
        text += length;
        text += *text == ',';
    }
    if (!consistent(tuning))
        return rc_fail(
            RATECL_ERROR_ARGUMENT,
            "%s: expected vectors of 2, 4, 8 or 16, depth a multiple of tile_vector, tile one of panel, "
            "panel one of across * tile_vector and of down",
            source);
    return RATECL_OK;
}

void rc_tuning_print(const rc_tuning *tuning, char text[RC_TUNING_BYTES])
{
    rc_tuning copy = *tuning;
    int used = 0;
    for (size_t k = 0; k < sizeof fields / sizeof *fields; ++k)
        used += snprintf(text + used, (size_t)(RC_TUNING_BYTES - used), "%s%s=%d", k ? "," : "",
                         fields[k].name, (int)*field_of(&copy, &fields[k]));
}

/* Reals of local memory that the correlation takes, of staged tiles so deep: those of both its kernels, since
 * some drivers add up a program's kernels, and the sums of one, where lanes do not hold them in registers. */
static size_t local_reals(const rc_tuning *t, int32_t depth)
{
    const size_t tile = (size_t)t->tile, width = (size_t)t->across * (size_t)t->tile_vector;
    const bool in_registers = tile * tile <= (size_t)t->tile_lanes * width * (size_t)t->down;
    return 4 * (size_t)depth * tile + 20 * tile + tile * tile / width + (in_registers ? 0 : tile * tile);
}

/* Tiles that leave room for some depth, then as deep as there is room for. */
static void fit_local_memory(rc_tuning *t, size_t reals)
{
    while (local_reals(t, t->tile_vector) > reals && t->tile % (2 * t->panel) == 0)
        t->tile /= 2;
    while (local_reals(t, t->depth) > reals && t->depth % (2 * t->tile_vector) == 0)
        t->depth /= 2;
}

ratecl_status rc_tuning_choose(const rc_device_limits *limits, ratecl_precision precision, const char *tuned,
                               rc_tuning *tuning)
{
    const size_t real_bytes = precision == RATECL_PRECISION_F64 ? 8 : 4;
    *tuning = *class_of(limits);
    if (limits->kind == RATECL_DEVICE_CPU) {
        const size_t native = limits->vector_bytes / real_bytes;
        const int32_t vector = native < 2 ? 2 : power_of_two(native < 16 ? native : 16);
        tuning->sweep_vector = tuning->tile_vector = vector;
        tuning->panel = tuning->across * vector < tuning->down ? tuning->down : tuning->across * vector;
    }
    RC_TRY(rc_tuning_apply(tuning, tuned, "the tuning"));
    const char *text = getenv("RATECL_TUNING");
    if (text)
        RC_TRY(rc_tuning_apply(tuning, text, "RATECL_TUNING"));

    const int32_t lanes = power_of_two(limits->group_lanes);
    tuning->sweep_lanes = at_most(tuning->sweep_lanes, lanes);
    tuning->merge_lanes = at_most(tuning->merge_lanes, lanes);
    tuning->tile_lanes = at_most(tuning->tile_lanes, lanes);
    fit_local_memory(tuning, limits->local_bytes / real_bytes);
    return RATECL_OK;
}

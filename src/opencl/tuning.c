/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* strcasestr */
#include "tuning.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The table of kernel sets ---- */

/* See docs/speed.md for what was measured: 256 work-items fill a GPU's multiprocessor in a few groups, each
 * work-item with several 16-byte loads in flight. */
#define GPU_TUNING(merge_columns, tile_side, tile_work_items, tile_depth)                               \
    {                                                                                                   \
        .sweep_lanes = 256, .sweep_vector = 4, .sweep_step = 4, .gradient_step = 2, .sweep_across = 64, \
        .sweep_rounds = 16, .gradient_rounds = 16, .merge_lanes = 256, .merge_vector = merge_columns,   \
        .tile_lanes = tile_work_items, .tile = tile_side, .depth = tile_depth, .chunk_steps = 256,      \
    }

enum { SET_CPU, SET_GPU, SET_AMD, SET_INTEL, SET_INTEL_16, SET_SMALL };

/* A new set is a row here, and one of `classes` that says which devices get it. */
static const rc_kernel_set sets[] = {
    /* One work-item per work-group: long vectors, and tiles as large as the caches allow. */
    [SET_CPU] = { .name = "cpu",
                  .family = RC_FAMILY_CPU,
                  .folder = "cpu",
                  .options = "",
                  .tuning = { .sweep_vector = 16,
                              .sweep_step = 8,
                              .gradient_step = 4,
                              .sweep_vectors = 64,
                              .sweep_rows = 512,
                              .merge_lanes = 1,
                              .merge_vector = 16,
                              .tile_lanes = 1,
                              .tile = 256,
                              .depth = 128,
                              .chunk_steps = 512,
                              .tile_vector = 16,
                              .across = 2,
                              .down = 8,
                              .panel = 32 } },
    [SET_GPU] = { .name = "gpu",
                  .family = RC_FAMILY_GPU,
                  .folder = "gpu",
                  .options = "",
                  .tuning = GPU_TUNING(4, 128, 256, 16) },
    /* A compute unit of AMD has 64 KiB of local memory, with half the depth enough for several work-groups.
     */
    [SET_AMD] = { .name = "amd",
                  .family = RC_FAMILY_GPU,
                  .folder = "gpu",
                  .options = "",
                  .tuning = GPU_TUNING(4, 128, 256, 8) },
    /* A hardware thread of Intel has 128 registers of 32 bytes for 8 work-items, or of 64 bytes for 16:
     * micro-kernels of 4 x 4 fit into these in every variant, and merges of two records at once.
     * Micro-kernels of 8 x 4 spill up to 512 bytes, of 8 x 8 some 3,000, merges of four records up to 448. */
    [SET_INTEL] = { .name = "intel",
                    .family = RC_FAMILY_GPU,
                    .folder = "gpu",
                    .options = " -DRECORDS_AT_ONCE=2",
                    .tuning = GPU_TUNING(4, 64, 256, 16) },
    /* For Data Center GPU Max the compiler prefers sub-groups of 32, with which the products spill 42,000
     * bytes, and with 16 none. */
    [SET_INTEL_16] = { .name = "gpu16",
                       .family = RC_FAMILY_GPU,
                       .folder = "gpu",
                       .options = " -DSUB_GROUP=16 -DRECORDS_AT_ONCE=4",
                       .tuning = GPU_TUNING(2, 64, 256, 16) },
    /* Small groups and few instructions, for devices that interpret kernels or take longer to compile than to
     * run them.
     */
    [SET_SMALL] = { .name = "small",
                    .family = RC_FAMILY_GPU,
                    .folder = "gpu",
                    .options = "",
                    .tuning = { .sweep_lanes = 16,
                                .sweep_vector = 2,
                                .sweep_step = 2,
                                .gradient_step = 2,
                                .sweep_across = 8,
                                .sweep_rounds = 16,
                                .gradient_rounds = 16,
                                .merge_lanes = 16,
                                .merge_vector = 2,
                                .tile_lanes = 16,
                                .tile = 32,
                                .depth = 8,
                                .chunk_steps = 256 } },
};
enum { SET_COUNT = sizeof sets / sizeof *sets };

/* Sets by the kind of device, and by what its name or its platform's contains. The last row that fits counts.
 */
static const struct device_class {
    ratecl_device_kind kind;
    const char *text;
    int32_t set;
} classes[] = {
    { RATECL_DEVICE_GPU, "", SET_GPU },         { RATECL_DEVICE_GPU, "AMD", SET_AMD },
    { RATECL_DEVICE_GPU, "Intel", SET_INTEL },  { RATECL_DEVICE_GPU, "Data Center GPU Max", SET_INTEL_16 },
    { RATECL_DEVICE_ACCELERATOR, "", SET_GPU }, { RATECL_DEVICE_CPU, "", SET_CPU },
    { RATECL_DEVICE_SOFTWARE, "", SET_SMALL },
};

static int32_t set_of_device(const rc_device_limits *limits)
{
    int32_t found = SET_GPU;
    for (size_t k = 0; k < sizeof classes / sizeof *classes; ++k)
        if (classes[k].kind == limits->kind &&
            (strcasestr(limits->device, classes[k].text) || strcasestr(limits->platform, classes[k].text)))
            found = classes[k].set;
    return found;
}

static rc_tuning tuning_of_set(int32_t set)
{
    rc_tuning tuning = sets[set].tuning;
    tuning.set = set;
    return tuning;
}

const rc_kernel_set *rc_kernel_set_of(const rc_tuning *tuning)
{
    return &sets[tuning->set];
}

/* ---- Parameters as text ---- */

enum { CPU = 1 << RC_FAMILY_CPU, GPU = 1 << RC_FAMILY_GPU };

typedef struct field {
    const char *name;
    size_t offset;
    unsigned families; /* that have it: a bit for each */
    int32_t lowest, highest;
} field;

#define FIELD(name, families, lowest, highest)                      \
    {                                                               \
#name, offsetof(rc_tuning, name), families, lowest, highest \
    }
static const field fields[] = {
    FIELD(sweep_lanes, GPU, 1, 1024),
    FIELD(sweep_vector, CPU | GPU, 1, 16),
    FIELD(sweep_step, CPU | GPU, 1, 16),
    FIELD(gradient_step, CPU | GPU, 1, 16),
    FIELD(sweep_vectors, CPU, 1, 64),
    FIELD(sweep_rows, CPU, 1, 65536),
    FIELD(sweep_across, GPU, 1, 1024),
    FIELD(sweep_rounds, GPU, 1, 64),
    FIELD(gradient_rounds, GPU, 1, 1024),
    FIELD(merge_lanes, GPU, 1, 1024),
    FIELD(merge_vector, CPU | GPU, 2, 16),
    FIELD(tile_lanes, GPU, 1, 1024),
    FIELD(tile, CPU | GPU, 8, 512),
    FIELD(depth, CPU | GPU, 1, 512),
    FIELD(chunk_steps, CPU | GPU, 1, 65536),
    FIELD(tile_vector, CPU, 2, 16),
    FIELD(across, CPU, 1, 4),
    FIELD(down, CPU, 1, 16),
    FIELD(panel, CPU, 2, 512),
};
enum { FIELD_COUNT = sizeof fields / sizeof *fields };

static bool has_field(const rc_tuning *tuning, const field *f)
{
    return f->families >> sets[tuning->set].family & 1;
}

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

static int32_t min_of(int32_t value, int32_t bound)
{
    return value < bound ? value : bound;
}

static bool is_power_of_two(int32_t n)
{
    return n > 0 && (n & (n - 1)) == 0;
}

/* Columns of a work-item of GPU sets. */
enum { MOST_VECTOR = 8 };

/* Check what the kernels of a family take for granted. */
static ratecl_status check_consistent(const rc_tuning *t, const char *source)
{
    const int32_t width = t->across * t->tile_vector;
    const bool vectors = is_power_of_two(t->sweep_vector) && is_power_of_two(t->merge_vector);
    if (sets[t->set].family == RC_FAMILY_CPU) {
        if (vectors && t->sweep_vector > 1 && is_power_of_two(t->tile_vector) &&
            t->depth % t->tile_vector == 0 && t->tile % width == 0 && t->tile % t->down == 0 &&
            t->tile % t->panel == 0 && t->panel % width == 0 && t->panel % t->down == 0)
            return RATECL_OK;
        return rc_fail(
            RATECL_ERROR_ARGUMENT,
            "%s: expected vectors of 2, 4, 8 or 16, depth a multiple of tile_vector, tile one of panel, "
            "panel one of across * tile_vector and of down",
            source);
    }
    if (vectors && t->sweep_vector <= MOST_VECTOR && is_power_of_two(t->sweep_lanes) &&
        is_power_of_two(t->sweep_across) && is_power_of_two(t->sweep_step) &&
        is_power_of_two(t->gradient_step) && is_power_of_two(t->merge_lanes) &&
        is_power_of_two(t->tile_lanes) && is_power_of_two(t->tile) && is_power_of_two(t->depth))
        return RATECL_OK;
    return rc_fail(RATECL_ERROR_ARGUMENT,
                   "%s: expected powers of two for all parameters but sweep_rounds, gradient_rounds and "
                   "chunk_steps, and "
                   "sweep_vector at most %d",
                   source, MOST_VECTOR);
}

/* Take the parameters of the set that is named at the beginning of the text; how long that is, or 0. */
static int apply_set(rc_tuning *tuning, const char *text)
{
    char name[16];
    int length = 0;
    if (sscanf(text, "set=%15[a-z0-9]%n", name, &length) != 1)
        return 0;
    for (int32_t set = 0; set < SET_COUNT; ++set)
        if (strcmp(sets[set].name, name) == 0) {
            *tuning = tuning_of_set(set);
            return length;
        }
    return 0;
}

/* Set the parameter at the beginning of the text; its length is added to *used. */
static ratecl_status apply_field(rc_tuning *tuning, const char *text, const char *source, int *used)
{
    char name[32];
    int length = 0;
    char *end = NULL;
    const bool named = sscanf(text, "%31[a-z_]=%n", name, &length) == 1 && length > 0;
    const long value = named ? strtol(text + length, &end, 10) : 0; /* at its limits where it overflows */
    if (!named || end == text + length)
        return rc_fail(RATECL_ERROR_ARGUMENT, "%s has \"%s\": expected set=NAME or parameter=number,...",
                       source, text);
    size_t k = 0;
    while (k < FIELD_COUNT && (strcmp(fields[k].name, name) != 0 || !has_field(tuning, &fields[k])))
        ++k;
    if (k == FIELD_COUNT)
        return rc_fail(RATECL_ERROR_ARGUMENT, "%s has \"%s\": expected a parameter of the kernel set \"%s\"",
                       source, name, sets[tuning->set].name);
    if (value < fields[k].lowest || value > fields[k].highest)
        return rc_fail(RATECL_ERROR_ARGUMENT, "%s has %s=%ld: expected %d to %d", source, name, value,
                       (int)fields[k].lowest, (int)fields[k].highest);
    *field_of(tuning, &fields[k]) = (int32_t)value;
    *used = (int)(end - text);
    return RATECL_OK;
}

ratecl_status rc_tuning_apply(rc_tuning *tuning, const char *text, const char *source)
{
    while (*text) {
        int used = apply_set(tuning, text);
        if (!used)
            RC_TRY(apply_field(tuning, text, source, &used));
        text += used;
        if (*text && *text != ',')
            return rc_fail(RATECL_ERROR_ARGUMENT, "%s has \"%s\": expected a comma or the end", source, text);
        text += *text == ',';
    }
    return check_consistent(tuning, source);
}

void rc_tuning_print(const rc_tuning *tuning, char text[RC_TUNING_BYTES])
{
    rc_tuning copy = *tuning;
    int used = snprintf(text, RC_TUNING_BYTES, "set=%s", sets[tuning->set].name);
    for (size_t k = 0; k < FIELD_COUNT; ++k)
        if (has_field(tuning, &fields[k]))
            used += snprintf(text + used, (size_t)(RC_TUNING_BYTES - used), ",%s=%d", fields[k].name,
                             (int)*field_of(&copy, &fields[k]));
}

/* ---- The device's limits ---- */

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

/* Sums of a work-item's micro-kernel in GPU sets: MR x NR with 4 or 8 of each. */
enum { MIN_SUMS = 16, MAX_SUMS = 64 };

/* The most bytes of local memory that a product of a GPU set takes: two buffers of two padded operands, and
 * for each of the rows of a unit where it begins, and its factor. */
static size_t product_bytes(const rc_tuning *t, size_t real_bytes)
{
    enum { UNIT_ROWS = 512 };
    return 4 * (size_t)t->depth * (size_t)(t->tile + 4) * real_bytes + UNIT_ROWS * (8 + real_bytes);
}

/* The largest tile up to the set's that so many work-items can hold in registers, and local memory. f64 sums
 * take twice the registers, so that a work-item has a quarter of them. */
static void fit_tile(rc_tuning *t, ratecl_precision precision, size_t local_bytes)
{
    const size_t real_bytes = precision == RATECL_PRECISION_F64 ? 8 : 4;
    const int32_t most = precision == RATECL_PRECISION_F64 ? MIN_SUMS : MAX_SUMS;
    for (;; t->tile /= 2) {
        while (t->tile * t->tile / t->tile_lanes > MAX_SUMS ||
               (t->tile * t->tile / t->tile_lanes > most && t->tile > 16))
            t->tile /= 2;
        while (t->tile_lanes > 1 && t->tile * t->tile / t->tile_lanes < MIN_SUMS)
            t->tile_lanes /= 2;
        t->depth = min_of(t->depth, t->tile);
        while (t->depth * t->tile < 4 * t->tile_lanes)
            t->depth *= 2;
        while (product_bytes(t, real_bytes) > local_bytes && t->depth * t->tile >= 8 * t->tile_lanes &&
               t->depth > 4)
            t->depth /= 2;
        if (product_bytes(t, real_bytes) <= local_bytes || t->tile <= 8)
            return;
    }
}

/* Vectors of the device's own width. */
static void fit_vectors(rc_tuning *t, size_t native)
{
    const int32_t vector = native < 2 ? 2 : power_of_two(native < 16 ? native : 16);
    t->sweep_vector = t->merge_vector = t->tile_vector = vector;
    t->panel = t->across * vector < t->down ? t->down : t->across * vector;
}

ratecl_status rc_tuning_choose(const rc_device_limits *limits, ratecl_precision precision, const char *tuned,
                               rc_tuning *tuning)
{
    const size_t real_bytes = precision == RATECL_PRECISION_F64 ? 8 : 4;
    *tuning = tuning_of_set(set_of_device(limits));
    if (tuning->set == SET_CPU)
        fit_vectors(tuning, limits->vector_bytes / real_bytes);
    RC_TRY(rc_tuning_apply(tuning, tuned, "the tuning"));
    const char *text = getenv("RATECL_TUNING");
    if (text)
        RC_TRY(rc_tuning_apply(tuning, text, "RATECL_TUNING"));

    const int32_t lanes = power_of_two(limits->group_lanes);
    tuning->sweep_lanes = min_of(tuning->sweep_lanes, lanes);
    tuning->merge_lanes = min_of(tuning->merge_lanes, lanes);
    tuning->tile_lanes = min_of(tuning->tile_lanes, lanes);
    if (sets[tuning->set].family == RC_FAMILY_CPU)
        fit_local_memory(tuning, limits->local_bytes / real_bytes);
    else
        fit_tile(tuning, precision, limits->local_bytes);
    return RATECL_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Real recordings, from the folder that RATECL_TEST_DATA names; without it the program reports a skip. */
#include "gradient_check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Reading ---- */

static void path_of(const char *name, char path[512])
{
    const char *folder = getenv("RATECL_TEST_DATA");
    snprintf(path, 512, "%s/%s", folder ? folder : ".", name);
}

static bool is_there(const char *name)
{
    char path[512];
    path_of(name, path);
    FILE *file = fopen(path, "rb");
    if (file)
        fclose(file);
    return file != NULL;
}

/* NumPy format 1.0, C order, uint8 or little-endian float32, 2-D (as one batch) or 3-D: what the folder
 * holds. */
static void read_header(FILE *file, ratecl_layout *layout)
{
    unsigned char start[10];
    char header[256] = "";
    ck_assert_uint_eq(fread(start, 1, sizeof start, file), sizeof start);
    ck_assert_mem_eq(start, "\x93NUMPY\1", 7);
    const size_t length = start[8] + 256u * start[9];
    ck_assert_uint_lt(length, sizeof header);
    ck_assert_uint_eq(fread(header, 1, length, file), length);
    ck_assert_ptr_nonnull(strstr(header, "'fortran_order': False"));
    const ratecl_element element = strstr(header, "'|u1'") ? RATECL_U8 : RATECL_F32;
    ck_assert(element == RATECL_U8 || strstr(header, "'<f4'"));

    int64_t shape[3] = { 0 };
    const char *text = strstr(header, "'shape': (");
    ck_assert_ptr_nonnull(text);
    const int axes =
        sscanf(text, "'shape': (%" SCNd64 ", %" SCNd64 ", %" SCNd64, &shape[0], &shape[1], &shape[2]);
    if (axes == 2)
        ratecl_layout_init(layout, element, 1, shape[0], shape[1]);
    else
        ratecl_layout_init(layout, element, shape[0], shape[1], shape[2]);
}

static array read_npy(const char *name)
{
    char path[512];
    path_of(name, path);
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "%s cannot be opened", path);
    array made;
    read_header(file, &made.layout);
    const int64_t *shape = made.layout.shape;
    const size_t count = (size_t)(shape[0] * shape[1] * shape[2]);
    const size_t size = array_element_bytes[made.layout.element];
    made.bytes = count * size;
    made.memory = suite_allocate(made.bytes);
    ck_assert_uint_eq(fread(made.memory, size, count, file), count);
    fclose(file);

    /* u8 and f32 are exact in either precision. */
    made.values = suite_allocate(count * sizeof *made.values);
    for (size_t k = 0; k < count; k++)
        made.values[k] = array_load(made.layout.element, (char *)made.memory + k * size);
    return made;
}

/* An input that no term of the problem uses. */
static array unused(int64_t T, int64_t N)
{
    const array_spec spec = { .shape = { 1, T, N }, .kind = ARRAY_SILENT };
    array made;
    array_make(&made, &spec);
    return made;
}

/* ---- Evaluating ---- */

static bool can_run(const ratecl_device_info *device, const problem *given)
{
    const bool can = suite_can(device, given->precision, given->inputs[STATES].layout.element);
    if (!can)
        printf("%s: %s in f64 skipped: no fp64\n", device->id, given->name);
    return can;
}

static void values_on_each_device(problem *given)
{
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t count = suite_devices(devices);
    for (size_t d = 0; d < count; d++) {
        if (!can_run(&devices[d], given))
            continue;
        ratecl_context *context = suite_context(devices[d].id);
        outcome got = problem_evaluate(given, context, 0, given->term_count);
        problem_check(given, &got, 0, devices[d].id);
        outcome_free(&got);
        ratecl_context_release(context);
    }
    problem_free(given);
}

static void gradients_on_each_device(const problem *given)
{
    const gradient_options how = { .element =
                                       given->precision == RATECL_PRECISION_F32 ? RATECL_F32 : RATECL_F64 };
    gradients of;
    gradients_take(&of, given);
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t count = suite_devices(devices);
    for (size_t d = 0; d < count; d++) {
        if (!can_run(&devices[d], given))
            continue;
        ratecl_context *context = suite_context(devices[d].id);
        gradients_check(&of, context, devices[d].id, 0, of.given.term_count, &how);
        ratecl_context_release(context);
    }
    gradients_free(&of);
}

static const ratecl_precision precisions[] = { RATECL_PRECISION_F32, RATECL_PRECISION_F64 };

/* 30 trials of 466 neurons of a fly's brain under two stimuli; many neurons are silent. */
static const char *const fly_terms[] = {
    "firing_rate:target=0.02",
    "firing_rate:metric=l1",
    "firing_rate_dist",
    "firing_rate_dist:metric=cv,ddof=1",
    "firing_rate_dist:metric=mean_ad",
    "firing_rate_dist:metric=max_ad",
    "state_prediction",
    "state_prediction:tau=20",
    "entropy",
    "entropy:reg=0,eps=1e-8",
    "population_kl:var_floor=1e-4",
    "population_kl:degenerate=skip",
    "population_kl:degenerate=skip,symmetric=false,reduction=none",
};

static problem read_fly(ratecl_precision precision, int64_t trials)
{
    array inputs[] = { read_npy("fly_sugarR_B30_T1000_N466_u8.npy"),
                       read_npy("fly_sugarR_100Hz_B30_T1000_N466_u8.npy"), unused(466, 466) };
    inputs[STATES].layout.shape[0] = inputs[REFERENCE].layout.shape[0] = trials;
    problem made;
    problem_adopt(&made, "fly", precision, inputs, fly_terms, COUNT(fly_terms));
    return made;
}

START_TEST(fly)
{
    for (size_t p = 0; p < COUNT(precisions); p++) {
        problem given = read_fly(precisions[p], 30);
        values_on_each_device(&given);
    }
}
END_TEST

START_TEST(fly_gradients)
{
    for (size_t p = 0; p < COUNT(precisions); p++) {
        const problem given = read_fly(precisions[p], 2);
        gradients_on_each_device(&given);
    }
}
END_TEST

static bool is_constant(const array *of, int64_t i)
{
    const int64_t *shape = of->layout.shape;
    for (int64_t r = 1; r < shape[0] * shape[1]; r++)
        if (of->values[r * shape[2] + i] != of->values[i])
            return false;
    return true;
}

START_TEST(fly_without_floor)
{
    static const char *const texts[] = { "population_kl" };
    const array inputs[] = { read_npy("fly_sugarR_B30_T1000_N466_u8.npy"),
                             read_npy("fly_sugarR_100Hz_B30_T1000_N466_u8.npy"), unused(466, 466) };
    int64_t count = 0, first = 0;
    for (int64_t i = 466; i-- > 0;)
        if (is_constant(&inputs[STATES], i) || is_constant(&inputs[REFERENCE], i)) {
            count++;
            first = i;
        }
    char many[32], where[32];
    snprintf(many, sizeof many, "%" PRId64 " of 466", count);
    snprintf(where, sizeof where, "[0,0,%" PRId64 "]", first);

    problem given;
    problem_adopt(&given, "fly", RATECL_PRECISION_F32, inputs, texts, COUNT(texts));
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t device_count = suite_devices(devices);
    for (size_t d = 0; d < device_count; d++) {
        ratecl_context *context = suite_context(devices[d].id);
        double value;
        ASSERT_FAILS(ratecl_population_kl_loss(context, &inputs[STATES].layout, inputs[STATES].memory,
                                               &inputs[REFERENCE].layout, inputs[REFERENCE].memory, &value),
                     RATECL_ERROR_DOMAIN, "population_kl", many, where);
        ratecl_context_release(context);
    }
    problem_free(&given);
}
END_TEST

/* 300 cells and their signed connections. */
static problem read_netpyne(ratecl_precision precision)
{
    static const char *const texts[] = { "hebbian", "hebbian:over=step", "firing_rate", "entropy",
                                         "state_prediction" };
    const array inputs[] = { read_npy("netpyne_B1_T1000_N300_u8.npy"), unused(1, 300),
                             read_npy("netpyne_W_N300_f4.npy") };
    problem made;
    problem_adopt(&made, "netpyne", precision, inputs, texts, COUNT(texts));
    return made;
}

START_TEST(netpyne)
{
    for (size_t p = 0; p < COUNT(precisions); p++) {
        problem given = read_netpyne(precisions[p]);
        values_on_each_device(&given);
        given = read_netpyne(precisions[p]);
        gradients_on_each_device(&given);
    }
}
END_TEST

/* Fluorescence of 118 cells: a few frames are negative, which only entropy refuses. The reference is the
 * recording's start. */
static problem read_suite2p(ratecl_precision precision)
{
    static const char *const texts[] = { "firing_rate",
                                         "firing_rate_dist:metric=cv",
                                         "firing_rate_dist:metric=max_ad",
                                         "state_prediction",
                                         "state_prediction:tau=1999",
                                         "population_kl:reduction=none",
                                         "population_kl:symmetric=false" };
    array inputs[] = { read_npy("suite2p_F_B1_T2000_N118_f4.npy"), read_npy("suite2p_F_B1_T2000_N118_f4.npy"),
                       unused(118, 118) };
    inputs[REFERENCE].layout.shape[1] = 700;
    problem made;
    problem_adopt(&made, "suite2p", precision, inputs, texts, COUNT(texts));
    return made;
}

START_TEST(suite2p)
{
    for (size_t p = 0; p < COUNT(precisions); p++) {
        problem given = read_suite2p(precisions[p]);
        values_on_each_device(&given);
        given = read_suite2p(precisions[p]);
        gradients_on_each_device(&given);
    }
}
END_TEST

START_TEST(suite2p_entropy)
{
    array states = read_npy("suite2p_F_B1_T2000_N118_f4.npy");
    const size_t elements = 2000 * 118;
    size_t count = 0, first = 0;
    for (size_t k = elements; k-- > 0;)
        if (states.values[k] < 0) {
            count++;
            first = k;
        }
    ck_assert_uint_gt(count, 0);
    char many[32], where[48];
    snprintf(many, sizeof many, "%zu of %zu", count, elements);
    snprintf(where, sizeof where, "[0,%zu,%zu]", first / 118, first % 118);

    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t device_count = suite_devices(devices);
    for (size_t d = 0; d < device_count; d++) {
        ratecl_context *context = suite_context(devices[d].id);
        double value;
        ASSERT_FAILS(ratecl_entropy_loss(context, &states.layout, states.memory, 10, &value),
                     RATECL_ERROR_DOMAIN, "entropy", "states", many, where, "negative");
        ratecl_context_release(context);
    }
    array_free(&states);
}
END_TEST

int main(void)
{
    if (!is_there("fly_sugarR_B30_T1000_N466_u8.npy")) {
        printf("recordings: skipped: no recordings at RATECL_TEST_DATA\n");
        return SUITE_SKIPPED;
    }
    if (suite_is_small()) {
        printf("recordings: skipped: too large for a small RATECL_TEST_SIZE\n");
        return SUITE_SKIPPED;
    }
    const TTest *const tests[] = { fly, fly_gradients, fly_without_floor, netpyne, suite2p, suite2p_entropy };
    return suite_run("recordings", tests, COUNT(tests));
}

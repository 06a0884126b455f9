/* SPDX-License-Identifier: Apache-2.0 */
/* Values and gradients have the same bits whatever the number of compute units of a CPU device, or of
 * OpenMP's threads. Drivers read their number from the environment when they start, so each number has a
 * process. */
#include "gradient_check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of PoCL, Mesa's llvmpipe and OpenMP. */
static const char *const variables[] = { "POCL_MAX_PTHREAD_COUNT", "LP_NUM_THREADS", "OMP_NUM_THREADS" };

static const char *program;

/* ---- The process that evaluates ---- */

/* Fowler, Noll and Vo's hash. */
static uint64_t hash(uint64_t start, const void *bytes, size_t count)
{
    const unsigned char *byte = bytes;
    for (size_t k = 0; k < count; k++)
        start = (start ^ byte[k]) * UINT64_C(0x100000001b3);
    return start;
}

static uint64_t hash_problem(ratecl_context *context, const int64_t shape[3], ratecl_precision precision)
{
    const array_spec states = { .shape = { shape[0], shape[1], shape[2] }, .kind = ARRAY_RATES, .seed = 113 };
    array_spec specs[INPUT_COUNT];
    problem given;
    gradients of;
    problem_specs(specs, &states);
    problem_make(&given, specs, NULL, 0);
    given.precision = precision;
    outcome values = problem_evaluate(&given, context, 0, given.term_count);
    uint64_t result = hash(UINT64_C(0xcbf29ce484222325), values.values, values.value_count * sizeof(double));
    gradients_take(&of, &given);
    double *got[INPUT_COUNT];
    gradients_evaluate(&of, context, 0, of.given.term_count, got);
    for (int k = 0; k < INPUT_COUNT; k++) {
        result = hash(result, got[k], gradients_size(&of, k) * sizeof(double));
        free(got[k]);
    }
    outcome_free(&values);
    gradients_free(&of);
    return result;
}

static const char *device;

/* Print the hash of all values and gradients, and the number of compute units. */
START_TEST(here)
{
    static const int64_t shapes[][3] = { { 7, 333, 129 }, { 1, 2500, 20 }, { 2, 70, 300 } };
    ratecl_context *context = suite_context(device);
    ratecl_device_info info = { .size = sizeof info };
    ASSERT_OK(ratecl_context_device(context, &info));
    printf("%d units:", (int)info.compute_units);
    for (size_t k = 0; k < COUNT(shapes); k++)
        for (int precision = 0; precision <= (info.fp64 && k == 0); precision++)
            printf(" %016" PRIx64, hash_problem(context, shapes[k], (ratecl_precision)precision));
    putchar('\n');
    ratecl_context_release(context);
}
END_TEST

/* ---- The processes with different numbers ---- */

/* Evaluate in a process of its own with so many compute units; leave its line of hashes. */
static void evaluate_with(int units, const char *id, int *found, char hashes[256])
{
    char command[4096], number[16], line[512];
    snprintf(number, sizeof number, "%d", units);
    for (size_t k = 0; k < COUNT(variables); k++)
        setenv(variables[k], number, 1);
    snprintf(command, sizeof command, "'%s' '%s'", program, id);
    FILE *output = popen(command, "r");
    ck_assert_ptr_nonnull(output);
    hashes[0] = '\0';
    while (fgets(line, sizeof line, output))
        if (sscanf(line, "%d units:%255[^\n]", found, hashes) == 2)
            break;
    while (fgets(line, sizeof line, output))
        continue;
    ck_assert_int_eq(pclose(output), 0);
    ck_assert_msg(hashes[0] != '\0', "%s: the process with %d units printed nothing", id, units);
}

static void compare(const char *id, const char *name)
{
    char first[256], hashes[256];
    int first_units, units;
    evaluate_with(1, id, &first_units, first);
    for (int wanted = 2; wanted <= 3; wanted++) {
        evaluate_with(wanted, id, &units, hashes);
        ck_assert_msg(strcmp(first, hashes) == 0, "%s: %d compute units give other bits than %d:%s,%s", name,
                      units, first_units, hashes, first);
        if (units == first_units)
            printf("%s: skipped: the environment does not set its number of compute units, %d\n", name,
                   units);
    }
}

START_TEST(any_number_of_compute_units)
{
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t count = suite_devices(devices);
    compare("cpu", "OpenMP");
    for (size_t d = 0; d < count; d++)
        if (devices[d].kind == RATECL_DEVICE_CPU || devices[d].kind == RATECL_DEVICE_SOFTWARE)
            compare(devices[d].id, devices[d].name);
}
END_TEST

/* With a device's name: the process that evaluates. */
int main(int count, char **arguments)
{
    program = arguments[0];
    if (count > 1) {
        const TTest *const tests[] = { here };
        device = arguments[1];
        return suite_run("bits, a process", tests, COUNT(tests));
    }
    const TTest *const tests[] = { any_number_of_compute_units };
    return suite_run("bits", tests, COUNT(tests));
}

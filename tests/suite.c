/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <stdlib.h>
#include <string.h>

int suite_run(const char *name, const TTest *const *tests, size_t count)
{
    Suite *suite = suite_create(name);
    /* A case for each, so that CK_RUN_CASE names one. */
    for (size_t k = 0; k < count; k++) {
        TCase *tcase = tcase_create(tests[k]->name);
        tcase_add_test(tcase, tests[k]);
        suite_add_tcase(suite, tcase);
    }

    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    const bool passed = srunner_ntests_run(runner) > 0 && srunner_ntests_failed(runner) == 0;
    srunner_free(runner);
    return passed ? EXIT_SUCCESS : EXIT_FAILURE;
}

bool suite_is_small(void)
{
    const char *size = getenv("RATECL_TEST_SIZE");
    return size && (strcmp(size, "small") == 0 || strcmp(size, "wide") == 0);
}

bool suite_is_wide(void)
{
    const char *size = getenv("RATECL_TEST_SIZE");
    return !size || strcmp(size, "small") != 0;
}

const int64_t suite_wide_shapes[SUITE_WIDE_SHAPES][3] = {
    { 2, 325, 300 }, { 1, 612, 466 }, { 3, 204, 520 }, { 1, 603, 261 }
};

size_t suite_devices(ratecl_device_info devices[SUITE_DEVICES_MAX])
{
    const char *wanted = getenv("RATECL_TEST_DEVICE");
    if (wanted && *wanted) {
        ratecl_context *context = suite_context(wanted);
        devices[0].size = sizeof devices[0];
        ASSERT_OK(ratecl_context_device(context, &devices[0]));
        ratecl_context_release(context);
        return 1;
    }
    const size_t count = ratecl_device_count();
    ck_assert_uint_ge(count, 1);
    ck_assert_uint_le(count, SUITE_DEVICES_MAX);
    for (size_t k = 0; k < count; k++) {
        devices[k].size = sizeof devices[k];
        ASSERT_OK(ratecl_device_get(k, &devices[k]));
    }
    return count;
}

void suite_each_opencl_device(void (*before)(void), void (*test)(const ratecl_device_info *device),
                              void (*after)(void))
{
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t count = suite_devices(devices);
    for (size_t d = 0; d < count; d++) {
        if (devices[d].kind == RATECL_DEVICE_OPENMP)
            continue;
        before();
        test(&devices[d]);
        after();
    }
}

bool suite_can(const ratecl_device_info *device, ratecl_precision precision, ratecl_element element)
{
    return device->fp64 || (precision == RATECL_PRECISION_F32 && element != RATECL_F64);
}

ratecl_context *suite_context(const char *device)
{
    return suite_context_with(device, 0, 0);
}

ratecl_context *suite_context_with(const char *device, int32_t threads, uint64_t staging_limit)
{
    ratecl_context_options options = RATECL_CONTEXT_OPTIONS_INIT;
    options.device = device;
    options.threads = threads;
    options.staging_limit = staging_limit;
    ratecl_context *context = NULL;
    ASSERT_OK(ratecl_context_create(&options, &context));
    ck_assert_ptr_nonnull(context);
    return context;
}

void *suite_allocate(size_t bytes)
{
    void *memory = calloc(1, bytes > 0 ? bytes : 1);
    ck_assert_ptr_nonnull(memory);
    return memory;
}

void *suite_copy(const void *memory, size_t bytes)
{
    void *copy = suite_allocate(bytes);
    memcpy(copy, memory, bytes);
    return copy;
}

void suite_assert_fails(ratecl_status got, ratecl_status expected, const char *call, const char *const *texts)
{
    ck_assert_msg(got == expected, "%s: got %s, expected %s; message: %s", call, ratecl_status_name(got),
                  ratecl_status_name(expected), ratecl_last_error());
    for (; *texts; texts++)
        ck_assert_msg(strstr(ratecl_last_error(), *texts), "%s: no \"%s\" in the message: %s", call, *texts,
                      ratecl_last_error());
}

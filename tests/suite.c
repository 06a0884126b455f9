/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"

#include <stdlib.h>
#include <string.h>

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

void suite_first_opencl_device(void (*before)(void), void (*test)(const ratecl_device_info *device),
                               void (*after)(void))
{
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t count = suite_devices(devices);
    size_t d = 0;
    while (d < count && devices[d].kind == RATECL_DEVICE_OPENMP)
        d++;
    if (d == count)
        return;
    before();
    test(&devices[d]);
    after();
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

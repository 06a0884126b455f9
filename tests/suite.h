/* SPDX-License-Identifier: Apache-2.0 */
/* What every test program needs: a runner, the devices under test, and contexts on them. */
#ifndef RATECL_TESTS_SUITE_H
#define RATECL_TESTS_SUITE_H

#include <check.h>
#include <ratecl/ratecl.h>
#include <stdbool.h>

#define COUNT(array_) (sizeof(array_) / sizeof((array_)[0]))

/* The exit status by which a test program says that it had nothing to test. */
enum { SUITE_SKIPPED = 77 };

/* Run the tests in this process, since OpenCL drivers do not survive a fork; print Check's summary.
 * Returns the exit status. */
int suite_run(const char *name, const TTest *const *tests, size_t count);

/* True if RATECL_TEST_SIZE is "small", for simulators, which run a thousand times slower than devices, or
 * "wide". */
bool suite_is_small(void);
/* True unless RATECL_TEST_SIZE is "small": shapes that exceed a tile and a block of every kernel set are
 * tested. */
bool suite_is_wide(void);

/* Such shapes: more than 256 neurons and 600 rows; numbers of neurons and of steps that 4 divides, and
 * others. */
enum { SUITE_WIDE_SHAPES = 4 };
extern const int64_t suite_wide_shapes[SUITE_WIDE_SHAPES][3]; /* B, T, N */

enum { SUITE_DEVICES_MAX = 32 };

/* The devices to test: all of them, or the one that RATECL_TEST_DEVICE names. Returns their number. */
size_t suite_devices(ratecl_device_info devices[SUITE_DEVICES_MAX]);

/* Call these for each OpenCL device among them, one after the other. */
void suite_each_opencl_device(void (*before)(void), void (*test)(const ratecl_device_info *device),
                              void (*after)(void));

/* Call `test` for the first of them alone, for what does not depend on the device. */
void suite_first_opencl_device(void (*before)(void), void (*test)(const ratecl_device_info *device),
                               void (*after)(void));

bool suite_can(const ratecl_device_info *device, ratecl_precision precision, ratecl_element element);

ratecl_context *suite_context(const char *device);
ratecl_context *suite_context_with(const char *device, int32_t threads, uint64_t staging_limit);

/* malloc and calloc that never give NULL. */
void *suite_allocate(size_t bytes);
void *suite_copy(const void *memory, size_t bytes);

/* Assert that a call succeeded, with the library's message when it did not. */
#define ASSERT_OK(call)                                                                       \
    do {                                                                                      \
        const ratecl_status status_ = (call);                                                 \
        ck_assert_msg(status_ == RATECL_OK, "%s: %s: %s", #call, ratecl_status_name(status_), \
                      ratecl_last_error());                                                   \
    } while (0)

/* Assert that a call failed with this status, and that the message holds each of the texts. */
#define ASSERT_FAILS(call, status, ...) \
    suite_assert_fails((call), (status), #call, (const char *const[]){ __VA_ARGS__, NULL })
#define ASSERT_REFUSED(call, ...) ASSERT_FAILS(call, RATECL_ERROR_ARGUMENT, __VA_ARGS__)
void suite_assert_fails(ratecl_status got, ratecl_status expected, const char *call,
                        const char *const *texts);

#endif

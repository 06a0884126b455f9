/* SPDX-License-Identifier: Apache-2.0 */
/* What the example networks share: random numbers, and calls that must succeed. A program defines PROGRAM,
 * its name, before it includes this. */
#ifndef RATECL_EXAMPLES_NETWORK_H
#define RATECL_EXAMPLES_NETWORK_H

#include <stdio.h>
#include <stdlib.h>

#include <ratecl/ratecl.h>
#ifdef RATECL_WITH_OPENCL
#include <ratecl/opencl.h>
#endif

/* Code that stands once: the C compiler sees it, and as the text `name` so does OpenCL's. */
#ifdef RATECL_WITH_OPENCL
#define EQUATIONS(name, ...)                      \
    static const char name[] = #__VA_ARGS__ "\n"; \
    __VA_ARGS__
#else
#define EQUATIONS(name, ...) __VA_ARGS__
#endif
#define global /* an address space in OpenCL C, nothing in C */

EQUATIONS(
    random_numbers,
    /* A random number in [0, 1) for each counter: any work-item can draw any of them, in any order. */
    static float uniform(unsigned stream, unsigned counter) {
        unsigned x = counter + stream * 0x9e3779b9u;
        x = (x ^ (x >> 16)) * 0x7feb352du;
        x = (x ^ (x >> 15)) * 0x846ca68bu;
        return (float)((x ^ (x >> 16)) >> 8) * 0x1p-24f;
    })

static void fail(const char *what, const char *why)
{
    fprintf(stderr, PROGRAM ": %s: %s\n", what, why);
    exit(EXIT_FAILURE);
}

/* A ratecl call that must succeed. */
#define CHECK(call)                           \
    do {                                      \
        if ((call) != RATECL_OK)              \
            fail(#call, ratecl_last_error()); \
    } while (0)

static void *new_array(size_t bytes)
{
    void *array = malloc(bytes);
    if (!array)
        fail("memory", "there is too little");
    return array;
}

#ifdef RATECL_WITH_OPENCL

static void check_code(cl_int code, const char *call)
{
    char why[32];
    snprintf(why, sizeof why, "OpenCL error %d", (int)code);
    if (code != CL_SUCCESS)
        fail(call, why);
}

/* An OpenCL call that must succeed: one that returns its code, or one that writes it to `code`. */
#define CL(call) check_code((call), #call)
#define CL_NEW(object, call)     \
    do {                         \
        cl_int code;             \
        (object) = (call);       \
        check_code(code, #call); \
    } while (0)

/* The device that ratecl calls "opencl:P.D". */
static cl_device_id find_device(const char *id)
{
    enum { MOST = 64 };
    cl_platform_id platforms[MOST];
    cl_device_id devices[MOST];
    unsigned p = MOST, d = MOST;
    if (sscanf(id, "opencl:%u.%u", &p, &d) != 2 || p >= MOST || d >= MOST)
        fail(id, "is no OpenCL device");
    CL(clGetPlatformIDs(MOST, platforms, NULL));
    CL(clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, MOST, devices, NULL));
    return devices[d];
}

#endif

#endif

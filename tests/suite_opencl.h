/* SPDX-License-Identifier: Apache-2.0 */
/* For tests that call OpenCL themselves. */
#ifndef RATECL_TESTS_SUITE_OPENCL_H
#define RATECL_TESTS_SUITE_OPENCL_H

#include <ratecl/opencl.h>
#include <stdio.h>

#include "suite.h"

#define ASSERT_CL(call)                                                  \
    do {                                                                 \
        const cl_int code_ = (call);                                     \
        ck_assert_msg(code_ == CL_SUCCESS, "%s: %d", #call, (int)code_); \
    } while (0)

/* The device that "opencl:P.D" means. */
static inline cl_device_id suite_cl_device(const char *id, cl_platform_id *platform)
{
    unsigned p = 0, d = 0;
    cl_platform_id platforms[16];
    cl_device_id devices[16];
    ck_assert_int_eq(sscanf(id, "opencl:%u.%u", &p, &d), 2);
    ck_assert(p < 16 && d < 16);
    ASSERT_CL(clGetPlatformIDs(16, platforms, NULL));
    ASSERT_CL(clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, 16, devices, NULL));
    *platform = platforms[p];
    return devices[d];
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* To be preloaded: an OpenCL driver that makes no context, and on request lists no device. */
#define _GNU_SOURCE /* RTLD_NEXT */
#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif
#include <CL/cl.h>
#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>

cl_context CL_API_CALL clCreateContext(const cl_context_properties *properties, cl_uint count,
                                       const cl_device_id *devices,
                                       void(CL_CALLBACK *notify)(const char *text, const void *info,
                                                                 size_t bytes, void *user),
                                       void *user, cl_int *code)
{
    (void)properties;
    (void)count;
    (void)devices;
    (void)notify;
    (void)user;
    if (code)
        *code = CL_OUT_OF_RESOURCES;
    return NULL;
}

/* Fail to list devices where the environment asks for that. */
cl_int CL_API_CALL clGetDeviceIDs(cl_platform_id platform, cl_device_type type, cl_uint room,
                                  cl_device_id *devices, cl_uint *count)
{
    cl_int (*next)(cl_platform_id, cl_device_type, cl_uint, cl_device_id *, cl_uint *);
    *(void **)(void *)&next = dlsym(RTLD_NEXT, "clGetDeviceIDs");
    return getenv("RATECL_TEST_FAILING_LIST") ? CL_OUT_OF_RESOURCES
                                              : next(platform, type, room, devices, count);
}

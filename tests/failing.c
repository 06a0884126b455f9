/* SPDX-License-Identifier: Apache-2.0 */
/* To be preloaded: an OpenCL driver that makes no context. */
#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif
#include <CL/cl.h>
#include <stddef.h>

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

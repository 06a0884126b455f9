/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_opencl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct _cl_device_id {
    char driver[64];
};

struct _cl_program {
    size_t bytes;
    unsigned char binary[];
};

void fake_context(rc_cl_context *context, const char *driver, ratecl_log_function log, void *user)
{
    static struct _cl_device_id device;
    snprintf(device.driver, sizeof device.driver, "%s", driver);
    *context = (rc_cl_context){ .device = &device, .log = log, .log_user = user };
    snprintf(context->info.name, sizeof context->info.name, "a device");
    snprintf(context->info.platform, sizeof context->info.platform, "a platform");
    context->limits = (rc_device_limits){ .kind = RATECL_DEVICE_CPU,
                                          .device = "a device",
                                          .platform = "a platform",
                                          .group_lanes = 4096,
                                          .local_bytes = 1 << 20,
                                          .vector_bytes = 32 };
}

cl_program fake_program(const void *binary, size_t bytes)
{
    cl_program made = malloc(sizeof *made + bytes);
    if (!made)
        abort();
    made->bytes = bytes;
    memcpy(made->binary, binary, bytes);
    return made;
}

const unsigned char *fake_binary(cl_program program, size_t *bytes)
{
    *bytes = program->bytes;
    return program->binary;
}

static cl_int give(const void *from, size_t bytes, size_t size, void *to, size_t *needed)
{
    if (needed)
        *needed = bytes;
    if (to && size < bytes)
        return CL_INVALID_VALUE;
    if (to)
        memcpy(to, from, bytes);
    return CL_SUCCESS;
}

cl_int CL_API_CALL clGetDeviceInfo(cl_device_id device, cl_device_info name, size_t size, void *value,
                                   size_t *needed)
{
    if (name == CL_DEVICE_PLATFORM)
        return give(&(cl_platform_id){ NULL }, sizeof(cl_platform_id), size, value, needed);
    return give(device->driver, strlen(device->driver) + 1, size, value, needed);
}

cl_int CL_API_CALL clGetPlatformInfo(cl_platform_id platform, cl_platform_info name, size_t size, void *value,
                                     size_t *needed)
{
    static const char text[] = "a platform";
    (void)platform;
    (void)name;
    return give(text, sizeof text, size, value, needed);
}

cl_program CL_API_CALL clCreateProgramWithBinary(cl_context context, cl_uint count,
                                                 const cl_device_id *devices, const size_t *bytes,
                                                 const unsigned char **binaries, cl_int *accepted,
                                                 cl_int *code)
{
    (void)context;
    (void)count;
    (void)devices;
    *accepted = *code = CL_SUCCESS;
    return fake_program(binaries[0], bytes[0]);
}

cl_int CL_API_CALL clBuildProgram(cl_program program, cl_uint count, const cl_device_id *devices,
                                  const char *options,
                                  void(CL_CALLBACK *notify)(cl_program program, void *user), void *user)
{
    (void)program;
    (void)count;
    (void)devices;
    (void)options;
    (void)notify;
    (void)user;
    return CL_SUCCESS;
}

cl_int CL_API_CALL clReleaseProgram(cl_program program)
{
    free(program);
    return CL_SUCCESS;
}

cl_int CL_API_CALL clGetProgramInfo(cl_program program, cl_program_info name, size_t size, void *value,
                                    size_t *needed)
{
    if (name == CL_PROGRAM_BINARY_SIZES)
        return give(&program->bytes, sizeof program->bytes, size, value, needed);
    memcpy(*(unsigned char **)value, program->binary, program->bytes);
    return CL_SUCCESS;
}

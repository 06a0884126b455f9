/* SPDX-License-Identifier: Apache-2.0 */
/* OpenCL without a device, for what needs none: a program consists of its binary. */
#ifndef RATECL_TESTS_FUZZ_FAKE_OPENCL_H
#define RATECL_TESTS_FUZZ_FAKE_OPENCL_H

#include "../../src/opencl/cl.h"

/* The devices are told apart by their drivers' versions. */
void fake_context(rc_cl_context *context, const char *driver, ratecl_log_function log, void *user);

/* A program with a copy of the binary, to be released. */
cl_program fake_program(const void *binary, size_t bytes);
const unsigned char *fake_binary(cl_program program, size_t *bytes);

#endif

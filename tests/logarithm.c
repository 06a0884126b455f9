/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels' logarithm against that in double, over the positive floats: a sample of them, or with
 * RATECL_TEST_SIZE=all each one. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "suite_opencl.h"

enum { BATCH = 1 << 20, VECTOR = 4 };

/* As docs/accuracy.md says: absolute where log x is less than 1, else relative. */
#define BOUND 1.2e-7

static const char logarithms[] =
    "kernel void logarithms(global const float *x, global float *y)\n"
    "{\n"
    "    const size_t at = get_global_id(0) * VECTOR;\n"
    "    VSTORE(global, REAL, logarithm(VLOAD(global, REAL, x + at), 0), y + at);\n"
    "}\n";

typedef struct machine {
    cl_context context;
    cl_command_queue queue;
    cl_program program;
    cl_kernel kernel;
    cl_mem x, y;
    bool subnormals;
} machine;

static char *read_prelude(void)
{
    enum { MOST = 1 << 18 };
    const char *folder = getenv("RATECL_TEST_KERNELS");
    char path[4096];
    ck_assert_ptr_nonnull(folder);
    snprintf(path, sizeof path, "%s/prelude.cl", folder);
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    char *text = suite_allocate(MOST);
    ck_assert_uint_lt(fread(text, 1, MOST - 1, file), MOST - 1);
    fclose(file);
    return text;
}

static machine machine_make(const char *id)
{
    cl_platform_id platform;
    cl_device_id device = suite_cl_device(id, &platform);
    cl_int code;
    cl_device_fp_config config = 0;
    machine made = { .context = clCreateContext(NULL, 1, &device, NULL, NULL, &code) };
    ASSERT_CL(code);
    ASSERT_CL(clGetDeviceInfo(device, CL_DEVICE_SINGLE_FP_CONFIG, sizeof config, &config, NULL));
    made.subnormals = config & CL_FP_DENORM;
    made.queue = clCreateCommandQueue(made.context, device, 0, &code);
    ASSERT_CL(code);
    char *prelude = read_prelude();
    const char *texts[] = { prelude, logarithms };
    made.program = clCreateProgramWithSource(made.context, 2, texts, NULL, &code);
    ASSERT_CL(code);
    ASSERT_CL(clBuildProgram(made.program, 1, &device, "-cl-std=CL1.2 -DVECTOR=4", NULL, NULL));
    free(prelude);
    made.kernel = clCreateKernel(made.program, "logarithms", &code);
    ASSERT_CL(code);
    made.x = clCreateBuffer(made.context, CL_MEM_READ_ONLY, BATCH * sizeof(float), NULL, &code);
    ASSERT_CL(code);
    made.y = clCreateBuffer(made.context, CL_MEM_WRITE_ONLY, BATCH * sizeof(float), NULL, &code);
    ASSERT_CL(code);
    ASSERT_CL(clSetKernelArg(made.kernel, 0, sizeof made.x, &made.x));
    ASSERT_CL(clSetKernelArg(made.kernel, 1, sizeof made.y, &made.y));
    return made;
}

static void machine_release(const machine *made)
{
    ASSERT_CL(clReleaseMemObject(made->x));
    ASSERT_CL(clReleaseMemObject(made->y));
    ASSERT_CL(clReleaseKernel(made->kernel));
    ASSERT_CL(clReleaseProgram(made->program));
    ASSERT_CL(clReleaseCommandQueue(made->queue));
    ASSERT_CL(clReleaseContext(made->context));
}

/* The largest error over every `step`th of the floats between two. */
static double largest_error(const machine *on, uint32_t lowest, uint32_t highest, uint32_t step, float *x,
                            float *y)
{
    const uint32_t batch = suite_is_small() ? BATCH >> 10 : BATCH;
    /* PoCL asserts where it is to choose a group of at most one. */
    const size_t lanes = batch / VECTOR, bytes = batch * sizeof(float), group = 1;
    double largest = 0;
    for (uint64_t first = lowest; first < highest; first += (uint64_t)batch * step) {
        for (uint32_t k = 0; k < batch; k++) {
            const uint64_t bits = first + (uint64_t)k * step;
            const uint32_t inside = (uint32_t)(bits < highest ? bits : highest - 1);
            memcpy(&x[k], &inside, sizeof inside);
        }
        ASSERT_CL(clEnqueueWriteBuffer(on->queue, on->x, CL_TRUE, 0, bytes, x, 0, NULL, NULL));
        ASSERT_CL(clEnqueueNDRangeKernel(on->queue, on->kernel, 1, NULL, &lanes, &group, 0, NULL, NULL));
        ASSERT_CL(clEnqueueReadBuffer(on->queue, on->y, CL_TRUE, 0, bytes, y, 0, NULL, NULL));
        for (uint32_t k = 0; k < batch; k++) {
            const double right = log((double)x[k]), error = fabs((double)y[k] - right) / fmax(1, fabs(right));
            largest = error > largest || isnan(error) ? error : largest;
        }
    }
    return largest;
}

START_TEST(the_logarithm_is_right)
{
    enum { SMALLEST = 1, SMALLEST_NORMAL = 0x00800000, INFINITE = 0x7f800000 };
    const char *size = getenv("RATECL_TEST_SIZE");
    const bool all = size && strcmp(size, "all") == 0;
    const uint32_t step = all ? 1 : suite_is_small() ? 100003 : 997;
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t count = suite_devices(devices);
    float *x = suite_allocate(BATCH * sizeof *x), *y = suite_allocate(BATCH * sizeof *y);
    for (size_t d = 0; d < count; d++) {
        if (devices[d].kind == RATECL_DEVICE_OPENMP)
            continue;
        const machine on = machine_make(devices[d].id);
        const uint32_t lowest = on.subnormals ? SMALLEST : SMALLEST_NORMAL;
        const double error = largest_error(&on, lowest, INFINITE, step, x, y);
        printf("%s: the logarithm is off by %.3g at most\n", devices[d].id, error);
        ck_assert_msg(error <= BOUND, "%s: %g", devices[d].id, error);
        machine_release(&on);
    }
    free(x);
    free(y);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { the_logarithm_is_right };
    return suite_run("logarithm", tests, COUNT(tests));
}

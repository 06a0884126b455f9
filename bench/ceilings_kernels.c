/* SPDX-License-Identifier: Apache-2.0 */
/* An OpenCL device's ceilings, from small kernels in several shapes. */
#include "ceilings.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "timing.h"

/* A group goes over STEPS x LANES vectors, side by side. Built with -D LANES, WIDTH, STEPS and SUMS. */
static const char source[] =
    "#define JOIN_(a, b) a##b\n"
    "#define JOIN(a, b) JOIN_(a, b)\n"
    "#if WIDTH == 1\n"
    "typedef uint words;\n"
    "typedef float floats;\n"
    "#else\n"
    "typedef JOIN(uint, WIDTH) words;\n"
    "typedef JOIN(float, WIDTH) floats;\n"
    "#endif\n"
    "#define GROUP __kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void\n"
    "#define FIRST ((size_t)get_group_id(0) * (LANES * STEPS) + get_local_id(0))\n"
    "#define EACH_STEP for (int k = 0; k < STEPS; ++k)\n"
    "\n"
    "GROUP read_all(__global const words *x, __global words *sums)\n"
    "{\n"
    "    x += FIRST;\n"
    "    words a = 0, b = 0, c = 0, d = 0;\n"
    "    for (int k = 0; k < STEPS; k += 4) {\n"
    "        a += x[(k + 0) * LANES];\n"
    "        b += x[(k + 1) * LANES];\n"
    "        c += x[(k + 2) * LANES];\n"
    "        d += x[(k + 3) * LANES];\n"
    "    }\n"
    "    sums[get_global_id(0)] = a + b + c + d;\n"
    "}\n"
    "GROUP write_all(__global floats *x, float value)\n"
    "{\n"
    "    x += FIRST;\n"
    "    EACH_STEP x[k * LANES] = value;\n"
    "}\n"
    "GROUP copy_all(__global floats *y, __global const floats *x)\n"
    "{\n"
    "    x += FIRST, y += FIRST;\n"
    "    EACH_STEP y[k * LANES] = x[k * LANES];\n"
    "}\n"
    "GROUP triad_all(__global floats *y, __global const floats *x, __global const floats *z, float scale)\n"
    "{\n"
    "    x += FIRST, y += FIRST, z += FIRST;\n"
    "    EACH_STEP y[k * LANES] = x[k * LANES] + scale * z[k * LANES];\n"
    "}\n"
    "GROUP multiply_add(__global floats *x, float factor, float term, int rounds)\n"
    "{\n"
    "    floats a[SUMS];\n"
    "    for (int k = 0; k < SUMS; ++k)\n"
    "        a[k] = (float)k;\n"
    "    for (int round = 0; round < rounds; ++round)\n"
    "        for (int k = 0; k < SUMS; ++k)\n"
    "            a[k] = fma(a[k], (floats)factor, (floats)term);\n"
    "    floats sum = 0;\n"
    "    for (int k = 0; k < SUMS; ++k)\n"
    "        sum += a[k];\n"
    "    x[get_global_id(0)] = sum;\n"
    "}\n"
    "__kernel void empty(int nothing) {}\n";

typedef struct shape {
    int lanes, width, steps, sums; /* steps: a multiple of 4 */
} shape;

/* CPUs like the first ones, GPUs the last. */
static const shape shapes[] = {
    { 1, 16, 1024, 8 }, { 1, 16, 4096, 12 }, { 1, 8, 2048, 8 },  { 64, 4, 16, 4 },
    { 256, 4, 4, 8 },   { 256, 4, 16, 4 },   { 256, 1, 16, 16 }, { 128, 2, 16, 8 },
};

typedef struct bench {
    const target *where;
    size_t count; /* floats in an array */
    cl_mem x, y, z;
    float *host; /* as large as an array */
    shape now;
    cl_program program;
} bench;

enum { RUNS = 6 };
static const float SCALE = 0.5f;

/* Numbers whose sums and products by SCALE are exact; x has modulus 1021, z has 509. */
static float number(size_t k, size_t modulus)
{
    return (float)(k * 7 % modulus);
}

static cl_mem new_buffer(const bench *b, size_t modulus)
{
    const size_t bytes = b->count * sizeof(float);
    cl_mem buffer;
    for (size_t k = 0; k < b->count; ++k)
        b->host[k] = number(k, modulus);
    CL_NEW(buffer, clCreateBuffer(b->where->cl, CL_MEM_READ_WRITE, bytes, NULL, &code));
    CL(clEnqueueWriteBuffer(b->where->queue, buffer, CL_TRUE, 0, bytes, b->host, 0, NULL, NULL));
    return buffer;
}

static cl_kernel new_kernel(const bench *b, const char *name)
{
    cl_kernel made;
    CL_NEW(made, clCreateKernel(b->program, name, &code));
    return made;
}

/* The least time of a kernel on so many groups, with its wait; after one run that is not timed. */
static double least_time(const bench *b, cl_kernel kernel, size_t groups, int runs)
{
    const size_t local = (size_t)b->now.lanes, global = groups * local;
    stopwatch watch = new_stopwatch(runs, INFINITY);
    for (int run = -1; run < runs; ++run) {
        start_run(&watch);
        CL(clEnqueueNDRangeKernel(b->where->queue, kernel, 1, NULL, &global, &local, 0, NULL, NULL));
        CL(clFinish(b->where->queue));
        if (run >= 0)
            end_run(&watch);
    }
    CL(clReleaseKernel(kernel));
    return summary(&watch).minimum;
}

static void read_floats(const bench *b, cl_mem buffer, size_t count)
{
    CL(clEnqueueReadBuffer(b->where->queue, buffer, CL_TRUE, 0, count * sizeof(float), b->host, 0, NULL,
                           NULL));
}

static void require(bool right)
{
    if (!right)
        fail("ceilings", "a kernel's result is wrong");
}

/* y is constant + of_x x + of_z z. */
static void require_line(const bench *b, size_t count, float constant, float of_x, float of_z)
{
    bool right = true;
    read_floats(b, b->y, count);
    for (size_t k = 0; k < count; ++k)
        right &= b->host[k] == constant + of_x * number(k, 1021) + of_z * number(k, 509);
    require(right);
}

static void set_buffer(cl_kernel kernel, cl_uint argument, cl_mem buffer)
{
    CL(clSetKernelArg(kernel, argument, sizeof buffer, &buffer));
}

static void set_float(cl_kernel kernel, cl_uint argument, float value)
{
    CL(clSetKernelArg(kernel, argument, sizeof value, &value));
}

/* Whole groups' parts of the arrays. */
static size_t group_floats(const bench *b)
{
    return (size_t)(b->now.lanes * b->now.width * b->now.steps);
}

static void measure_read(const bench *b, size_t groups, ceilings *found)
{
    const size_t used = groups * group_floats(b), sums = groups * (size_t)(b->now.lanes * b->now.width);
    cl_kernel kernel = new_kernel(b, "read_all");
    set_buffer(kernel, 0, b->x);
    set_buffer(kernel, 1, b->y);
    raise(&found->read, (double)(used * sizeof(float)) / least_time(b, kernel, groups, RUNS));

    uint32_t sum = 0;
    const uint32_t *words = (const uint32_t *)(const void *)b->host;
    read_floats(b, b->y, sums);
    for (size_t k = 0; k < sums; ++k)
        sum += words[k];
    read_floats(b, b->x, used);
    for (size_t k = 0; k < used; ++k)
        sum -= words[k];
    require(sum == 0);
}

static void measure_write(const bench *b, size_t groups, ceilings *found)
{
    const size_t used = groups * group_floats(b);
    cl_kernel kernel = new_kernel(b, "write_all");
    set_buffer(kernel, 0, b->y);
    set_float(kernel, 1, SCALE);
    raise(&found->write, (double)(used * sizeof(float)) / least_time(b, kernel, groups, RUNS));
    require_line(b, used, SCALE, 0, 0);
}

static void measure_copy(const bench *b, size_t groups, ceilings *found)
{
    const size_t used = groups * group_floats(b);
    cl_kernel kernel = new_kernel(b, "copy_all");
    set_buffer(kernel, 0, b->y);
    set_buffer(kernel, 1, b->x);
    raise(&found->copy, 2.0 * (double)(used * sizeof(float)) / least_time(b, kernel, groups, RUNS));
    require_line(b, used, 0, 1, 0);
}

static void measure_triad(const bench *b, size_t groups, ceilings *found)
{
    const size_t used = groups * group_floats(b);
    cl_kernel kernel = new_kernel(b, "triad_all");
    set_buffer(kernel, 0, b->y);
    set_buffer(kernel, 1, b->x);
    set_buffer(kernel, 2, b->z);
    set_float(kernel, 3, SCALE);
    raise(&found->triad, 3.0 * (double)(used * sizeof(float)) / least_time(b, kernel, groups, RUNS));
    require_line(b, used, 0, 1, SCALE);
}

/* Each sum settles at term / (1 - factor) = 2. */
static void measure_multiply_add(const bench *b, ceilings *found)
{
    enum { ROUNDS = 20000, GROUPS_FOR_EACH_UNIT = 16 };
    const size_t groups = (size_t)b->where->device.compute_units * GROUPS_FOR_EACH_UNIT;
    const size_t results = groups * (size_t)(b->now.lanes * b->now.width);
    if (results > b->count)
        return;
    cl_kernel kernel = new_kernel(b, "multiply_add");
    const cl_int rounds = ROUNDS;
    set_buffer(kernel, 0, b->y);
    set_float(kernel, 1, 0.5f);
    set_float(kernel, 2, 1);
    CL(clSetKernelArg(kernel, 3, sizeof rounds, &rounds));
    raise(&found->multiply_add,
          2.0 * (double)results * b->now.sums * ROUNDS / least_time(b, kernel, groups, RUNS));
    read_floats(b, b->y, results);
    bool right = true;
    for (size_t k = 0; k < results; ++k)
        right &= fabsf(b->host[k] - 2 * (float)b->now.sums) < 1e-4f;
    require(right);
}

static double launch_time(const bench *b)
{
    enum { LAUNCHES = 500 };
    cl_kernel kernel = new_kernel(b, "empty");
    const cl_int nothing = 0;
    CL(clSetKernelArg(kernel, 0, sizeof nothing, &nothing));
    return least_time(b, kernel, 1, LAUNCHES);
}

/* Measure copies of an array between the device and pinned host memory, which pageable memory does not reach
 * on every driver. */
static void measure_transfers(const bench *b, ceilings *found)
{
    const size_t bytes = b->count * sizeof(float);
    cl_mem pinned;
    void *memory;
    CL_NEW(pinned,
           clCreateBuffer(b->where->cl, CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR, bytes, NULL, &code));
    CL_NEW(memory, clEnqueueMapBuffer(b->where->queue, pinned, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, 0, bytes,
                                      0, NULL, NULL, &code));
    memset(memory, 0, bytes);
    stopwatch to = new_stopwatch(RUNS, INFINITY), from = to;
    for (int run = 0; run < RUNS; ++run) {
        start_run(&to);
        CL(clEnqueueWriteBuffer(b->where->queue, b->y, CL_TRUE, 0, bytes, memory, 0, NULL, NULL));
        end_run(&to);
        start_run(&from);
        CL(clEnqueueReadBuffer(b->where->queue, b->y, CL_TRUE, 0, bytes, memory, 0, NULL, NULL));
        end_run(&from);
    }
    raise(&found->to_device, (double)bytes / summary(&to).minimum);
    raise(&found->from_device, (double)bytes / summary(&from).minimum);
    CL(clEnqueueUnmapMemObject(b->where->queue, pinned, memory, 0, NULL, NULL));
    CL(clFinish(b->where->queue));
    CL(clReleaseMemObject(pinned));
}

/* False where the device cannot have groups of so many lanes. */
static bool build(bench *b)
{
    size_t lanes = 0;
    char options[80];
    const char *text = source;
    CL(clGetDeviceInfo(b->where->id, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof lanes, &lanes, NULL));
    if ((size_t)b->now.lanes > lanes)
        return false;
    snprintf(options, sizeof options, "-DLANES=%d -DWIDTH=%d -DSTEPS=%d -DSUMS=%d", b->now.lanes,
             b->now.width, b->now.steps, b->now.sums);
    CL_NEW(b->program, clCreateProgramWithSource(b->where->cl, 1, &text, NULL, &code));
    CL(clBuildProgram(b->program, 1, &b->where->id, options, NULL, NULL));
    return true;
}

static void measure_shape(bench *b, ceilings *found)
{
    const size_t groups = b->count / group_floats(b);
    if (!groups || !build(b))
        return;
    measure_read(b, groups, found);
    measure_write(b, groups, found);
    measure_copy(b, groups, found);
    measure_triad(b, groups, found);
    measure_multiply_add(b, found);
    found->launch = fmin(found->launch, launch_time(b));
    CL(clReleaseProgram(b->program));
}

ceilings ceilings_of_kernels(const target *where, size_t bytes)
{
    ceilings found = { .launch = INFINITY };
    bench b = { .where = where, .count = bytes / sizeof(float), .host = new_array(bytes) };
    b.x = new_buffer(&b, 1021);
    b.y = new_buffer(&b, 1021);
    b.z = new_buffer(&b, 509);
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; ++k) {
        b.now = shapes[k];
        measure_shape(&b, &found);
    }
    if (!is_cpu(&where->device))
        measure_transfers(&b, &found);
    const cl_mem all[] = { b.x, b.y, b.z };
    for (size_t k = 0; k < sizeof all / sizeof *all; ++k)
        CL(clReleaseMemObject(all[k]));
    free(b.host);
    return found;
}

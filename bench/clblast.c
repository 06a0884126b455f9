/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Hebbian value as a user of CLBlast would write it, on the OpenCL device that ratecl would choose: for
 * each trial the full product C_b = S_b^T S_b / T by SGEMM, or its upper triangle by SSYRK, and its dot
 * product with W. CLBlast's own parameters for the device are used, as they come. One result in JSON on
 * standard output.
 *
 *     clblast [DEVICE]
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clblast_c.h>

#include "arrays.h"
#include "support.h"
#include "target.h"
#include "timing.h"

enum { B = 4, T = 1000, N = 1024 };

typedef struct problem {
    target where;
    cl_mem states, weights, folded, product, dots;
} problem;

static void check_status(CLBlastStatusCode status, const char *call)
{
    char why[32];
    snprintf(why, sizeof why, "CLBlast status %d", (int)status);
    if (status != CLBlastSuccess)
        fail(call, why);
}

#define BLAS(call) check_status((call), #call)

static void multiply(problem *p, size_t b)
{
    BLAS(CLBlastSgemm(CLBlastLayoutRowMajor, CLBlastTransposeYes, CLBlastTransposeNo, N, N, T, 1.0f / T,
                      p->states, b * T * N, N, p->states, b * T * N, N, 0, p->product, 0, N, &p->where.queue,
                      NULL));
    BLAS(CLBlastSdot((size_t)N * N, p->dots, b, p->product, 0, 1, p->weights, 0, 1, &p->where.queue, NULL));
}

/* The triangle meets W's: W + W^T above the diagonal, W on it, nothing below. */
static void update(problem *p, size_t b)
{
    BLAS(CLBlastSsyrk(CLBlastLayoutRowMajor, CLBlastTriangleUpper, CLBlastTransposeYes, N, T, 1.0f / T,
                      p->states, b * T * N, N, 0, p->product, 0, N, &p->where.queue, NULL));
    BLAS(CLBlastSdot((size_t)N * N, p->dots, b, p->product, 0, 1, p->folded, 0, 1, &p->where.queue, NULL));
}

typedef struct way {
    const char *name;
    void (*run)(problem *p, size_t b);
} way;

static const way ways[] = { { "SGEMM", multiply }, { "SSYRK", update } };

static double evaluate_value(problem *p, const way *how)
{
    float dots[B];
    double value = 0;
    for (size_t b = 0; b < B; ++b)
        how->run(p, b);
    CL(clEnqueueReadBuffer(p->where.queue, p->dots, CL_TRUE, 0, sizeof dots, dots, 0, NULL, NULL));
    for (size_t b = 0; b < B; ++b)
        value += fabs((double)dots[b]) / B;
    return value;
}

static double ratecl_value(const problem *p, arrays *host)
{
    const ratecl_layout states = RATECL_LAYOUT_INIT(RATECL_F32, B, T, N);
    const ratecl_layout weights = RATECL_LAYOUT_INIT(RATECL_F32, 1, N, N);
    double value = 0;
    CHECK(ratecl_hebbian_loss(p->where.context, &states, memory_for(host, STATES_F32), &weights,
                              memory_for(host, WEIGHTS), &value));
    return value;
}

static cl_mem new_buffer(const problem *p, size_t bytes, const void *contents)
{
    cl_mem made;
    CL_NEW(made, clCreateBuffer(p->where.cl, CL_MEM_READ_WRITE, bytes, NULL, &code));
    CL(clEnqueueWriteBuffer(p->where.queue, made, CL_TRUE, 0, bytes, contents, 0, NULL, NULL));
    return made;
}

static problem new_problem(const char *device, arrays *host)
{
    target chosen = open_host(device);
    if (chosen.device.kind == RATECL_DEVICE_OPENMP)
        fail(chosen.device.id, "is no OpenCL device");
    problem p = { .where = open_in_place(&chosen.device) };
    close_target(&chosen);
    const size_t bytes = (size_t)N * N * sizeof(float);
    const float *W = memory_for(host, WEIGHTS);
    float *folded = calloc((size_t)N * N, sizeof *folded);
    if (!folded)
        fail("memory", "there is too little");
    for (size_t i = 0; i < N; ++i)
        for (size_t j = i; j < N; ++j)
            folded[i * N + j] = i == j ? W[i * N + j] : W[i * N + j] + W[j * N + i];
    p.states = new_buffer(&p, (size_t)B * T * N * sizeof(float), memory_for(host, STATES_F32));
    p.weights = new_buffer(&p, bytes, W);
    p.folded = new_buffer(&p, bytes, folded);
    memset(folded, 0, bytes);
    p.product = new_buffer(&p, bytes, folded);
    p.dots = new_buffer(&p, B * sizeof(float), folded);
    free(folded);
    return p;
}

static void release_problem(problem *p)
{
    const cl_mem all[] = { p->states, p->weights, p->folded, p->product, p->dots };
    for (size_t k = 0; k < sizeof all / sizeof *all; ++k)
        CL(clReleaseMemObject(all[k]));
    close_target(&p->where);
}

static timing measure(problem *p, const way *how, double expected)
{
    enum { RUNS = 10 };
    static const double budget = 3;
    for (int run = 0; run < 2; ++run)
        if (fabs(evaluate_value(p, how) - expected) > 1e-4 * fabs(expected))
            fail(how->name, "gives another value than ratecl");
    stopwatch watch = new_stopwatch(RUNS, budget);
    while (wants_more(&watch)) {
        start_run(&watch);
        evaluate_value(p, how);
        end_run(&watch);
    }
    return summary(&watch);
}

int main(int count, char **arguments)
{
    arrays host = { .bytes = { [STATES_F32] = (size_t)B * T * N * sizeof(float),
                               [WEIGHTS] = (size_t)N * N * sizeof(float) } };
    problem p = new_problem(count > 1 ? arguments[1] : "opencl", &host);
    const double expected = ratecl_value(&p, &host);
    timing best = { .minimum = INFINITY };
    const char *name = "";
    for (size_t k = 0; k < sizeof ways / sizeof *ways; ++k) {
        const timing time = measure(&p, &ways[k], expected);
        fprintf(stderr, "CLBlast %s on %s: %.3g ms\n", ways[k].name, p.where.device.name, 1e3 * time.minimum);
        if (time.minimum < best.minimum) {
            best = time;
            name = ways[k].name;
        }
    }
    printf(
        "{\"results\": [\n  {\"name\": \"hebbian\", \"peer\": \"CLBlast\", \"how\": \"%s\", \"device\": "
        "\"%s\", "
        "\"shape\": [%d, %d, %d], \"minimum_s\": %.9g, \"median_s\": %.9g, \"spread_s\": %.9g, \"runs\": %d, "
        "\"value\": %.12g}]}\n",
        name, p.where.device.id, B, T, N, best.minimum, best.median, best.spread, best.runs, expected);
    release_problem(&p);
    release_arrays(&host);
    return 0;
}

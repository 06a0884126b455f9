/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small network of excitatory and inhibitory rate neurons, simulated on an OpenCL device, and the six
 * criteria of ratecl evaluated on its states where they lie: the states never leave the device.
 *
 *     rate_network [--device TEXT] [--save FOLDER]
 *
 * Where there is no OpenCL device, or with --device cpu, the same network runs in plain C and the criteria
 * are evaluated on the CPU.
 */
#include <string.h>

#define PROGRAM "rate_network"
#include "network.h"

EQUATIONS(
    equations,
    /* Trials, time steps, neurons. */
    enum { B = 8, T = 500, N = 256 };

    /* Silent below threshold, saturating at 1. */
    static float gain(float drive) { return drive > 0 ? drive / (1 + drive) : 0; }

    /* Euler's step of  tau dr/dt = -r + gain(W r + input)  with dt = tau / 10. Every other neuron prefers the
       stimulus 0, the others the stimulus 1. */
    static float next_rate(global const float *W /* (N,N) */, global const float *S /* (B,T,N) */, int b,
                           int t, int i, int stimulus) {
        const int row = b * T + t;
        float drive =
            (i % 2 == stimulus ? 1.0f : 0.5f) + 4 * uniform((unsigned)stimulus, (unsigned)(row * N + i)) - 2;
        if (t == 0)
            return gain(drive);
        global const float *r = S + (row - 1) * N;
        for (int j = 0; j < N; ++j)
            drive += W[i * N + j] * r[j];
        return r[i] + 0.1f * (gain(drive) - r[i]);
    })

enum { STATES = B * T * N, WEIGHTS = N * N };

/* Each neuron hears each other one with probability K / N. One in five is inhibitory and four times as
   strong, so that excitation and inhibition balance; the scale 1/sqrt(K) keeps the sum's variance whatever K
   is. */
static void connect_neurons(float *W /* (N,N) */)
{
    const float K = 25, strength = 0.4f / 5; /* 0.4 / sqrt(K) */
    for (int i = 0; i < N; ++i)
        for (int j = 0; j < N; ++j) {
            const float sign = j % 5 == 4 ? -4 : 1;
            const int connected = i != j && uniform(2, (unsigned)(i * N + j)) < K / N;
            W[i * N + j] = connected ? sign * strength : 0;
        }
}

/* ---- The six criteria ---- */

enum { TERMS = 6 };

static ratecl_plan *new_plan(ratecl_context *context)
{
    const ratecl_layout states = RATECL_LAYOUT_INIT(RATECL_F32, B, T, N);
    const ratecl_layout weights = RATECL_LAYOUT_INIT(RATECL_F32, 1, N, N);
    const ratecl_term terms[TERMS] = {
        RATECL_TERM_INIT(RATECL_FIRING_RATE),      RATECL_TERM_INIT(RATECL_FIRING_RATE_DIST),
        RATECL_TERM_INIT(RATECL_STATE_PREDICTION), RATECL_TERM_INIT(RATECL_HEBBIAN),
        RATECL_TERM_INIT(RATECL_ENTROPY),          RATECL_TERM_INIT(RATECL_POPULATION_KL),
    };
    const ratecl_plan_options options = {
        .size = sizeof options,
        .outputs = RATECL_OUTPUT_VALUES,
        .states = &states,
        .reference = &states, /* of the same shape */
        .weights = &weights,
        .terms = terms,
        .term_count = TERMS,
    };
    ratecl_plan *plan = NULL;
    CHECK(ratecl_plan_create(context, &options, &plan));
    return plan;
}

static void print_values(const double values[TERMS], double total)
{
    printf("\n%-18s %14s\n", "criterion", "value");
    for (int k = 0; k < TERMS; ++k)
        printf("%-18s %14.7g\n", ratecl_criterion_name((ratecl_criterion)(RATECL_FIRING_RATE + k)),
               values[k]);
    printf("%-18s %14.7g\n", "total", total);
}

/* ---- In plain C ---- */

static void simulate(const float *W, float *S, int stimulus)
{
    for (int b = 0; b < B; ++b)
        for (int t = 0; t < T; ++t)
            for (int i = 0; i < N; ++i)
                S[(b * T + t) * N + i] = next_rate(W, S, b, t, i, stimulus);
}

static void run_on_host(ratecl_context *context, const float *W, float *states, float *reference)
{
    simulate(W, states, 0);
    simulate(W, reference, 1);

    const ratecl_inputs inputs = {
        .size = sizeof inputs, .states = states, .reference = reference, .weights = W
    };
    double values[TERMS], total;
    const ratecl_outputs outputs = {
        .size = sizeof outputs, .values = values, .value_count = TERMS, .total = &total
    };
    ratecl_plan *plan = new_plan(context);
    CHECK(ratecl_evaluate(plan, &inputs, &outputs));
    print_values(values, total);
    ratecl_plan_release(plan);
}

/* ---- On an OpenCL device ---- */

#ifdef RATECL_WITH_OPENCL

static const char kernel_source[] =
    "kernel void step_network(global const float *W, global float *S, int t, int stimulus)\n"
    "{\n"
    "    const int i = get_global_id(0), b = get_global_id(1);\n"
    "    S[(b * T + t) * N + i] = next_rate(W, S, b, t, i, stimulus);\n"
    "}\n";

static cl_kernel new_kernel(cl_context context)
{
    const char *sources[] = { random_numbers, equations, kernel_source };
    cl_program program;
    cl_kernel kernel;
    CL_NEW(program, clCreateProgramWithSource(context, 3, sources, NULL, &code));
    CL(clBuildProgram(program, 0, NULL, "", NULL, NULL));
    CL_NEW(kernel, clCreateKernel(program, "step_network", &code));
    CL(clReleaseProgram(program));
    return kernel;
}

/* Enqueue all steps of one run; the queue keeps their order. */
static void enqueue_run(cl_command_queue queue, cl_kernel kernel, cl_mem W, cl_mem S, cl_int stimulus)
{
    CL(clSetKernelArg(kernel, 0, sizeof W, &W));
    CL(clSetKernelArg(kernel, 1, sizeof S, &S));
    CL(clSetKernelArg(kernel, 3, sizeof stimulus, &stimulus));
    for (cl_int t = 0; t < T; ++t) {
        CL(clSetKernelArg(kernel, 2, sizeof t, &t));
        CL(clEnqueueNDRangeKernel(queue, kernel, 2, NULL, (const size_t[]){ N, B }, NULL, 0, NULL, NULL));
    }
}

/* ratecl on the program's own context, device, queue and buffers. */
static void evaluate_in_place(cl_context cl, cl_device_id device, cl_command_queue queue,
                              const ratecl_cl_inputs *inputs)
{
    ratecl_context *context = NULL;
    CHECK(ratecl_cl_context_create(cl, device, queue, NULL, &context));
    ratecl_plan *plan = new_plan(context);
    CHECK(ratecl_cl_enqueue(plan, inputs, NULL, 0, NULL, NULL));

    double values[TERMS], total;
    const ratecl_outputs outputs = {
        .size = sizeof outputs, .values = values, .value_count = TERMS, .total = &total
    };
    CHECK(ratecl_cl_wait(plan, &outputs));
    print_values(values, total);
    ratecl_plan_release(plan);
    ratecl_context_release(context);
}

/* The states stay on the device; `states` and `reference` receive copies only where they are to be kept. */
static void run_on_device(const char *id, const float *W, float *states, float *reference, int keep)
{
    const size_t bytes = STATES * sizeof(float);
    cl_device_id device = find_device(id);
    cl_context context;
    cl_command_queue queue;
    ratecl_cl_inputs inputs = RATECL_CL_INPUTS_INIT;
    CL_NEW(context, clCreateContext(NULL, 1, &device, NULL, NULL, &code));
    CL_NEW(queue, clCreateCommandQueue(context, device, 0, &code));
    CL_NEW(inputs.states, clCreateBuffer(context, CL_MEM_READ_WRITE, bytes, NULL, &code));
    CL_NEW(inputs.reference, clCreateBuffer(context, CL_MEM_READ_WRITE, bytes, NULL, &code));
    CL_NEW(inputs.weights, clCreateBuffer(context, CL_MEM_READ_ONLY, WEIGHTS * sizeof *W, NULL, &code));
    CL(clEnqueueWriteBuffer(queue, inputs.weights, CL_TRUE, 0, WEIGHTS * sizeof *W, W, 0, NULL, NULL));

    cl_kernel kernel = new_kernel(context);
    enqueue_run(queue, kernel, inputs.weights, inputs.states, 0);
    enqueue_run(queue, kernel, inputs.weights, inputs.reference, 1);
    evaluate_in_place(context, device, queue, &inputs);
    if (keep) {
        CL(clEnqueueReadBuffer(queue, inputs.states, CL_TRUE, 0, bytes, states, 0, NULL, NULL));
        CL(clEnqueueReadBuffer(queue, inputs.reference, CL_TRUE, 0, bytes, reference, 0, NULL, NULL));
    }

    CL(clReleaseKernel(kernel));
    CL(clReleaseMemObject(inputs.states));
    CL(clReleaseMemObject(inputs.reference));
    CL(clReleaseMemObject(inputs.weights));
    CL(clReleaseCommandQueue(queue));
    CL(clReleaseContext(context));
}

#endif

/* ---- Files and options ---- */

/* Write an array as NumPy's format 1.0: a magic string, a padded header, the elements in C order. */
static void save(const char *folder, const char *name, const float *array, const char *shape, size_t count)
{
    char path[4096], header[118];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        fail(folder, "is too long a name");
    const unsigned short one = 1;
    const char order = *(const char *)&one ? '<' : '>';
    const int used = snprintf(header, sizeof header,
                              "{'descr': '%cf4', 'fortran_order': False, 'shape': (%s), }", order, shape);
    memset(header + used, ' ', sizeof header - (size_t)used);
    header[sizeof header - 1] = '\n';

    FILE *file = fopen(path, "wb");
    if (!file)
        fail(path, "cannot be written");
    const size_t written = fwrite("\x93NUMPY\1\0\x76\0", 1, 10, file) +
                           fwrite(header, 1, sizeof header, file) + fwrite(array, sizeof *array, count, file);
    if (fclose(file) != 0 || written != 10 + sizeof header + count)
        fail(path, "cannot be written");
}

static void save_all(const char *folder, const float *states, const float *reference, const float *W)
{
    char shape[64];
    snprintf(shape, sizeof shape, "%d, %d, %d", B, T, N);
    save(folder, "states.npy", states, shape, STATES);
    save(folder, "reference.npy", reference, shape, STATES);
    snprintf(shape, sizeof shape, "%d, %d", N, N);
    save(folder, "weights.npy", W, shape, WEIGHTS);
}

static void read_options(int count, char **arguments, const char **device, const char **folder)
{
    for (int k = 1; k < count; ++k) {
        const int more = k + 1 < count;
        if (more && strcmp(arguments[k], "--device") == 0)
            *device = arguments[++k];
        else if (more && strcmp(arguments[k], "--save") == 0)
            *folder = arguments[++k];
        else
            fail(arguments[k], "usage: rate_network [--device TEXT] [--save FOLDER]");
    }
}

int main(int count, char **arguments)
{
    const char *folder = NULL;
    ratecl_context_options options = RATECL_CONTEXT_OPTIONS_INIT;
    read_options(count, arguments, &options.device, &folder);

    /* ratecl chooses the device; on an OpenCL one this program then works with objects of its own. */
    ratecl_context *context = NULL;
    ratecl_device_info device = { .size = sizeof device };
    CHECK(ratecl_context_create(&options, &context));
    CHECK(ratecl_context_device(context, &device));
    if (ratecl_device_count() == 1)
        printf("There is no OpenCL device: simulated and evaluated on the CPU.\n");
    printf("%d neurons, %d trials of %d steps, on %s: %s\n", N, B, T, device.id, device.name);

    float *W = new_array(WEIGHTS * sizeof(float)), *states = new_array(STATES * sizeof(float)),
          *reference = new_array(STATES * sizeof(float));
    connect_neurons(W);
#ifdef RATECL_WITH_OPENCL
    if (device.kind != RATECL_DEVICE_OPENMP)
        run_on_device(device.id, W, states, reference, folder != NULL);
    else
#endif
        run_on_host(context, W, states, reference);
    ratecl_context_release(context);
    if (folder)
        save_all(folder, states, reference, W);
    free(W);
    free(states);
    free(reference);
    return 0;
}

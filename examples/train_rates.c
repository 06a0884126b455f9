/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network of excitatory and inhibitory rate neurons learns to fire at given rates, all on one OpenCL
 * device: the simulation, ratecl's values and gradients, the way back through time, and the change of weights
 * and biases. Only the values leave the device.
 *
 *     train_rates [--device TEXT] [--steps N] [--check]
 *
 * --check compares the gradient to weights and biases with central differences of the loss. Exit status 77:
 * there is no such OpenCL device.
 *
 * Forward, for t = 1 ... T, from rest (r_0 = 0), with the weights W, the biases c and the input x:
 *     d_t = W r_(t-1) + c + x_t
 *     r_t = (1 - a) r_(t-1) + a gain(d_t)     Euler's step of tau dr/dt = -r + gain(d), a = dt / tau
 *
 * Adjoint, for t = T ... 1, with lambda_t = dL/dr_t in full, delta_t = dL/dd_t, and both 0 at T + 1:
 *     lambda_t = g_t + (1 - a) lambda_(t+1) + W' delta_(t+1)                   g_t: what ratecl gives for r_t
 *     delta_t = a gain'(d_t) lambda_t
 *
 * Gradients, over all trials and steps:
 *     dL/dW = sum delta_t r_(t-1)' + what ratecl gives for W             dL/dc = sum delta_t
 */
#include <math.h>
#include <string.h>

#define PROGRAM "train_rates"
#include "network.h"

/* ---- The network, on the device ---- */

EQUATIONS(sizes,
          /* Trials, time steps, neurons; the first E of these are excitatory. */
          enum { B = 4, T = 100, N = 160, E = 128 };
          /* Steps in memory: 0, at rest, and T + 1, where the adjoint starts, stay zero. */
          enum { STEPS = T + 2 };)

/* `real` is float or double, as the program is built. The parameters (N+1,N) are W and, as the last row, the
 * biases. r, delta and lambda are (B,STEPS,N). */
#define TEXT(...) #__VA_ARGS__
static const char kernel_source[] = TEXT(
    constant float a = 0.125f;

    /* A stimulus, which half of the neurons prefer, and noise that each trial repeats. */
    static float input(int b, int t, int i) {
        return (i % 2 == b % 2 ? 1.0f : 0.5f) + 2 * uniform(0, (b * STEPS + t) * N + i) - 1;
    }

    /* Leaves gain'(d_t) in delta. */
    kernel void step_network(global const real *parameters, global real *r, global real *delta, int t) {
        const int i = get_global_id(0), b = get_global_id(1), now = (b * STEPS + t) * N, before = now - N;
        real drive = parameters[N * N + i] + input(b, t, i);
        for (int j = 0; j < N; ++j)
            drive += parameters[i * N + j] * r[before + j];
        const real gain = 1 / (1 + exp(-drive));
        r[now + i] = (1 - a) * r[before + i] + a * gain;
        delta[now + i] = gain * (1 - gain);
    }

    /* Takes g_t in lambda and gain'(d_t) in delta. */
    kernel void step_adjoint(global const real *parameters, global real *delta, global real *lambda, int t) {
        const int j = get_global_id(0), b = get_global_id(1), now = (b * STEPS + t) * N, after = now + N;
        real sum = lambda[now + j] + (1 - a) * lambda[after + j];
        for (int i = 0; i < N; ++i)
            sum += parameters[i * N + j] * delta[after + i];
        lambda[now + j] = sum;
        delta[now + j] *= a * sum;
    }

    kernel void add_gradient(global const real *r, global const real *delta, global real *gradient) {
        const int j = get_global_id(0), i = get_global_id(1);
        real sum = 0;
        for (int b = 0; b < B; ++b)
            for (int t = 1; t <= T; ++t) {
                const int now = (b * STEPS + t) * N, before = now - N;
                sum += i < N ? delta[now + i] * r[before + j] : delta[now + j];
            }
        gradient[i * N + j] += sum;
    }

    /* A step of Adam (Kingma and Ba 2015), then back into the bounds. */
    kernel void update(global real *parameters, global const real *gradient, global real *mean,
                       global real *square, global const real *lower, global const real *upper, float rate) {
        const int k = get_global_id(0);
        mean[k] += 0.1f * (gradient[k] - mean[k]);
        square[k] += 0.001f * (gradient[k] * gradient[k] - square[k]);
        const real changed = parameters[k] - rate * mean[k] / (sqrt(square[k]) + 1e-12f);
        parameters[k] = clamp(changed, lower[k], upper[k]);
    });

enum { PARAMETERS, GRADIENT, MEAN, SQUARE, LOWER, UPPER, RATES, DELTA, LAMBDA, ARRAYS };
enum { WEIGHTS = N * N, PARAMETER_COUNT = WEIGHTS + N, STATES = B * STEPS * N };

static size_t array_count(int array)
{
    return array < RATES ? PARAMETER_COUNT : STATES;
}

/* Each kernel's arrays, in the order of its arguments, and its work-items. A number may follow the arrays. */
enum { STEP_NETWORK, STEP_ADJOINT, ADD_GRADIENT, UPDATE, KERNELS };
static const struct {
    const char *name;
    cl_uint array_count;
    int arrays[6];
    size_t items[2];
} kernels[KERNELS] = {
    { "step_network", 3, { PARAMETERS, RATES, DELTA }, { N, B } },
    { "step_adjoint", 3, { PARAMETERS, DELTA, LAMBDA }, { N, B } },
    { "add_gradient", 3, { RATES, DELTA, GRADIENT }, { N, N + 1 } },
    { "update", 6, { PARAMETERS, GRADIENT, MEAN, SQUARE, LOWER, UPPER }, { PARAMETER_COUNT, 1 } },
};

/* ---- The loss ---- */

/* Parts of the population, each with its own terms. A part is the same memory seen through another layout.
 * The terms of weight 0 are there to be shown: a mean rate is its own l1 distance from 0. */
enum { EVERYONE, EXCITATORY, INHIBITORY, PARTS, TERMS_MAX = 3 };
static const struct {
    int first, count; /* neurons */
    size_t term_count;
    const char *terms[TERMS_MAX];
} parts[PARTS] = {
    { 0, N, 2, { "hebbian:weight=0.02", "entropy:weight=0.02,reg=0.1" } },
    { 0,
      E,
      3,
      {
          "firing_rate:metric=l1,weight=0",
          "firing_rate:target=0.1,weight=100",
          "firing_rate_dist:metric=cv,weight=0.5",
      } },
    { E, N - E, 2, { "firing_rate:metric=l1,weight=0", "firing_rate:target=0.25,weight=100" } },
};

static const struct {
    const char *name;
    int part, term;
} columns[] = {
    { "E rate", EXCITATORY, 0 }, { "I rate", INHIBITORY, 0 }, { "E cv", EXCITATORY, 2 },
    { "hebbian", EVERYONE, 0 },  { "entropy", EVERYONE, 1 },
};
enum { COLUMNS = sizeof columns / sizeof columns[0] };

struct losses {
    double total, values[PARTS][TERMS_MAX];
};

/* A plan whose gradients are added to the arrays LAMBDA and GRADIENT. */
static ratecl_plan *new_plan(ratecl_context *context, int part, ratecl_precision precision)
{
    const ratecl_element element = precision == RATECL_PRECISION_F64 ? RATECL_F64 : RATECL_F32;
    const int64_t bytes = precision == RATECL_PRECISION_F64 ? sizeof(double) : sizeof(float);
    const ratecl_layout weights = RATECL_LAYOUT_INIT(element, 1, N, N);
    ratecl_layout states = RATECL_LAYOUT_INIT(element, B, T, parts[part].count);
    states.strides[0] = STEPS * N;
    states.strides[1] = N;
    states.strides[2] = 1;
    states.offset = (N + parts[part].first) * bytes; /* past step 0 */

    uint32_t gradients = RATECL_OUTPUT_GRADIENT_STATES;
    ratecl_term terms[TERMS_MAX];
    for (size_t k = 0; k < parts[part].term_count; ++k) {
        CHECK(ratecl_term_parse(&terms[k], parts[part].terms[k]));
        if (terms[k].criterion == RATECL_HEBBIAN)
            gradients |= RATECL_OUTPUT_GRADIENT_WEIGHTS;
    }
    const ratecl_plan_options options = {
        .size = sizeof options,
        .precision = precision,
        .outputs = RATECL_OUTPUT_VALUES | gradients,
        .states = &states,
        .weights = part == EVERYONE ? &weights : NULL,
        .terms = terms,
        .term_count = parts[part].term_count,
        .gradient_states = &states,
        .gradient_weights = part == EVERYONE ? &weights : NULL,
        .accumulate = gradients,
    };
    ratecl_plan *plan = NULL;
    CHECK(ratecl_plan_create(context, &options, &plan));
    return plan;
}

/* ---- The network, from the host ---- */

struct network {
    size_t bytes; /* of a real */
    cl_command_queue queue;
    cl_mem arrays[ARRAYS];
    cl_kernel kernels[KERNELS];
    ratecl_plan *plans[PARTS];
};

static void fill_zero(struct network *network, int array)
{
    const double zero = 0;
    CL(clEnqueueFillBuffer(network->queue, network->arrays[array], &zero, network->bytes, 0,
                           array_count(array) * network->bytes, 0, NULL, NULL));
}

static void write_reals(struct network *network, int array, size_t first, size_t count, const double *values)
{
    float *narrow = new_array(count * sizeof *narrow);
    for (size_t k = 0; k < count; ++k)
        narrow[k] = (float)values[k];
    const void *reals = network->bytes == sizeof *narrow ? (const void *)narrow : values;
    CL(clEnqueueWriteBuffer(network->queue, network->arrays[array], CL_TRUE, first * network->bytes,
                            count * network->bytes, reals, 0, NULL, NULL));
    free(narrow);
}

static void build_kernels(struct network *network, cl_context context)
{
    const char *real = network->bytes == sizeof(float) ? "typedef float real;\n"
                                                       : "#pragma OPENCL EXTENSION cl_khr_fp64 : enable\n"
                                                         "typedef double real;\n";
    const char *sources[] = { real, random_numbers, sizes, kernel_source };
    cl_program program;
    CL_NEW(program, clCreateProgramWithSource(context, 4, sources, NULL, &code));
    CL(clBuildProgram(program, 0, NULL, "", NULL, NULL));
    for (int k = 0; k < KERNELS; ++k) {
        CL_NEW(network->kernels[k], clCreateKernel(program, kernels[k].name, &code));
        for (cl_uint j = 0; j < kernels[k].array_count; ++j)
            CL(clSetKernelArg(network->kernels[k], j, sizeof(cl_mem),
                              &network->arrays[kernels[k].arrays[j]]));
    }
    CL(clReleaseProgram(program));
}

static void create_network(struct network *network, cl_device_id device, ratecl_precision precision)
{
    network->bytes = precision == RATECL_PRECISION_F64 ? sizeof(double) : sizeof(float);
    cl_context context;
    CL_NEW(context, clCreateContext(NULL, 1, &device, NULL, NULL, &code));
    CL_NEW(network->queue, clCreateCommandQueue(context, device, 0, &code));
    for (int k = 0; k < ARRAYS; ++k) {
        CL_NEW(network->arrays[k],
               clCreateBuffer(context, CL_MEM_READ_WRITE, array_count(k) * network->bytes, NULL, &code));
        fill_zero(network, k);
    }
    build_kernels(network, context);

    ratecl_context *shared = NULL; /* ratecl on the same device, queue and buffers */
    CHECK(ratecl_cl_context_create(context, device, network->queue, NULL, &shared));
    for (int k = 0; k < PARTS; ++k)
        network->plans[k] = new_plan(shared, k, precision);
    ratecl_context_release(shared);
    CL(clReleaseContext(context));
}

static void release_network(struct network *network)
{
    for (int k = 0; k < PARTS; ++k)
        ratecl_plan_release(network->plans[k]);
    for (int k = 0; k < KERNELS; ++k)
        CL(clReleaseKernel(network->kernels[k]));
    for (int k = 0; k < ARRAYS; ++k)
        CL(clReleaseMemObject(network->arrays[k]));
    CL(clReleaseCommandQueue(network->queue));
}

/* The queue keeps the order of all that is enqueued. */
static void launch(struct network *network, int kernel)
{
    CL(clEnqueueNDRangeKernel(network->queue, network->kernels[kernel], 2, NULL, kernels[kernel].items, NULL,
                              0, NULL, NULL));
}

static void launch_step(struct network *network, int kernel, cl_int t)
{
    CL(clSetKernelArg(network->kernels[kernel], kernels[kernel].array_count, sizeof t, &t));
    launch(network, kernel);
}

/* Simulate; then ratecl's values, and its gradients into LAMBDA and GRADIENT. */
static void enqueue_forward(struct network *network)
{
    for (cl_int t = 1; t <= T; ++t)
        launch_step(network, STEP_NETWORK, t);
    fill_zero(network, LAMBDA);
    fill_zero(network, GRADIENT);
    const ratecl_cl_inputs inputs = { .size = sizeof inputs,
                                      .states = network->arrays[RATES],
                                      .weights = network->arrays[PARAMETERS] };
    const ratecl_cl_outputs outputs = { .size = sizeof outputs,
                                        .gradient_states = network->arrays[LAMBDA],
                                        .gradient_weights = network->arrays[GRADIENT] };
    for (int k = 0; k < PARTS; ++k)
        CHECK(ratecl_cl_enqueue(network->plans[k], &inputs, &outputs, 0, NULL, NULL));
}

/* Back through time, and the whole gradient in GRADIENT. */
static void enqueue_backward(struct network *network)
{
    for (cl_int t = T; t >= 1; --t)
        launch_step(network, STEP_ADJOINT, t);
    launch(network, ADD_GRADIENT);
}

/* `step` counts from 1. Adam's means start at 0; the rate makes up for that. */
static void enqueue_update(struct network *network, int step)
{
    const cl_float rate = (cl_float)(0.03 * sqrt(1 - pow(0.999, step)) / (1 - pow(0.9, step)));
    CL(clSetKernelArg(network->kernels[UPDATE], kernels[UPDATE].array_count, sizeof rate, &rate));
    launch(network, UPDATE);
}

/* Wait for the values of the last forward run. */
static struct losses wait_for_losses(struct network *network)
{
    struct losses losses = { 0 };
    for (int k = 0; k < PARTS; ++k) {
        double total;
        const ratecl_outputs outputs = {
            .size = sizeof outputs, .values = losses.values[k], .value_count = TERMS_MAX, .total = &total
        };
        CHECK(ratecl_cl_wait(network->plans[k], &outputs));
        losses.total += total;
    }
    return losses;
}

/* ---- The parameters' start and bounds ---- */

struct parameters {
    double start[PARAMETER_COUNT], lower[PARAMETER_COUNT], upper[PARAMETER_COUNT];
};

/* Each neuron hears each other one with probability K / N; inhibitory ones are four times as strong. A
 * synapse keeps its sign (Dale's law), none is made, and the biases, 0 at first, go where they will. */
static struct parameters *new_parameters(void)
{
    const double K = 25, strength = 0.4 / 5; /* 0.4 / sqrt(K) */
    struct parameters *made = new_array(sizeof *made);
    for (int i = 0; i <= N; ++i)
        for (int j = 0; j < N; ++j) {
            const int k = i * N + j, bias = i == N, excites = j < E;
            const int connected = !bias && i != j && uniform(1, (unsigned)k) < K / N;
            made->start[k] = !connected ? 0 : excites ? strength : -4 * strength;
            made->lower[k] = bias || (connected && !excites) ? -INFINITY : 0;
            made->upper[k] = bias || (connected && excites) ? INFINITY : 0;
        }
    return made;
}

/* ---- Training ---- */

static void print_names(void)
{
    printf("%9s %10s", "step", "loss");
    for (int k = 0; k < COLUMNS; ++k)
        printf(" %10s", columns[k].name);
    putchar('\n');
}

static void print_losses(int step, const struct losses *losses)
{
    printf("%9d %10.5f", step, losses->total);
    for (int k = 0; k < COLUMNS; ++k)
        printf(" %10.4f", losses->values[columns[k].part][columns[k].term]);
    putchar('\n');
    fflush(stdout);
}

static void train(struct network *network, const struct parameters *parameters, int steps)
{
    write_reals(network, PARAMETERS, 0, PARAMETER_COUNT, parameters->start);
    write_reals(network, LOWER, 0, PARAMETER_COUNT, parameters->lower);
    write_reals(network, UPPER, 0, PARAMETER_COUNT, parameters->upper);

    print_names();
    const int shown = steps < 20 ? 1 : steps / 20;
    struct losses before = { 0 }, after;
    for (int step = 0;; ++step) {
        enqueue_forward(network);
        if (step % shown == 0 || step == steps) {
            after = wait_for_losses(network);
            print_losses(step, &after);
            if (step == 0)
                before = after;
        }
        if (step == steps)
            break;
        enqueue_backward(network);
        enqueue_update(network, step + 1);
    }
    printf("loss before %.6g, after %.6g\n", before.total, after.total);
}

/* ---- The check ---- */

static double loss_with(struct network *network, size_t parameter, double value)
{
    write_reals(network, PARAMETERS, parameter, 1, &value);
    enqueue_forward(network);
    return wait_for_losses(network).total;
}

/* The largest deviation of the gradient from central differences at some of the parameters from `first` on
 * that are free, relative to the largest of these differences. */
static double deviation(struct network *network, const struct parameters *parameters, const float *gradient,
                        size_t first, size_t count, double step)
{
    enum { SAMPLES = 24 };
    double largest = 0, worst = 0;
    for (unsigned s = 0; s < SAMPLES; ++s) {
        size_t k = first + (size_t)(uniform(2, s) * (float)count);
        while (parameters->lower[k] == parameters->upper[k])
            k = k + 1 < first + count ? k + 1 : first;
        const double here = parameters->start[k], above = loss_with(network, k, here + step),
                     below = loss_with(network, k, here - step), difference = (above - below) / (2 * step);
        write_reals(network, PARAMETERS, k, 1, &here);
        largest = fmax(largest, fabs(difference));
        worst = fmax(worst, fabs(difference - gradient[k]));
    }
    return worst / largest;
}

/* The gradient that training uses against the loss in double where the device has it. In f32 the loss has few
 * digits: the step is then long, and the bound what such a difference is good for. */
static int check(cl_device_id device, int fp64, const struct parameters *parameters)
{
    struct network network = { 0 };
    create_network(&network, device, RATECL_PRECISION_F32);
    write_reals(&network, PARAMETERS, 0, PARAMETER_COUNT, parameters->start);
    enqueue_forward(&network);
    enqueue_backward(&network);
    float *gradient = new_array(PARAMETER_COUNT * sizeof *gradient); /* (N+1,N) */
    CL(clEnqueueReadBuffer(network.queue, network.arrays[GRADIENT], CL_TRUE, 0,
                           PARAMETER_COUNT * sizeof *gradient, gradient, 0, NULL, NULL));
    if (fp64) {
        release_network(&network);
        create_network(&network, device, RATECL_PRECISION_F64);
        write_reals(&network, PARAMETERS, 0, PARAMETER_COUNT, parameters->start);
    }

    const double step = fp64 ? 1e-4 : 1e-2, bound = fp64 ? 1e-5 : 5e-3;
    const double weights = deviation(&network, parameters, gradient, 0, WEIGHTS, step);
    const double biases = deviation(&network, parameters, gradient, WEIGHTS, N, step);
    printf(
        "gradient against central differences in %s, largest relative deviation: weights %.2g, biases %.2g "
        "(bound %g)\n",
        fp64 ? "f64" : "f32", weights, biases, bound);
    release_network(&network);
    free(gradient);
    return weights <= bound && biases <= bound ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* ---- Options ---- */

struct options {
    const char *device;
    int steps, check;
};

static struct options read_options(int count, char **arguments)
{
    struct options options = { NULL, 200, 0 };
    for (int k = 1; k < count; ++k) {
        const int more = k + 1 < count;
        char *end = "";
        long steps = options.steps;
        if (more && strcmp(arguments[k], "--device") == 0)
            options.device = arguments[++k];
        else if (more && strcmp(arguments[k], "--steps") == 0)
            steps = strtol(arguments[++k], &end, 10);
        else if (strcmp(arguments[k], "--check") == 0)
            options.check = 1;
        else
            fail(arguments[k], "usage: train_rates [--device TEXT] [--steps N] [--check]");
        if (*end || steps < 1 || steps > 1000000)
            fail(arguments[k], "the steps are 1 to 1000000");
        options.steps = (int)steps;
    }
    return options;
}

/* The device that ratecl chooses; where it is no OpenCL one, the program ends with status 77. */
static ratecl_device_info choose_device(const char *text)
{
    const ratecl_context_options options = { .size = sizeof options, .device = text };
    ratecl_device_info device = { .size = sizeof device };
    ratecl_context *context = NULL;
    const ratecl_status status = ratecl_context_create(&options, &context);
    if (status != RATECL_OK && status != RATECL_ERROR_NO_DEVICE)
        fail("ratecl_context_create", ratecl_last_error());
    if (status == RATECL_OK)
        CHECK(ratecl_context_device(context, &device));
    ratecl_context_release(context);
    if (status != RATECL_OK || device.kind == RATECL_DEVICE_OPENMP) {
        printf("There is no such OpenCL device: %s\n",
               status == RATECL_OK ? "ratecl takes its own CPU path" : ratecl_last_error());
        exit(77);
    }
    return device;
}

int main(int count, char **arguments)
{
    const struct options options = read_options(count, arguments);
    const ratecl_device_info device = choose_device(options.device);
    printf("%d excitatory and %d inhibitory neurons, %d trials of %d steps, on %s: %s\n", E, N - E, B, T,
           device.id, device.name);

    struct parameters *parameters = new_parameters();
    int status = EXIT_SUCCESS;
    if (options.check) {
        status = check(find_device(device.id), device.fp64, parameters);
    } else {
        struct network network = { 0 };
        create_network(&network, find_device(device.id), RATECL_PRECISION_F32);
        train(&network, parameters, options.steps);
        release_network(&network);
    }
    free(parameters);
    return status;
}

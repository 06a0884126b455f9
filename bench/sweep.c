/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast ratecl evaluates, beside what this machine can read: minimum and median times after the values of
 * every device were found to agree.
 *
 *     sweep [--batch B] [--time T] [--neurons N] [--runs R] [--device TEXT] [--json FILE]
 *
 * GB/s counts each state and reference state once. Values with a gradient ("+ g") stand beside the time in
 * which the states are copied and then read once more: two reads and a write. GFLOP/s counts multiply-adds as
 * two operations each: those of the half i <= j for the Hebbian value, those of S (W + W^T) for the gradient
 * to the states, and of the half for the one to the weights. "host" rows evaluate host memory with
 * ratecl_evaluate(); "device" rows evaluate OpenCL buffers in place.
 */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <ratecl/ratecl.h>
#ifdef RATECL_WITH_OPENCL
#include <ratecl/opencl.h>
#endif

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "sweep: %s: %s\n", what, why);
    exit(EXIT_FAILURE);
}

#define CHECK(call)                           \
    do {                                      \
        if ((call) != RATECL_OK)              \
            fail(#call, ratecl_last_error()); \
    } while (0)

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void *new_array(size_t bytes)
{
    void *array = malloc(bytes);
    if (!array)
        fail("memory", "there is too little");
    return array;
}

/* ---- What is measured ---- */

enum { TERMS_MAX = 6 };

/* Gradients by input: the states' and the weights'. */
enum { STATES, WEIGHTS, GRADIENTS };
static const uint32_t gradient_bits[GRADIENTS] = { RATECL_OUTPUT_GRADIENT_STATES,
                                                   RATECL_OUTPUT_GRADIENT_WEIGHTS };

/* Sets of criteria, a bit each. */
#define ONE(criterion) (1U << (criterion))
enum {
    RATES = ONE(RATECL_FIRING_RATE) | ONE(RATECL_FIRING_RATE_DIST),
    FIVE = RATES | ONE(RATECL_STATE_PREDICTION) | ONE(RATECL_ENTROPY) | ONE(RATECL_POPULATION_KL),
    HEBBIAN = ONE(RATECL_HEBBIAN)
};

typedef struct work {
    const char *name;
    unsigned criteria;
    bool gradients[GRADIENTS];
} work;

static const work works[] = {
    { "rates", RATES, { false, false } },         { "rates + g", RATES, { true, false } },
    { "five", FIVE, { false, false } },           { "five + g", FIVE, { true, false } },
    { "hebbian", HEBBIAN, { false, false } },     { "hebbian + g", HEBBIAN, { true, false } },
    { "hebbian + gW", HEBBIAN, { false, true } }, { "hebbian + both", HEBBIAN, { true, true } },
};
enum { WORKS = sizeof works / sizeof works[0] };

static bool has_term(const work *job, ratecl_criterion criterion)
{
    return job->criteria >> criterion & 1;
}

/* The terms of a job, with their defaults; returns how many. */
static size_t terms_of(const work *job, ratecl_term terms[TERMS_MAX])
{
    size_t count = 0;
    for (int criterion = RATECL_FIRING_RATE; criterion <= RATECL_POPULATION_KL; ++criterion)
        if (has_term(job, (ratecl_criterion)criterion))
            ratecl_term_init(&terms[count++], (ratecl_criterion)criterion);
    return count;
}

typedef struct options {
    int64_t B, T, N;
    int64_t runs;
    const char *device, *json;
    char id[32];
} options;

/* Rows and columns of one measurement, and its arrays in host memory. */
typedef struct problem {
    const work *job;
    int64_t B, T, N;
    float *states;    /* (B,T,N) */
    float *reference; /* (B,T,N), NULL where no term wants it */
    float *weights;   /* (N,N), likewise */
    float *gradients[GRADIENTS];
} problem;

static size_t state_count(const problem *p)
{
    return (size_t)(p->B * p->T * p->N);
}
static size_t weight_count(const problem *p)
{
    return (size_t)(p->N * p->N);
}

static size_t gradient_count(const problem *p, int which)
{
    return which == STATES ? state_count(p) : weight_count(p);
}

/* Bytes that must be read, or 0 where arithmetic is the limit. */
static double bytes_read(const problem *p)
{
    const double bytes = (double)state_count(p) * sizeof(float);
    if (p->weights)
        return 0;
    return p->reference ? 2 * bytes : bytes;
}

static double operations(const problem *p)
{
    const double rows = (double)(p->B * p->T), N = (double)p->N, half = rows * N * (N + 1);
    return (p->job->gradients[STATES] ? 2 * rows * N * N : half) + (p->job->gradients[WEIGHTS] ? half : 0);
}

static ratecl_plan *new_plan(ratecl_context *context, const problem *p)
{
    const ratecl_layout states = RATECL_LAYOUT_INIT(RATECL_F32, p->B, p->T, p->N);
    const ratecl_layout weights = RATECL_LAYOUT_INIT(RATECL_F32, 1, p->N, p->N);
    ratecl_term terms[TERMS_MAX];
    ratecl_plan_options plan_options = RATECL_PLAN_OPTIONS_INIT;
    for (int k = 0; k < GRADIENTS; ++k)
        plan_options.outputs |= p->job->gradients[k] ? gradient_bits[k] : 0;
    plan_options.states = &states;
    plan_options.reference = p->reference ? &states : NULL;
    plan_options.weights = p->weights ? &weights : NULL;
    plan_options.terms = terms;
    plan_options.term_count = terms_of(p->job, terms);
    ratecl_plan *plan = NULL;
    CHECK(ratecl_plan_create(context, &plan_options, &plan));
    return plan;
}

/* ---- Where it is measured ---- */

/* A context, and for OpenCL buffers evaluated in place the queue's own objects. */
typedef struct target {
    ratecl_device_info device;
    ratecl_context *context;
    bool in_place;
#ifdef RATECL_WITH_OPENCL
    cl_context cl;
    cl_command_queue queue;
    ratecl_cl_inputs buffers;
    ratecl_cl_outputs outputs;
#endif
} target;

static target open_host(const char *name)
{
    target where = { .device.size = sizeof where.device };
    ratecl_context_options context_options = RATECL_CONTEXT_OPTIONS_INIT;
    context_options.device = name;
    CHECK(ratecl_context_create(&context_options, &where.context));
    CHECK(ratecl_context_device(where.context, &where.device));
    return where;
}

#ifdef RATECL_WITH_OPENCL

static void check_code(cl_int code, const char *call)
{
    char why[32];
    snprintf(why, sizeof why, "OpenCL error %d", (int)code);
    if (code != CL_SUCCESS)
        fail(call, why);
}

#define CL(call) check_code((call), #call)
#define CL_NEW(object, call)     \
    do {                         \
        cl_int code;             \
        (object) = (call);       \
        check_code(code, #call); \
    } while (0)

static target open_in_place(const ratecl_device_info *info)
{
    enum { MOST = 64 };
    cl_platform_id platforms[MOST];
    cl_device_id devices[MOST];
    unsigned p = MOST, d = MOST;
    if (sscanf(info->id, "opencl:%u.%u", &p, &d) != 2 || p >= MOST || d >= MOST)
        fail(info->id, "is no OpenCL device");
    CL(clGetPlatformIDs(MOST, platforms, NULL));
    CL(clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, MOST, devices, NULL));

    target where = { .device = *info,
                     .in_place = true,
                     .buffers.size = sizeof where.buffers,
                     .outputs.size = sizeof where.outputs };
    CL_NEW(where.cl, clCreateContext(NULL, 1, &devices[d], NULL, NULL, &code));
    CL_NEW(where.queue, clCreateCommandQueue(where.cl, devices[d], 0, &code));
    CHECK(ratecl_cl_context_create(where.cl, devices[d], where.queue, NULL, &where.context));
    return where;
}

static cl_mem new_buffer(const target *where, const float *array, size_t count)
{
    cl_mem buffer = NULL;
    if (!array)
        return buffer;
    CL_NEW(buffer, clCreateBuffer(where->cl, CL_MEM_READ_WRITE, count * sizeof *array, NULL, &code));
    CL(clEnqueueWriteBuffer(where->queue, buffer, CL_TRUE, 0, count * sizeof *array, array, 0, NULL, NULL));
    return buffer;
}

static void load(target *where, const problem *p)
{
    where->buffers.states = new_buffer(where, p->states, state_count(p));
    where->buffers.reference = new_buffer(where, p->reference, state_count(p));
    where->buffers.weights = new_buffer(where, p->weights, weight_count(p));
    where->outputs.gradient_states = new_buffer(where, p->gradients[STATES], state_count(p));
    where->outputs.gradient_weights = new_buffer(where, p->gradients[WEIGHTS], weight_count(p));
}

static void unload(const target *where)
{
    const cl_mem buffers[] = { where->buffers.states, where->buffers.reference, where->buffers.weights,
                               where->outputs.gradient_states, where->outputs.gradient_weights };
    for (size_t k = 0; k < sizeof buffers / sizeof buffers[0]; ++k)
        if (buffers[k])
            CL(clReleaseMemObject(buffers[k]));
}

static void evaluate_in_place(const target *where, ratecl_plan *plan, const ratecl_outputs *outputs)
{
    CHECK(ratecl_cl_enqueue(plan, &where->buffers, &where->outputs, 0, NULL, NULL));
    CHECK(ratecl_cl_wait(plan, outputs));
}

static void read_back(const target *where, const problem *p)
{
    const cl_mem buffers[GRADIENTS] = { where->outputs.gradient_states, where->outputs.gradient_weights };
    for (int k = 0; k < GRADIENTS; ++k)
        if (buffers[k])
            CL(clEnqueueReadBuffer(where->queue, buffers[k], CL_TRUE, 0, gradient_count(p, k) * sizeof(float),
                                   p->gradients[k], 0, NULL, NULL));
}

#endif

static void close_target(target *where)
{
    ratecl_context_release(where->context);
#ifdef RATECL_WITH_OPENCL
    if (where->in_place) {
        CL(clReleaseCommandQueue(where->queue));
        CL(clReleaseContext(where->cl));
    }
#endif
}

static void evaluate(const target *where, ratecl_plan *plan, const problem *p, double values[TERMS_MAX])
{
    const ratecl_outputs outputs = { .size = sizeof outputs,
                                     .values = values,
                                     .value_count = TERMS_MAX,
                                     .gradient_states = p->gradients[STATES],
                                     .gradient_weights = p->gradients[WEIGHTS] };
#ifdef RATECL_WITH_OPENCL
    if (where->in_place) {
        evaluate_in_place(where, plan, &outputs);
        return;
    }
#endif
    (void)where;
    const ratecl_inputs inputs = {
        .size = sizeof inputs, .states = p->states, .reference = p->reference, .weights = p->weights
    };
    CHECK(ratecl_evaluate(plan, &inputs, &outputs));
}

/* ---- Timing ---- */

enum { DROPPED_RUNS = 2, RUNS_MAX = 1000 };

typedef struct timing {
    double minimum, median; /* seconds */
} timing;

static int compare(const void *left, const void *right)
{
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static timing summary(double *times, int64_t runs)
{
    qsort(times, (size_t)runs, sizeof *times, compare);
    return (timing){ times[0], (times[(runs - 1) / 2] + times[runs / 2]) / 2 };
}

/* What a run gave, in numbers to compare: the values, and each gradient's norm. */
enum { RESULTS = TERMS_MAX + GRADIENTS };

static double norm(const float *array, size_t count)
{
    double squares = 0;
    for (size_t k = 0; array && k < count; ++k)
        squares += (double)array[k] * (double)array[k];
    return sqrt(squares);
}

/* The results of a first run must be those expected, those of the first target ever asked. */
static void verify(const target *where, const problem *p, double results[RESULTS], double *expected)
{
#ifdef RATECL_WITH_OPENCL
    if (where->in_place)
        read_back(where, p);
#endif
    for (int k = 0; k < GRADIENTS; ++k)
        results[TERMS_MAX + k] = norm(p->gradients[k], gradient_count(p, k));
    for (size_t k = 0; k < RESULTS; ++k) {
        if (isnan(expected[k]))
            expected[k] = results[k];
        if (!(fabs(results[k] - expected[k]) <= 1e-4 * fabs(expected[k]) + 1e-9))
            fail(where->device.id, "its results differ from the first device's");
    }
}

static timing measure(const target *where, const problem *p, int64_t runs, double expected[RESULTS])
{
    ratecl_plan *plan = new_plan(where->context, p);
    double times[RUNS_MAX] = { 0 }, results[RESULTS] = { 0 };
    for (int64_t run = -DROPPED_RUNS; run < runs; ++run) {
        const double start = seconds_now();
        evaluate(where, plan, p, results);
        if (run >= 0)
            times[run] = seconds_now() - start;
        else
            verify(where, p, results, expected);
    }
    ratecl_plan_release(plan);
    return summary(times, runs);
}

/* The time in which all threads read that many bytes once and add them up, as integers: any compiler
 * vectorises that, and its additions hide behind the reads. */
static timing measure_read(size_t bytes, int64_t runs)
{
    static volatile uint64_t sink; /* keeps the sum from being optimised away */
    const int64_t count = (int64_t)(bytes / sizeof(uint64_t));
    uint64_t *words = new_array(bytes);
    double times[RUNS_MAX] = { 0 };
    for (int64_t k = 0; k < count; ++k)
        words[k] = (uint64_t)k;
    for (int64_t run = -DROPPED_RUNS; run < runs; ++run) {
        uint64_t sum = 0;
        const double start = seconds_now();
#ifdef _OPENMP
#pragma omp parallel for reduction(+ : sum) schedule(static)
#endif
        for (int64_t k = 0; k < count; ++k)
            sum += words[k];
        sink = sum;
        if (run >= 0)
            times[run] = seconds_now() - start;
    }
    (void)sink;
    free(words);
    return summary(times, runs);
}

/* The time in which all threads copy that many bytes. */
static timing measure_copy(size_t bytes, int64_t runs)
{
    enum { PART = 1 << 20 };
    char *from = new_array(bytes), *to = new_array(bytes);
    double times[RUNS_MAX] = { 0 };
    memset(from, 1, bytes);
    for (int64_t run = -DROPPED_RUNS; run < runs; ++run) {
        const double start = seconds_now();
#ifdef _OPENMP
#pragma omp parallel for schedule(static)
#endif
        for (size_t k = 0; k < bytes; k += PART)
            memcpy(to + k, from + k, bytes - k < PART ? bytes - k : PART);
        if (run >= 0)
            times[run] = seconds_now() - start;
    }
    if (memcmp(from, to, bytes) != 0)
        fail("memory", "a copy differs");
    free(from);
    free(to);
    return summary(times, runs);
}

/* ---- Reports ---- */

typedef struct report {
    FILE *json; /* NULL: none */
    const char *separator;
    double read, copy; /* seconds, for the states */
} report;

static void begin_report(report *out, const options *given)
{
    const size_t bytes = (size_t)(given->B * given->T * given->N) * sizeof(float);
    *out = (report){ .separator = "",
                     .read = measure_read(bytes, given->runs).minimum,
                     .copy = measure_copy(bytes, given->runs).minimum };
    printf("reading (%lld, %lld, %lld) f32: %.3f ms, %.1f GB/s; copying it: %.3f ms\n\n", (long long)given->B,
           (long long)given->T, (long long)given->N, out->read * 1e3, (double)bytes / out->read * 1e-9,
           out->copy * 1e3);
    printf("%-14s %-7s %-15s %12s %12s %12s\n", "device", "memory", "terms", "minimum ms", "median ms",
           "rate");
    if (!given->json)
        return;
    out->json = fopen(given->json, "w");
    if (!out->json)
        fail(given->json, "cannot be written");
    fprintf(out->json, "{\"shape\": [%lld, %lld, %lld], \"read_gb_s\": %.4g, ", (long long)given->B,
            (long long)given->T, (long long)given->N, (double)bytes / out->read * 1e-9);
    fprintf(out->json, "\"read_s\": %.6g, \"copy_s\": %.6g, \"results\": [", out->read, out->copy);
}

/* A time beside what bounds it: its name and number in JSON, and the same for people. */
static void add_rate(const report *out, const problem *p, double seconds)
{
    const double bytes = bytes_read(p), states = (double)state_count(p) * sizeof(float);
    char text[80], json[80];
    if (bytes > 0 && p->job->gradients[STATES]) {
        const double ratio = seconds / (out->copy + out->read);
        snprintf(text, sizeof text, "%7.2f x copying and reading", ratio);
        snprintf(json, sizeof json, "\"of_copying_and_reading\": %.4g", ratio);
    } else if (bytes > 0) {
        const double share = out->read * bytes / states / seconds;
        snprintf(text, sizeof text, "%7.1f GB/s, %.0f %% of reading", bytes / seconds * 1e-9, 100 * share);
        snprintf(json, sizeof json, "\"gb_s\": %.4g, \"of_reading\": %.4g", bytes / seconds * 1e-9, share);
    } else {
        snprintf(text, sizeof text, "%7.1f GFLOP/s", operations(p) / seconds * 1e-9);
        snprintf(json, sizeof json, "\"gflop_s\": %.4g", operations(p) / seconds * 1e-9);
    }
    puts(text);
    if (out->json)
        fprintf(out->json, "%s}", json);
}

static void add_result(report *out, const target *where, const problem *p, timing time)
{
    const char *memory = where->in_place ? "device" : "host";
    printf("%-14s %-7s %-15s %12.3f %12.3f ", where->device.id, memory, p->job->name, time.minimum * 1e3,
           time.median * 1e3);
    if (out->json) {
        fprintf(out->json, "%s\n  {\"device\": \"%s\", \"memory\": \"%s\", \"terms\": \"%s\", ",
                out->separator, where->device.id, memory, p->job->name);
        fprintf(out->json, "\"minimum_s\": %.6g, \"median_s\": %.6g, ", time.minimum, time.median);
    }
    add_rate(out, p, time.minimum);
    out->separator = ",";
}

static void end_report(report *out)
{
    if (!out->json)
        return;
    fputs("\n]}\n", out->json);
    if (ferror(out->json) || fclose(out->json) != 0)
        fail("--json", "the file cannot be written");
}

/* ---- Problems ---- */

/* Numbers in [low, high), the same in every run. */
static float *new_random(size_t count, unsigned seed, float low, float high)
{
    float *array = new_array(count * sizeof *array);
    for (size_t k = 0; k < count; ++k) {
        uint32_t x = (uint32_t)k + seed * 0x9e3779b9u;
        x = (x ^ (x >> 16)) * 0x7feb352du;
        x = (x ^ (x >> 15)) * 0x846ca68bu;
        array[k] = low + (high - low) * (float)((x ^ (x >> 16)) >> 8) * 0x1p-24f;
    }
    return array;
}

static problem new_problem(const work *job, const options *given)
{
    problem p = { .job = job, .B = given->B, .T = given->T, .N = given->N };
    if (has_term(job, RATECL_HEBBIAN)) {
        p.B = 4;
        p.T = 1000;
        p.N = 1024;
    }
    p.states = new_random(state_count(&p), 1, 0, 1);
    if (has_term(job, RATECL_POPULATION_KL))
        p.reference = new_random(state_count(&p), 2, 0, 2);
    if (has_term(job, RATECL_HEBBIAN))
        p.weights = new_random(weight_count(&p), 3, -1, 1);
    for (int k = 0; k < GRADIENTS; ++k)
        if (job->gradients[k])
            p.gradients[k] = new_random(gradient_count(&p, k), 4, 0, 1);
    return p;
}

static void run_on(target where, const problem *p, const options *given, double *expected, report *out)
{
#ifdef RATECL_WITH_OPENCL
    if (where.in_place)
        load(&where, p);
#endif
    add_result(out, &where, p, measure(&where, p, given->runs, expected));
#ifdef RATECL_WITH_OPENCL
    if (where.in_place)
        unload(&where);
#endif
    close_target(&where);
}

/* The OpenMP path comes first, though it is listed last: the others are held against it. */
static void run_problem(const work *job, const options *given, report *out)
{
    problem p = new_problem(job, given);
    double expected[RESULTS];
    for (size_t k = 0; k < RESULTS; ++k)
        expected[k] = NAN;
    for (size_t k = ratecl_device_count(); k-- > 0;) {
        ratecl_device_info info = { .size = sizeof info };
        CHECK(ratecl_device_get(k, &info));
        if (given->device ? strcmp(info.id, given->id) != 0 : info.kind == RATECL_DEVICE_SOFTWARE)
            continue;
        run_on(open_host(info.id), &p, given, expected, out);
#ifdef RATECL_WITH_OPENCL
        if (info.kind != RATECL_DEVICE_OPENMP)
            run_on(open_in_place(&info), &p, given, expected, out);
#endif
    }
    free(p.states);
    free(p.reference);
    free(p.weights);
    for (int k = 0; k < GRADIENTS; ++k)
        free(p.gradients[k]);
}

static int64_t read_number(const char *text, int64_t most)
{
    char *end;
    const long long number = strtoll(text, &end, 10);
    if (end == text || *end || number < 1 || number > most)
        fail(text, "is no number in the range of its option");
    return number;
}

static options read_options(int count, char **arguments)
{
    options given = { .B = 32, .T = 1000, .N = 1024, .runs = 20 };
    const struct {
        const char *name;
        int64_t *number, most;
        const char **text;
    } table[] = {
        { "--batch", &given.B, 1 << 20, NULL },   { "--time", &given.T, 1 << 20, NULL },
        { "--neurons", &given.N, 1 << 14, NULL }, { "--runs", &given.runs, RUNS_MAX, NULL },
        { "--device", NULL, 0, &given.device },   { "--json", NULL, 0, &given.json },
    };
    const size_t known = sizeof table / sizeof table[0];
    for (int k = 1; k < count; k += 2) {
        size_t found = 0;
        while (found < known && strcmp(arguments[k], table[found].name) != 0)
            ++found;
        if (found == known || k + 1 == count)
            fail(arguments[k],
                 "is not an option with a value: --batch --time --neurons --runs --device --json");
        if (table[found].text)
            *table[found].text = arguments[k + 1];
        else
            *table[found].number = read_number(arguments[k + 1], table[found].most);
    }
    return given;
}

/* The id of the device that --device names, in whichever of the ways that ratecl knows. */
static void find_id(options *given)
{
    target where = open_host(given->device);
    memcpy(given->id, where.device.id, sizeof given->id);
    ratecl_context_release(where.context);
}

int main(int count, char **arguments)
{
    options given = read_options(count, arguments);
    if (given.device)
        find_id(&given);
    report out;
    begin_report(&out, &given);
    for (size_t k = 0; k < WORKS; ++k)
        run_problem(&works[k], &given, &out);
    end_report(&out);
    return 0;
}

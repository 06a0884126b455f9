/* SPDX-License-Identifier: Apache-2.0 */
/* A CPU's ceilings, from loops on all threads of OpenMP. */
#include "ceilings.h"

#include <math.h>
#include <stdlib.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "loops.h"
#include "support.h"
#include "timing.h"

enum { ARRAYS_USED = 3, RUNS = 8 };

typedef struct bench {
    const loops *code;
    float *x[ARRAYS_USED];
    size_t count, part; /* floats in an array, and in a thread's part of it */
    int threads;
} bench;

/* How a pass goes over its arrays. */
typedef struct manner {
    int streams;
    size_t ahead;
    bool non_temporal;
} manner;

static int thread_count(void)
{
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

/* Numbers whose sums and products by a power of two are exact. */
static float number(int which, size_t k)
{
    return (float)((k * 7 + (size_t)which) % 1021);
}

static bench new_bench(size_t bytes)
{
    bench made = { .code = choose_loops(), .threads = thread_count() };
    const size_t blocks = bytes / sizeof(float) / LOOP_BLOCK / (size_t)made.threads;
    made.part = (blocks ? blocks : 1) * LOOP_BLOCK;
    made.count = made.part * (size_t)made.threads;
    for (int a = 0; a < ARRAYS_USED; ++a) {
        float *x = made.x[a] = new_array(made.count * sizeof(float));
#ifdef _OPENMP
#pragma omp parallel for schedule(static)
#endif
        for (size_t k = 0; k < made.count; ++k)
            x[k] = number(a, k);
    }
    return made;
}

/* A pass: what thread `thread` does, and whether the results are right. */
typedef struct pass {
    uint32_t (*run)(const bench *b, manner how, size_t first);
    bool (*check)(const bench *b, uint32_t result);
    double arrays; /* read and written */
} pass;

static const float SCALE = 0.5f;

static uint32_t run_read(const bench *b, manner how, size_t first)
{
    return b->code->read((const uint32_t *)(const void *)(b->x[0] + first), b->part, how.streams, how.ahead);
}

static uint32_t run_write(const bench *b, manner how, size_t first)
{
    b->code->write(b->x[1] + first, SCALE, b->part, how.non_temporal);
    return 0;
}

static uint32_t run_copy(const bench *b, manner how, size_t first)
{
    b->code->copy(b->x[1] + first, b->x[0] + first, b->part, how.non_temporal, how.ahead);
    return 0;
}

static uint32_t run_triad(const bench *b, manner how, size_t first)
{
    b->code->triad(b->x[1] + first, b->x[0] + first, b->x[2] + first, SCALE, b->part, how.non_temporal,
                   how.ahead);
    return 0;
}

static bool check_read(const bench *b, uint32_t result)
{
    const uint32_t *words = (const uint32_t *)(const void *)b->x[0];
    uint32_t sum = 0;
#ifdef _OPENMP
#pragma omp parallel for schedule(static) reduction(+ : sum)
#endif
    for (size_t k = 0; k < b->count; ++k)
        sum += words[k];
    return result == sum;
}

static bool check_write(const bench *b, uint32_t result)
{
    bool right = result == 0;
#ifdef _OPENMP
#pragma omp parallel for schedule(static) reduction(&& : right)
#endif
    for (size_t k = 0; k < b->count; ++k)
        right = right && b->x[1][k] == SCALE;
    return right;
}

static bool check_copy(const bench *b, uint32_t result)
{
    bool right = result == 0;
#ifdef _OPENMP
#pragma omp parallel for schedule(static) reduction(&& : right)
#endif
    for (size_t k = 0; k < b->count; ++k)
        right = right && b->x[1][k] == b->x[0][k];
    return right;
}

static bool check_triad(const bench *b, uint32_t result)
{
    bool right = result == 0;
#ifdef _OPENMP
#pragma omp parallel for schedule(static) reduction(&& : right)
#endif
    for (size_t k = 0; k < b->count; ++k)
        right = right && b->x[1][k] == b->x[0][k] + SCALE * b->x[2][k];
    return right;
}

static uint32_t run_on_threads(const bench *b, const pass *p, manner how)
{
    uint32_t result = 0;
#ifdef _OPENMP
#pragma omp parallel for num_threads(b->threads) schedule(static, 1) reduction(+ : result)
#endif
    for (int thread = 0; thread < b->threads; ++thread)
        result += p->run(b, how, (size_t)thread * b->part);
    return result;
}

/* Bytes a second of a pass over these in turn, in the best run after one that is checked. */
static double rate(const bench *all, size_t count, const pass *p, manner how, int runs)
{
    double bytes = 0;
    stopwatch watch = new_stopwatch(runs, INFINITY);
    for (size_t k = 0; k < count; ++k) {
        bytes += p->arrays * (double)(all[k].count * sizeof(float));
        if (!p->check(&all[k], run_on_threads(&all[k], p, how)))
            fail("ceilings", "a loop's result is wrong");
    }
    while (wants_more(&watch)) {
        start_run(&watch);
        for (size_t k = 0; k < count; ++k)
            run_on_threads(&all[k], p, how);
        end_run(&watch);
    }
    return bytes / summary(&watch).minimum;
}

static const pass read_pass = { run_read, check_read, 1 }, write_pass = { run_write, check_write, 1 },
                  copy_pass = { run_copy, check_copy, 2 }, triad_pass = { run_triad, check_triad, 3 };

struct gauge {
    manner read, write; /* the best ones */
};

static void measure_memory(const bench *b, gauge *g, ceilings *found)
{
    static const size_t distances[] = { 0, 64, 256, 1024 }; /* all divide a block */
    for (size_t k = 0; k < sizeof distances / sizeof *distances; ++k) {
        for (int streams = 1; streams <= 8; streams *= 2) {
            const manner how = { streams, distances[k], false };
            if (raise(&found->read, rate(b, 1, &read_pass, how, RUNS)))
                g->read = how;
        }
        for (int non_temporal = 0; non_temporal < 2; ++non_temporal) {
            const manner how = { 1, distances[k], non_temporal };
            raise(&found->copy, rate(b, 1, &copy_pass, how, RUNS));
            raise(&found->triad, rate(b, 1, &triad_pass, how, RUNS));
            if (k == 0 && raise(&found->write, rate(b, 1, &write_pass, how, RUNS)))
                g->write = how;
        }
    }
}

/* Operations a second of one run of so many rounds; x settles at term / (1 - factor) = 2. */
static double multiply_add_rate(const bench *b, int64_t rounds)
{
    const int count = LOOP_ACCUMULATORS * b->code->lanes;
    bool right = true;
    const double start = seconds_now();
#ifdef _OPENMP
#pragma omp parallel for num_threads(b->threads) schedule(static, 1) reduction(&& : right)
#endif
    for (int thread = 0; thread < b->threads; ++thread) {
        float x[LOOP_ACCUMULATORS * 16] = { 0 };
        b->code->multiply_add(x, 0.5f, 1, rounds);
        for (int k = 0; k < count; ++k)
            right = right && fabsf(x[k] - 2) < 1e-5f;
    }
    const double seconds = seconds_now() - start;
    if (!right)
        fail("ceilings", "a sum of products is wrong");
    return 2.0 * count * b->threads * (double)rounds / seconds;
}

static double launch_time(const bench *b)
{
    enum { REGIONS = 100 };
    double least = INFINITY;
    for (int run = 0; run < RUNS; ++run) {
        const double start = seconds_now();
        for (int k = 0; k < REGIONS; ++k) {
#ifdef _OPENMP
#pragma omp parallel num_threads(b->threads)
            __asm__ volatile("" ::: "memory");
#else
            (void)b;
#endif
        }
        least = fmin(least, (seconds_now() - start) / REGIONS);
    }
    return least;
}

gauge *new_gauge(size_t bytes, ceilings *found)
{
    enum { ROUNDS = 100000, TRIES = 60 };
    const bench b = new_bench(bytes);
    gauge *g = new_array(sizeof *g);
    *g = (gauge){ 0 };
    *found = (ceilings){ .launch = launch_time(&b) };
    measure_memory(&b, g, found);
    for (int run = 0; run < TRIES; ++run)
        raise(&found->multiply_add, multiply_add_rate(&b, ROUNDS));
    for (int a = 0; a < ARRAYS_USED; ++a)
        free(b.x[a]);
    return g;
}

void release_gauge(gauge *g)
{
    free(g);
}

/* As much of an array as the loops take; count 0 where it is too small. */
static bench bench_on(span where)
{
    bench made = { .code = choose_loops(), .x = { where.memory, where.memory }, .threads = thread_count() };
    made.part = where.bytes / sizeof(float) / LOOP_BLOCK / (size_t)made.threads * LOOP_BLOCK;
    made.count = made.part * (size_t)made.threads;
    return made;
}

void raise_to_now(const gauge *g, const span *read, size_t read_count, span written, ceilings *of)
{
    enum { READ_MOST = 2 };
    const manner manners[] = { g->read, { .streams = 4 } };
    bench all[READ_MOST];
    size_t used = 0;
    for (size_t k = 0; k < read_count && used < READ_MOST; ++k) {
        all[used] = bench_on(read[k]);
        used += all[used].count > 0;
    }
    for (size_t k = 0; used && k < sizeof manners / sizeof *manners; ++k)
        raise(&of->read, rate(all, used, &read_pass, manners[k], RUNS / 2));
    all[0] = bench_on(written);
    if (all[0].count)
        raise(&of->write, rate(all, 1, &write_pass, g->write, RUNS / 2));
}

ceilings join_ceilings(ceilings kernels, ceilings cpu)
{
    raise(&kernels.read, cpu.read);
    raise(&kernels.write, cpu.write);
    raise(&kernels.copy, cpu.copy);
    raise(&kernels.triad, cpu.triad);
    raise(&kernels.multiply_add, cpu.multiply_add);
    return kernels;
}

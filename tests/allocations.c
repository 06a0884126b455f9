/* SPDX-License-Identifier: Apache-2.0 */
/* Host memory. On the CPU path an evaluation allocates none once a plan has been evaluated: OpenMP makes its
 * threads then. (interop.c has the same of OpenCL's objects.) Each allocation of the library may fail, on
 * both paths: the status says so, nothing is lost, and the next try is right. */
#define _GNU_SOURCE /* dl_iterate_phdr */
#include "gradient_check.h"

#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#if defined(__GLIBC__) && !defined(SANITIZED)
#define COUNTS 1

/* glibc's own functions, under names that a program's malloc may call. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *memory);

static bool counting;
static size_t allocations;

/* ---- Allocations of the library, which fail on demand ---- */

enum { BLOCKS_MAX = 1 << 13 };

static struct {
    uintptr_t begin, end; /* of the library's code */
    bool armed, onward;
    size_t calls, fails_at;
    void *live[BLOCKS_MAX]; /* blocks that were not given back; NULL where there is none */
    pthread_mutex_t lock;   /* of `live` */
} own = { .lock = PTHREAD_MUTEX_INITIALIZER };

static int find_library(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    if (!strstr(info->dlpi_name, "libratecl"))
        return 0;
    for (int k = 0; k < info->dlpi_phnum; k++)
        if (info->dlpi_phdr[k].p_type == PT_LOAD && (info->dlpi_phdr[k].p_flags & PF_X)) {
            own.begin = info->dlpi_addr + info->dlpi_phdr[k].p_vaddr;
            own.end = own.begin + info->dlpi_phdr[k].p_memsz;
        }
    return 1;
}

static bool is_own(const void *caller)
{
    return (uintptr_t)caller >= own.begin && (uintptr_t)caller < own.end;
}

/* Count an allocation. True if it has to fail. */
static bool fails(const void *caller)
{
    if (__atomic_load_n(&counting, __ATOMIC_RELAXED))
        __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    if (!own.armed || !is_own(caller))
        return false;
    const size_t call = __atomic_add_fetch(&own.calls, 1, __ATOMIC_RELAXED);
    return own.onward ? call >= own.fails_at : call == own.fails_at;
}

/* Put `by` in the place of a block. */
static void replace(void *block, void *by)
{
    pthread_mutex_lock(&own.lock);
    for (size_t k = 0; k < BLOCKS_MAX; k++)
        if (own.live[k] == block) {
            own.live[k] = by;
            break;
        }
    pthread_mutex_unlock(&own.lock);
}

static size_t count_live(void)
{
    size_t count = 0;
    for (size_t k = 0; k < BLOCKS_MAX; k++)
        count += own.live[k] != NULL;
    return count;
}

static void *made(const void *caller, void *block)
{
    if (block && is_own(caller))
        replace(NULL, block);
    return block;
}

#define CALLER __builtin_return_address(0)

void *malloc(size_t size)
{
    return fails(CALLER) ? NULL : made(CALLER, __libc_malloc(size));
}

void *calloc(size_t number, size_t size)
{
    return fails(CALLER) ? NULL : made(CALLER, __libc_calloc(number, size));
}

void *realloc(void *old, size_t size)
{
    if (fails(CALLER))
        return NULL;
    void *block = __libc_realloc(old, size);
    if (!old)
        return made(CALLER, block);
    if (block)
        replace(old, block);
    return block;
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return fails(CALLER) ? NULL : made(CALLER, __libc_memalign(alignment, size));
}

/* The compiler may make a jump of the library's last call, so that it does not look like the library's. */
void free(void *memory)
{
    if (memory && own.end > 0)
        replace(memory, NULL);
    __libc_free(memory);
}
#endif

#ifdef COUNTS

static ratecl_plan *plan_with_gradients(const gradients *of, ratecl_context *context)
{
    ratecl_plan_options options = problem_options(&of->given, 0, of->given.term_count);
    ratecl_plan *plan = NULL;
    options.outputs = RATECL_OUTPUT_VALUES | gradients_outputs(of, 0, of->given.term_count);
    ASSERT_OK(ratecl_plan_create(context, &options, &plan));
    return plan;
}

/* The memory that a gradient to an input takes in f64, which is enough for any. */
static double *room_for(const gradients *of, int input)
{
    return suite_allocate(gradients_size(of, input) * sizeof(double));
}

static void check_shape(ratecl_context *context, int64_t B, int64_t T, int64_t N)
{
    const array_spec states = {
        .shape = { B, T, N }, .kind = ARRAY_RATES, .element = RATECL_F32, .seed = 71
    };
    array_spec specs[INPUT_COUNT];
    problem given;
    gradients of;
    problem_specs(specs, &states);
    problem_make(&given, specs, NULL, 0);
    gradients_take(&of, &given);

    ratecl_plan *plan = plan_with_gradients(&of, context);
    ratecl_inputs inputs = problem_inputs(&of.given);
    inputs.cotangents = of.cotangents;
    inputs.cotangent_count = of.vectors[of.given.term_count] * (size_t)N;
    ratecl_outputs outputs = RATECL_OUTPUTS_INIT;
    outputs.value_count = ratecl_plan_value_count(plan);
    outputs.values = suite_allocate(outputs.value_count * sizeof *outputs.values);
    outputs.gradient_states = room_for(&of, STATES);
    outputs.gradient_reference = room_for(&of, REFERENCE);
    outputs.gradient_weights = room_for(&of, WEIGHTS);
    for (int again = 0; again < 3; again++) {
        __atomic_store_n(&counting, again > 0, __ATOMIC_RELAXED);
        const ratecl_status status = ratecl_evaluate(plan, &inputs, &outputs);
        __atomic_store_n(&counting, false, __ATOMIC_RELAXED);
        ck_assert_int_eq(status, RATECL_OK);
    }
    ck_assert_msg(allocations == 0, "(%d, %d, %d): %zu allocations", (int)B, (int)T, (int)N, allocations);

    free(outputs.values);
    free(outputs.gradient_states);
    free(outputs.gradient_reference);
    free(outputs.gradient_weights);
    ratecl_plan_release(plan);
    gradients_free(&of);
}

START_TEST(evaluation_allocates_nothing)
{
    ratecl_context *context = suite_context("cpu");
    check_shape(context, 2, 7, 31); /* of one thread */
    check_shape(context, 3, 100, 257);
    ratecl_context_release(context);
}
END_TEST

/* What counts nothing would find nothing. */
START_TEST(allocations_are_counted)
{
    __atomic_store_n(&counting, true, __ATOMIC_RELAXED);
    void *volatile block = malloc(1);
    __atomic_store_n(&counting, false, __ATOMIC_RELAXED);
    free(block);
    ck_assert_uint_eq(allocations, 1);
    allocations = 0;
    dl_iterate_phdr(find_library, NULL);
    ck_assert_uint_gt(own.end, own.begin);
}
END_TEST

/* ---- Failures ---- */

typedef struct use {
    const char *device; /* NULL: the default one */
    uint64_t staging_limit;
    problem given;
    outcome expected;
    ratecl_context *context;
    ratecl_plan *plan;
    ratecl_inputs inputs;
    ratecl_outputs outputs;
} use;

static ratecl_status create_context(use *u)
{
    ratecl_context_options options = RATECL_CONTEXT_OPTIONS_INIT;
    options.device = u->device;
    options.staging_limit = u->staging_limit;
    return ratecl_context_create(&options, &u->context);
}

static ratecl_status create_plan(use *u)
{
    ratecl_plan_options options = problem_options(&u->given, 0, u->given.term_count);
    options.outputs = RATECL_OUTPUT_VALUES | RATECL_OUTPUT_GRADIENT_STATES;
    return ratecl_plan_create(u->context, &options, &u->plan);
}

static ratecl_status evaluate(use *u)
{
    return ratecl_evaluate(u->plan, &u->inputs, &u->outputs);
}

/* The steps of a use, each of which may fail. */
static ratecl_status (*const steps[])(use *u) = { create_context, create_plan, evaluate };
static const char *const step_names[] = { "context", "plan", "evaluation" };

/* Do a step while allocation number `at` fails, then again unless it worked, and what comes after it. True if
 * there was such an allocation. */
static bool fail_once(use *u, size_t failing, size_t at, bool onward, size_t *handled)
{
    const size_t live = count_live();
    bool failed = false;
    for (size_t k = 0; k < COUNT(steps); k++) {
        own.armed = k == failing;
        own.onward = onward;
        own.calls = 0;
        own.fails_at = at;
        const ratecl_status status = steps[k](u);
        own.armed = false;
        if (k == failing)
            failed = own.calls >= at;
        *handled += k == failing && failed && status == RATECL_OK;
        if (status == RATECL_OK)
            continue;
        ck_assert_msg(k == failing && failed && status == RATECL_ERROR_MEMORY,
                      "%s: %s: allocation %zu: %s: %s", u->device, step_names[failing], at,
                      ratecl_status_name(status), ratecl_last_error());
        ck_assert_msg(strstr(ratecl_last_error(), "memory") != NULL, "%s", ratecl_last_error());
        ck_assert(k != 0 || !u->context);
        ck_assert(k != 1 || !u->plan);
        ASSERT_OK(steps[k](u));
    }
    ck_assert_mem_eq(u->outputs.values, u->expected.values, u->outputs.value_count * sizeof(double));
    ratecl_plan_release(u->plan);
    ratecl_context_release(u->context);
    u->plan = NULL;
    u->context = NULL;
    ck_assert_msg(count_live() == live, "%s: %s: allocation %zu: %zu blocks are lost", u->device,
                  step_names[failing], at, count_live() - live);
    return failed;
}

/* Let the allocations of the steps from `first` on fail. */
static void fail_each(const char *device, const char *host_memory, uint64_t staging_limit, size_t first)
{
    static const char *const texts[] = { "state_prediction:tau=2", "entropy:eps=1e-3" };
    const array_spec states = { .shape = { 2, 9, 5 }, .kind = ARRAY_RATES, .seed = 149 };
    array_spec specs[INPUT_COUNT];
    use u = { .device = device, .staging_limit = staging_limit };
    setenv("RATECL_HOST_MEMORY", host_memory, 1);
    problem_specs(specs, &states);
    problem_make(&u.given, specs, texts, COUNT(texts));
    u.inputs = problem_inputs(&u.given);
    u.outputs = (ratecl_outputs)RATECL_OUTPUTS_INIT;
    u.outputs.value_count = COUNT(texts);
    u.outputs.values = suite_allocate(COUNT(texts) * sizeof(double));
    u.outputs.gradient_states = suite_allocate(u.given.inputs[STATES].bytes);
    u.expected.values = suite_allocate(COUNT(texts) * sizeof(double));
    for (size_t k = 0; k < COUNT(steps); k++)
        ASSERT_OK(steps[k](&u));
    memcpy(u.expected.values, u.outputs.values, COUNT(texts) * sizeof(double));
    ratecl_plan_release(u.plan);
    ratecl_context_release(u.context);
    u.plan = NULL;
    u.context = NULL;
    for (size_t failing = first; failing < COUNT(steps); failing++)
        for (int onward = 0; onward < 2; onward++) {
            size_t failed = 0, handled = 0;
            while (fail_once(&u, failing, failed + 1, onward, &handled))
                failed++;
            printf("%s%s%s: %s: %s: %zu allocations failed, %zu handled, %zu refused\n", device,
                   *host_memory ? ", " : "", host_memory, step_names[failing], onward ? "onward" : "once",
                   failed, handled, failed - handled);
        }
    free(u.expected.values);
    free(u.outputs.values);
    free(u.outputs.gradient_states);
    problem_free(&u.given);
    setenv("RATECL_HOST_MEMORY", "", 1);
}

START_TEST(failures)
{
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t count = suite_devices(devices);
    fail_each("cpu", "", 0, 0);
    for (size_t d = 0; d < count; d++) {
        if (devices[d].kind == RATECL_DEVICE_OPENMP)
            continue;
        fail_each(devices[d].id, "", 0, 0);
        fail_each(devices[d].id, "staged", 64, 2);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { allocations_are_counted, evaluation_allocates_nothing, failures };
    return suite_run("allocations", tests, COUNT(tests));
}

#else

int main(void)
{
    printf("skipped: malloc is the sanitizer's, or not glibc's\n");
    return SUITE_SKIPPED;
}

#endif

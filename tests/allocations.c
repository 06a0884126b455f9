/* SPDX-License-Identifier: Apache-2.0 */
/* On the CPU path an evaluation allocates no memory once a plan has been evaluated: OpenMP makes its threads
 * then. (interop.c has the same of OpenCL's objects.) */
#include "gradient_check.h"

#include <stdio.h>
#include <stdlib.h>

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

static bool counting;
static size_t allocations;

static void count(void)
{
    if (__atomic_load_n(&counting, __ATOMIC_RELAXED))
        __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
}

void *malloc(size_t size)
{
    count();
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size)
{
    count();
    return __libc_calloc(number, size);
}

void *realloc(void *old, size_t size)
{
    count();
    return __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    count();
    return __libc_memalign(alignment, size);
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
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { allocations_are_counted, evaluation_allocates_nothing };
    return suite_run("allocations", tests, COUNT(tests));
}

#else

int main(void)
{
    printf("skipped: malloc is the sanitizer's, or not glibc's\n");
    return SUITE_SKIPPED;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Children that fork() makes of a process that uses the library: the CPU path works there, OpenCL is refused,
 * and nothing hangs. */
#include "problem.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef RATECL_WITH_OPENCL
#include "caller.h"
#endif

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifdef __SANITIZE_THREAD__
#define SANITIZED 1
#endif

enum { CHILD_SECONDS = 60 };

/* Check's assertions belong to the parent. */
#define EXPECT(condition, ...)                                       \
    do {                                                             \
        if (!(condition)) {                                          \
            fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);          \
            fprintf(stderr, __VA_ARGS__);                            \
            fprintf(stderr, "; message: %s\n", ratecl_last_error()); \
            _exit(1);                                                \
        }                                                            \
    } while (0)
#define EXPECT_OK(call)                                                             \
    do {                                                                            \
        const ratecl_status status_ = (call);                                       \
        EXPECT(status_ == RATECL_OK, "%s: %s", #call, ratecl_status_name(status_)); \
    } while (0)
#define EXPECT_FORKED(call, status)                                                                 \
    do {                                                                                            \
        const ratecl_status status_ = (call);                                                       \
        EXPECT(status_ == (status) && strstr(ratecl_last_error(), "fork"), "%s: %s, not %s", #call, \
               ratecl_status_name(status_), ratecl_status_name(status));                            \
    } while (0)

/* Run `work` in a child, which is killed when it hangs. */
static void in_child(void (*work)(const void *argument), const void *argument)
{
    fflush(NULL);
    const pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        signal(SIGALRM, SIG_DFL);
        alarm(CHILD_SECONDS);
        work(argument);
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child %s",
                  WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? "hung" : "failed");
}

/* ---- What is evaluated ---- */

typedef struct bench {
    const char *device;
    ratecl_context *context;
    ratecl_plan *plan;
    problem given;
    double values[64]; /* of the parent */
    size_t value_count;
#ifdef RATECL_WITH_OPENCL
    const caller *owner;
    ratecl_cl_inputs inputs;
#endif
} bench;

static void evaluate(const bench *b, ratecl_plan *plan, double *values, ratecl_status *status)
{
    const ratecl_inputs inputs = problem_inputs(&b->given);
    ratecl_outputs outputs = RATECL_OUTPUTS_INIT;
    outputs.values = values;
    outputs.value_count = b->value_count;
    *status = ratecl_evaluate(plan, &inputs, &outputs);
}

/* Enough elements for several threads. */
static bench make_bench(ratecl_context *context, const char *device)
{
    static const char *const texts[] = { "firing_rate", "state_prediction", "entropy", "hebbian" };
    const array_spec states = { .shape = { 3, 400, 130 }, .kind = ARRAY_RATES, .seed = 127 };
    array_spec specs[INPUT_COUNT];
    bench made = { .device = device, .context = context };
    problem_specs(specs, &states);
    problem_make(&made.given, specs, texts, COUNT(texts));
    made.plan = problem_plan(&made.given, context, 0, made.given.term_count);
    made.value_count = ratecl_plan_value_count(made.plan);
    ck_assert_uint_le(made.value_count, COUNT(made.values));
    ratecl_status status;
    evaluate(&made, made.plan, made.values, &status);
    ASSERT_OK(status);
    return made;
}

static void release_bench(bench *made)
{
    ratecl_plan_release(made->plan);
    ratecl_context_release(made->context);
    problem_free(&made->given);
}

static void expect_values(const bench *b, ratecl_plan *plan)
{
    double values[COUNT(b->values)];
    ratecl_status status;
    evaluate(b, plan, values, &status);
    EXPECT_OK(status);
    EXPECT(memcmp(values, b->values, b->value_count * sizeof *values) == 0, "other bits in a child");
}

/* ---- The CPU path ---- */

/* A context and a plan that the child makes. */
static void use_new_cpu(const bench *b)
{
    ratecl_context_options options = RATECL_CONTEXT_OPTIONS_INIT;
    options.device = "cpu";
    options.threads = 3;
    ratecl_context *context = NULL;
    EXPECT_OK(ratecl_context_create(&options, &context));
    const ratecl_plan_options wanted = problem_options(&b->given, 0, b->given.term_count);
    ratecl_plan *plan = NULL;
    EXPECT_OK(ratecl_plan_create(context, &wanted, &plan));
    expect_values(b, plan);
    ratecl_plan_release(plan);
    ratecl_context_release(context);
}

static void use_cpu(const void *argument)
{
    bench b = *(const bench *)argument;
    expect_values(&b, b.plan);
    use_new_cpu(&b);
    release_bench(&b);
}

static void use_cpu_in_grandchild(const void *argument)
{
    in_child(use_cpu, argument);
}

START_TEST(cpu_path)
{
    bench b = make_bench(suite_context_with("cpu", 3, 0), "cpu");
    in_child(use_cpu, &b);
    in_child(use_cpu_in_grandchild, &b);
    expect_values(&b, b.plan); /* the parent goes on */
    release_bench(&b);
}
END_TEST

#ifdef RATECL_WITH_OPENCL

/* ---- OpenCL ---- */

static void use_opencl_first(const void *argument)
{
    const char *device = argument;
    ratecl_context_options options = RATECL_CONTEXT_OPTIONS_INIT;
    options.device = device;
    ratecl_context *context = NULL;
    const float states[2] = { 1, 2 };
    const ratecl_layout layout = RATECL_LAYOUT_INIT(RATECL_F32, 1, 2, 1);
    double value = 0;
    EXPECT_OK(ratecl_context_create(&options, &context));
    EXPECT_OK(ratecl_firing_rate_loss(context, &layout, states, RATECL_METRIC_L1, 0, &value));
    EXPECT(value == 1.5, "%g, not 1.5", value);
    ratecl_context_release(context);
}

/* A child may be the first to use OpenCL: its parent has not looked at any device. */
START_TEST(first_use_in_a_child)
{
    const char *wanted = getenv("RATECL_TEST_DEVICE");
    if (!wanted || strncmp(wanted, "opencl", 6) != 0) {
        printf("first use in a child: skipped: RATECL_TEST_DEVICE names no OpenCL device\n");
        return;
    }
    in_child(use_opencl_first, wanted);
}
END_TEST

static void expect_no_device(const bench *b)
{
    ratecl_context_options options = RATECL_CONTEXT_OPTIONS_INIT;
    ratecl_context *context = NULL;
    options.device = b->device;
    EXPECT_FORKED(ratecl_context_create(&options, &context), RATECL_ERROR_NO_DEVICE);
    EXPECT(context == NULL, "a context in spite of the failure");
    unsetenv("RATECL_DEVICE");
    EXPECT_OK(ratecl_context_create(NULL, &context));
    ratecl_device_info info = { .size = sizeof info };
    EXPECT_OK(ratecl_context_device(context, &info));
    EXPECT(info.kind == RATECL_DEVICE_OPENMP && strstr(info.note, "fork"), "%s, note: %s", info.id,
           info.note);
    ratecl_context_release(context);
    EXPECT(ratecl_device_count() == 1, "devices in a child");
}

static void use_opencl(const void *argument)
{
    bench b = *(const bench *)argument;
    double values[COUNT(b.values)];
    ratecl_status status;
    evaluate(&b, b.plan, values, &status);
    EXPECT_FORKED(status, RATECL_ERROR_UNSUPPORTED);
    const ratecl_plan_options wanted = problem_options(&b.given, 0, b.given.term_count);
    ratecl_plan *plan = NULL;
    EXPECT_FORKED(ratecl_plan_create(b.context, &wanted, &plan), RATECL_ERROR_UNSUPPORTED);
    ratecl_outputs outputs = RATECL_OUTPUTS_INIT;
    EXPECT_FORKED(ratecl_cl_enqueue(b.plan, &b.inputs, NULL, 0, NULL, NULL), RATECL_ERROR_UNSUPPORTED);
    EXPECT_FORKED(ratecl_cl_wait(b.plan, &outputs), RATECL_ERROR_UNSUPPORTED);
    ratecl_context *context = NULL;
    EXPECT_FORKED(ratecl_cl_context_create(b.owner->context, b.owner->device, b.owner->queue, NULL, &context),
                  RATECL_ERROR_UNSUPPORTED);
    expect_no_device(&b);
    use_new_cpu(&b);
    release_bench(&b);
}

/* An evaluation is in flight, and waits for the caller, while the child is made. */
static void fork_in_flight(bench *b, bool waits_for_caller)
{
    cl_int code;
    cl_event gate = clCreateUserEvent(b->owner->context, &code);
    ASSERT_CL(code);
    ASSERT_OK(ratecl_cl_enqueue(b->plan, &b->inputs, NULL, waits_for_caller, waits_for_caller ? &gate : NULL,
                                NULL));
    in_child(use_opencl, b);
    ASSERT_CL(clSetUserEventStatus(gate, CL_COMPLETE));
    caller_wait_and_check(b->plan, &b->given, b->device);
    ASSERT_CL(clReleaseEvent(gate));
}

/* The values of the CPU path, which the child is to find again. */
static void take_cpu_values(bench *b)
{
    bench cpu = make_bench(suite_context("cpu"), "cpu");
    memcpy(b->values, cpu.values, sizeof b->values);
    release_bench(&cpu);
}

static void opencl_on(caller *owner, const char *device)
{
    static const char *const memory[] = { "", "staged" };
    for (size_t k = 0; k < COUNT(memory); k++) {
        setenv("RATECL_HOST_MEMORY", memory[k], 1); /* staged: with threads that copy */
        bench b = make_bench(caller_context(owner), device);
        take_cpu_values(&b);
        b.owner = owner;
        b.inputs = caller_upload(owner, &b.given);
        ratecl_device_info info = { .size = sizeof info };
        ASSERT_OK(ratecl_context_device(b.context, &info));
        in_child(use_opencl, &b);
        fork_in_flight(&b, !strstr(info.name, "Oclgrind")); /* which hangs on an open user event */
        caller_release_inputs(&b.inputs);
        release_bench(&b);
    }
    setenv("RATECL_HOST_MEMORY", "", 1);
}

START_TEST(opencl)
{
    caller_each(opencl_on);
}
END_TEST

#endif

int main(void)
{
    const TTest *const tests[] = {
#ifdef RATECL_WITH_OPENCL
        first_use_in_a_child, /* first */
        opencl,
#endif
        cpu_path,
    };
#ifdef SANITIZED
    (void)tests;
    printf("skipped: ThreadSanitizer allows no threads after fork()\n");
    return SUITE_SKIPPED;
#else
    return suite_run("fork", tests, COUNT(tests));
#endif
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Failures of OpenCL: each call that the library makes fails once, and with all calls after it. The status
 * and the message are right, no object is lost, nothing of the caller's is waited for, and the next try is
 * right. */
#define _GNU_SOURCE
#include "caller.h"
#include "injector.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- One thing that the library does, tried again and again ---- */

typedef struct scenario {
    const char *name;
    void *state;
    ratecl_status expected; /* where nothing fails */
    bool may_wait, may_lack_device;
    int pass_count;                        /* of `passes`, the first ones; 0: all */
    void (*before)(void *state);           /* or NULL */
    ratecl_status (*attempt)(void *state); /* while a call fails */
    void (*after)(void *state,
                  bool works); /* check, try again, and give back; `works`: as if nothing had failed */
} scenario;

/* Codes that say that memory ran out, in turn, and one of a vendor's. */
static const cl_int memory_codes[] = { CL_OUT_OF_RESOURCES, CL_MEM_OBJECT_ALLOCATION_FAILURE,
                                       CL_OUT_OF_HOST_MEMORY };
enum { VENDOR_CODE = -9999 };

static const struct {
    const char *name;
    bool onward, memory;
} passes[] = { { "memory, once", false, true },
               { "memory, onward", true, true },
               { "vendor's code, once", false, false } };

static struct {
    size_t failed, handled, refused;
} total;

static bool is_right(const scenario *s, ratecl_status status, bool memory)
{
    if (memory)
        return status == RATECL_ERROR_MEMORY;
    if (status == RATECL_ERROR_BUILD)
        return strcmp(injector_first_failure(), "clBuildProgram") == 0;
    return status == RATECL_ERROR_DEVICE || (s->may_lack_device && status == RATECL_ERROR_NO_DEVICE);
}

/* Let call number `at` fail. True if there was such a call. */
static bool try_once(const scenario *s, int pass, size_t at, const char *device, bool *works)
{
    const bool memory = passes[pass].memory;
    const injection how = { .at = at,
                            .onward = passes[pass].onward,
                            .code = memory ? memory_codes[at % COUNT(memory_codes)] : VENDOR_CODE,
                            .may_wait = s->may_wait };
    const long objects = injector_objects();
    if (s->before)
        s->before(s->state);
    injector_start(&how);
    const ratecl_status status = s->attempt(s->state);
    const bool failed = injector_stop() >= at;
    *works = status == s->expected;
    ck_assert_msg(injector_waits() == 0, "%s: %s: call %zu failed (%s), and then the library waited", device,
                  s->name, at, injector_first_failure());
    ck_assert_msg(failed || *works, "%s: %s: nothing failed, and the status is %s: %s", device, s->name,
                  ratecl_status_name(status), ratecl_last_error());
    ck_assert_msg(*works || is_right(s, status, memory), "%s: %s: %s: call %zu (%s) gives %s: %s", device,
                  s->name, passes[pass].name, at, injector_first_failure(), ratecl_status_name(status),
                  ratecl_last_error());
    ck_assert_msg(*works || injector_names_failure(ratecl_last_error()),
                  "%s: %s: %s: call %zu (%s) is not in the message: %s", device, s->name, passes[pass].name,
                  at, injector_first_failure(), ratecl_last_error());
    s->after(s->state, *works);
    ck_assert_msg(injector_objects() == objects, "%s: %s: %s: call %zu (%s) leaves %ld objects more", device,
                  s->name, passes[pass].name, at, injector_first_failure(), injector_objects() - objects);
    return failed;
}

static void run(const scenario *s, const char *device)
{
    const int count = s->pass_count ? s->pass_count : (int)COUNT(passes);
    for (int pass = 0; pass < count; pass++) {
        size_t failed = 0, handled = 0;
        for (bool works; try_once(s, pass, failed + 1, device, &works); failed++)
            handled += works;
        printf("%s: %s: %s: %zu calls failed, %zu handled, %zu refused\n", device, s->name, passes[pass].name,
               failed, handled, failed - handled);
        ck_assert_uint_gt(failed, 0); /* the library's calls are seen */
        total.failed += failed;
        total.handled += handled;
        total.refused += failed - handled;
    }
}

static bool is_out_of_order(const caller *owner)
{
    cl_command_queue_properties properties = 0;
    ASSERT_CL(clGetCommandQueueInfo(owner->queue, CL_QUEUE_PROPERTIES, sizeof properties, &properties, NULL));
    return (properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE) != 0;
}

/* ---- Contexts ---- */

typedef struct opening {
    const char *device; /* NULL: the default one */
    const caller *owner;
    ratecl_program_cache cache;
    ratecl_context *context;
} opening;

static ratecl_status open_context(void *state)
{
    opening *o = state;
    ratecl_context_options options = RATECL_CONTEXT_OPTIONS_INIT;
    options.device = o->device;
    options.program_cache = o->cache;
    return ratecl_context_create(&options, &o->context);
}

static ratecl_status adopt_context(void *state)
{
    opening *o = state;
    return ratecl_cl_context_create(o->owner->context, o->owner->device, o->owner->queue, NULL, &o->context);
}

static ratecl_device_info describe(const ratecl_context *context)
{
    ratecl_device_info info = { .size = sizeof info };
    ASSERT_OK(ratecl_context_device(context, &info));
    return info;
}

static void close_context(void *state, bool works)
{
    opening *o = state;
    if (!works) {
        ck_assert_ptr_null(o->context);
        ASSERT_OK(o->owner ? adopt_context(o) : open_context(o));
    }
    if (o->device)
        ck_assert_str_eq(describe(o->context).id, o->device);
    ck_assert_str_eq(describe(o->context).note, "");
    ratecl_context_release(o->context);
    o->context = NULL;
}

/* A default device that fails gives way to the CPU path, and the context says so. */
static void close_default_context(void *state, bool works)
{
    opening *o = state;
    ck_assert(works);
    const ratecl_device_info info = describe(o->context);
    if (info.kind == RATECL_DEVICE_OPENMP)
        ck_assert_msg(injector_names_failure(info.note), "%s is not in the note: %s",
                      injector_first_failure(), info.note);
    ratecl_context_release(o->context);
    o->context = NULL;
}

static void contexts_on(caller *owner, const char *device)
{
    if (is_out_of_order(owner))
        return; /* the library makes the same calls */
    opening named = { .device = device, .cache = RATECL_PROGRAM_CACHE_ON }, first = { .device = NULL },
            adopted = { .owner = owner };
    const scenario scenarios[] = {
        { .name = "context",
          .state = &named,
          .may_wait = true,
          .may_lack_device = true,
          .attempt = open_context,
          .after = close_context },
        { .name = "default context",
          .state = &first,
          .may_wait = true,
          .attempt = open_context,
          .after = close_default_context },
        { .name = "context on the caller's objects",
          .state = &adopted,
          .attempt = adopt_context,
          .after = close_context },
    };
    unsetenv("RATECL_DEVICE");
    for (size_t k = 0; k < COUNT(scenarios); k++)
        run(&scenarios[k], device);
}

START_TEST(contexts)
{
    caller_each(contexts_on);
}
END_TEST

/* ---- Plans ---- */

typedef struct planning {
    const char *device;
    const caller *owner;
    ratecl_program_cache cache;
    const char *folder; /* to be emptied before, or NULL */
    bool keeps_context; /* and with it the programs */
    problem given;
    uint32_t outputs;
    ratecl_context *context;
    ratecl_plan *plan;
} planning;

static void open_planning(void *state)
{
    planning *p = state;
    ratecl_context_options options = RATECL_CONTEXT_OPTIONS_INIT;
    options.program_cache = p->cache;
    if (p->folder) {
        char command[300];
        snprintf(command, sizeof command, "rm -rf '%s'/*.program", p->folder);
        ck_assert_int_eq(system(command), 0);
    }
    if (!p->context)
        ASSERT_OK(ratecl_cl_context_create(p->owner->context, p->owner->device, p->owner->queue, &options,
                                           &p->context));
}

static ratecl_status make_plan(void *state)
{
    planning *p = state;
    ratecl_plan_options options = problem_options(&p->given, 0, p->given.term_count);
    options.outputs = p->outputs;
    return ratecl_plan_create(p->context, &options, &p->plan);
}

/* The values are the oracle's; gradients are checked elsewhere. */
static void check_plan(const planning *p)
{
    const ratecl_cl_inputs inputs = caller_upload(p->owner, &p->given);
    if (p->outputs == RATECL_OUTPUT_VALUES) {
        ASSERT_OK(ratecl_cl_enqueue(p->plan, &inputs, NULL, 0, NULL, NULL));
        caller_wait_and_check(p->plan, &p->given, p->device);
    }
    caller_release_inputs(&inputs);
}

static void close_planning(void *state, bool works)
{
    planning *p = state;
    if (!works) {
        ck_assert_ptr_null(p->plan);
        ASSERT_OK(make_plan(p));
    }
    check_plan(p);
    ratecl_plan_release(p->plan);
    p->plan = NULL;
    if (!p->keeps_context) {
        ratecl_context_release(p->context);
        p->context = NULL;
    }
}

static problem small_problem(const char *const *texts, size_t count, int64_t T, int64_t N, uint64_t seed)
{
    const array_spec states = { .shape = { 1, T, N }, .kind = ARRAY_RATES, .seed = seed };
    array_spec specs[INPUT_COUNT];
    problem made;
    problem_specs(specs, &states);
    problem_make(&made, specs, texts, count);
    return made;
}

static void plans_on(caller *owner, const char *device)
{
    if (is_out_of_order(owner))
        return; /* the library makes the same calls */
    static const char *const one[] = { "firing_rate" };
    static const char *const some[] = { "state_prediction", "hebbian" };
    char folder[] = "/tmp/ratecl-failures-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(folder));
    setenv("RATECL_CACHE", folder, 1);
    const planning common = { .device = device, .owner = owner, .outputs = RATECL_OUTPUT_VALUES };
    planning compiled = common, kept = common, loaded = common, all = common;
    compiled.given = small_problem(some, COUNT(some), 5, 3, 131);
    kept.given = loaded.given = small_problem(one, COUNT(one), 5, 3, 137);
    kept.cache = loaded.cache = RATECL_PROGRAM_CACHE_ON;
    compiled.cache = all.cache = RATECL_PROGRAM_CACHE_OFF;
    kept.folder = folder;
    all.given = caller_problem(RATECL_F32, ORDER_C, 139);
    all.outputs |=
        RATECL_OUTPUT_GRADIENT_STATES | RATECL_OUTPUT_GRADIENT_REFERENCE | RATECL_OUTPUT_GRADIENT_WEIGHTS;
    all.keeps_context = true;
    open_planning(&all);
    ASSERT_OK(make_plan(&all)); /* which the programs are compiled for */
    close_planning(&all, true);
    const scenario scenarios[] = {
        { .name = "plan, programs compiled",
          .state = &compiled,
          .may_wait = true,
          .before = open_planning,
          .attempt = make_plan,
          .after = close_planning },
        { .name = "plan, programs kept",
          .state = &kept,
          .may_wait = true,
          .pass_count = 1,
          .before = open_planning,
          .attempt = make_plan,
          .after = close_planning },
        { .name = "plan, programs loaded",
          .state = &loaded,
          .may_wait = true,
          .pass_count = 1,
          .before = open_planning,
          .attempt = make_plan,
          .after = close_planning },
        { .name = "plan of all terms",
          .state = &all,
          .may_wait = true,
          .pass_count = 2,
          .attempt = make_plan,
          .after = close_planning },
    };
    for (size_t k = 0; k < COUNT(scenarios); k++)
        run(&scenarios[k], device);
    ratecl_context_release(all.context);
    problem_free(&compiled.given);
    problem_free(&kept.given);
    problem_free(&all.given);
    char command[100];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    ck_assert_int_eq(system(command), 0);
    setenv("RATECL_CACHE", "", 1);
}

START_TEST(plans)
{
    caller_each(plans_on);
}
END_TEST

/* ---- The caller's buffers ---- */

typedef struct in_place {
    const caller *owner;
    const char *device;
    problem given[2];
    ratecl_cl_inputs inputs[2];
    ratecl_cl_outputs outputs;
    ratecl_plan *plan;
    cl_event gate, done;
} in_place;

static in_place in_place_open(const caller *owner, const char *device, ratecl_context *context)
{
    in_place made = { .owner = owner, .device = device };
    for (size_t k = 0; k < COUNT(made.given); k++) {
        made.given[k] = caller_problem(RATECL_F32, ORDER_C, 91 + k);
        made.inputs[k] = caller_upload(owner, &made.given[k]);
    }
    ratecl_plan_options options = problem_options(&made.given[0], 0, made.given[0].term_count);
    options.outputs = RATECL_OUTPUT_VALUES | RATECL_OUTPUT_GRADIENT_STATES |
                      RATECL_OUTPUT_GRADIENT_REFERENCE | RATECL_OUTPUT_GRADIENT_WEIGHTS;
    ASSERT_OK(ratecl_plan_create(context, &options, &made.plan));
    const array *inputs = made.given[0].inputs;
    made.outputs = (ratecl_cl_outputs)RATECL_CL_OUTPUTS_INIT;
    made.outputs.values =
        caller_buffer(owner, NULL, (ratecl_plan_value_count(made.plan) + 1) * sizeof(float));
    made.outputs.gradient_states = caller_buffer(owner, NULL, inputs[STATES].bytes);
    made.outputs.gradient_reference = caller_buffer(owner, NULL, inputs[REFERENCE].bytes);
    made.outputs.gradient_weights = caller_buffer(owner, NULL, inputs[WEIGHTS].bytes);
    return made;
}

static void in_place_close(in_place *made)
{
    const cl_mem buffers[] = { made->outputs.values, made->outputs.gradient_states,
                               made->outputs.gradient_reference, made->outputs.gradient_weights };
    ratecl_plan_release(made->plan);
    for (size_t k = 0; k < COUNT(buffers); k++)
        ASSERT_CL(clReleaseMemObject(buffers[k]));
    for (size_t k = 0; k < COUNT(made->given); k++) {
        caller_release_inputs(&made->inputs[k]);
        problem_free(&made->given[k]);
    }
}

static void make_gate(void *state)
{
    in_place *r = state;
    cl_int code;
    r->gate = clCreateUserEvent(r->owner->context, &code);
    ASSERT_CL(code);
}

static ratecl_status enqueue_behind_gate(void *state)
{
    in_place *r = state;
    return ratecl_cl_enqueue(r->plan, &r->inputs[0], &r->outputs, 1, &r->gate, &r->done);
}

/* After a failure the next evaluation is enqueued before the gate opens, so that it has to follow what the
 * failure left. */
static void open_gate(void *state, bool works)
{
    in_place *r = state;
    if (!works) {
        const ratecl_outputs none = RATECL_OUTPUTS_INIT;
        ck_assert_ptr_null(r->done);
        ASSERT_REFUSED(ratecl_cl_wait(r->plan, &none), "enqueue");
        ASSERT_OK(ratecl_cl_enqueue(r->plan, &r->inputs[1], &r->outputs, 0, NULL, NULL));
    }
    ASSERT_CL(clSetUserEventStatus(r->gate, CL_COMPLETE));
    caller_wait_and_check(r->plan, &r->given[!works], r->device);
    if (r->done)
        ASSERT_CL(clReleaseEvent(r->done));
    ASSERT_CL(clReleaseEvent(r->gate));
    r->done = r->gate = NULL;
}

static void enqueue_first(void *state)
{
    in_place *r = state;
    ASSERT_OK(ratecl_cl_enqueue(r->plan, &r->inputs[0], &r->outputs, 0, NULL, NULL));
}

static ratecl_status wait_for_first(void *state)
{
    const in_place *r = state;
    const ratecl_outputs none = RATECL_OUTPUTS_INIT;
    return ratecl_cl_wait(r->plan, &none);
}

/* What could not be waited for can be waited for again; a next evaluation is right. */
static void wait_again(void *state, bool works)
{
    in_place *r = state;
    if (!works)
        caller_wait_and_check(r->plan, &r->given[0], r->device);
    ASSERT_OK(ratecl_cl_enqueue(r->plan, &r->inputs[1], &r->outputs, 0, NULL, NULL));
    caller_wait_and_check(r->plan, &r->given[1], r->device);
}

/* The result is not finite, whether or not the cause can be found. */
static void wait_for_next(void *state, bool works)
{
    in_place *r = state;
    const ratecl_outputs none = RATECL_OUTPUTS_INIT;
    if (!works)
        ASSERT_FAILS(ratecl_cl_wait(r->plan, &none), RATECL_ERROR_DOMAIN, "states");
    ASSERT_OK(ratecl_cl_enqueue(r->plan, &r->inputs[1], &r->outputs, 0, NULL, NULL));
    caller_wait_and_check(r->plan, &r->given[1], r->device);
}

static void spoil_states(in_place *r)
{
    const float nan = (float)NAN;
    ASSERT_CL(clEnqueueWriteBuffer(r->owner->queue, r->inputs[0].states, CL_TRUE, 0, sizeof nan, &nan, 0,
                                   NULL, NULL));
}

static void buffers_on(caller *owner, const char *device)
{
    ratecl_context *context = caller_context(owner);
    if (strstr(describe(context).name, "Oclgrind")) {
        printf("%s: skipped: Oclgrind hangs on an open user event\n", device);
        ratecl_context_release(context);
        return;
    }
    in_place r = in_place_open(owner, device, context);
    enqueue_first(&r);
    caller_wait_and_check(r.plan, &r.given[0], device);
    const scenario enqueued = { .name = "enqueue",
                                .state = &r,
                                .before = make_gate,
                                .attempt = enqueue_behind_gate,
                                .after = open_gate };
    const scenario waited = { .name = "wait",
                              .state = &r,
                              .may_wait = true,
                              .before = enqueue_first,
                              .attempt = wait_for_first,
                              .after = wait_again };
    const scenario diagnosed = { .name = "diagnosis",
                                 .state = &r,
                                 .expected = RATECL_ERROR_DOMAIN,
                                 .may_wait = true,
                                 .before = enqueue_first,
                                 .attempt = wait_for_first,
                                 .after = wait_for_next };
    run(&enqueued, device);
    run(&waited, device);
    spoil_states(&r);
    run(&diagnosed, device);
    in_place_close(&r);
    ratecl_context_release(context);
}

START_TEST(buffers)
{
    caller_each(buffers_on);
}
END_TEST

/* ---- Host memory ---- */

typedef struct host {
    const problem *given;
    ratecl_context *context;
    bool keeps; /* a plan that was evaluated makes no more buffers */
    outcome expected;
    float *expected_gradient;
    ratecl_plan *plan;
    ratecl_inputs inputs;
    ratecl_outputs outputs;
} host;

/* A new plan, which makes its memory when it is evaluated. */
static void host_open(void *state)
{
    host *h = state;
    ratecl_plan_options options = problem_options(h->given, 0, h->given->term_count);
    options.outputs = RATECL_OUTPUT_VALUES | RATECL_OUTPUT_GRADIENT_STATES;
    options.accumulate = RATECL_OUTPUT_GRADIENT_STATES;
    ASSERT_OK(ratecl_plan_create(h->context, &options, &h->plan));
    h->inputs = problem_inputs(h->given);
    h->outputs = (ratecl_outputs)RATECL_OUTPUTS_INIT;
    h->outputs.value_count = ratecl_plan_value_count(h->plan);
    h->outputs.values = suite_allocate(h->outputs.value_count * sizeof *h->outputs.values);
    h->outputs.gradient_states = suite_allocate(h->given->inputs[STATES].bytes);
}

static ratecl_status host_evaluate(void *state)
{
    host *h = state;
    memset(h->outputs.gradient_states, 0, h->given->inputs[STATES].bytes);
    return ratecl_evaluate(h->plan, &h->inputs, &h->outputs);
}

static void host_check(const host *h)
{
    ck_assert_mem_eq(h->outputs.values, h->expected.values, h->outputs.value_count * sizeof(double));
    ck_assert_mem_eq(h->outputs.gradient_states, h->expected_gradient, h->given->inputs[STATES].bytes);
}

static void host_release(host *h)
{
    ratecl_plan_release(h->plan);
    free(h->outputs.values);
    free(h->outputs.gradient_states);
    h->plan = NULL;
}

static void host_close(void *state, bool works)
{
    host *h = state;
    if (works)
        host_check(h);
    else /* what the device may still have done is over now, or this is refused */
        ASSERT_OK(host_evaluate(h));
    const size_t buffers_before = injector_buffers();
    ASSERT_OK(host_evaluate(h));
    ck_assert(!works || !h->keeps || injector_buffers() == buffers_before);
    host_check(h);
    host_release(h);
}

/* How host memory is read: in place or copied, whole or in pieces, and in pieces with windows for a long lag.
 */
typedef struct way {
    const char *name, *memory;
    uint64_t limit;
    int64_t shape[3];
    const char *texts[3];
    bool keeps;
} way;
#define TERMS                                        \
    {                                                \
        "firing_rate", "state_prediction", "entropy" \
    }
static const way ways[] = {
    { "host memory in place", "", 0, { 2, 31, 7 }, TERMS, false },
    { "host memory in place, in pieces", "", 1200, { 1, 130, 7 }, TERMS, false },
    { "host memory copied", "staged", 0, { 2, 31, 7 }, TERMS, true },
    { "host memory copied, in pieces", "staged", 1200, { 1, 130, 7 }, TERMS, true },
    { "host memory, in pieces with windows",
      "staged",
      3000,
      { 1, 330, 3 },
      { "firing_rate", "state_prediction:tau=320", "entropy" },
      true },
};

static void host_on(caller *owner, const char *device)
{
    for (size_t k = 0; k < COUNT(ways); k++) {
        const array_spec states = { .shape = { ways[k].shape[0], ways[k].shape[1], ways[k].shape[2] },
                                    .kind = ARRAY_RATES,
                                    .seed = 97 };
        array_spec specs[INPUT_COUNT];
        problem given;
        problem_specs(specs, &states);
        problem_make(&given, specs, ways[k].texts, COUNT(ways[k].texts));
        setenv("RATECL_HOST_MEMORY", ways[k].memory, 1);
        ratecl_context_options options = RATECL_CONTEXT_OPTIONS_INIT;
        options.staging_limit = ways[k].limit;
        host h = { .given = &given, .keeps = ways[k].keeps };
        ASSERT_OK(
            ratecl_cl_context_create(owner->context, owner->device, owner->queue, &options, &h.context));
        h.expected = problem_evaluate(&given, h.context, 0, given.term_count);
        problem_check(&given, &h.expected, 0, device);
        host_open(&h);
        ASSERT_OK(host_evaluate(&h));
        h.expected_gradient = suite_copy(h.outputs.gradient_states, given.inputs[STATES].bytes);
        host_release(&h);
        const scenario evaluated = { .name = ways[k].name,
                                     .state = &h,
                                     .may_wait = true,
                                     .pass_count = 2,
                                     .before = host_open,
                                     .attempt = host_evaluate,
                                     .after = host_close };
        run(&evaluated, device);
        free(h.expected_gradient);
        outcome_free(&h.expected);
        ratecl_context_release(h.context);
        problem_free(&given);
    }
    setenv("RATECL_HOST_MEMORY", "", 1);
}

START_TEST(host_memory)
{
    caller_each(host_on);
}
END_TEST

START_TEST(report)
{
    printf("in all: %zu calls failed, %zu handled, %zu refused\n", total.failed, total.handled,
           total.refused);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { contexts, plans, buffers, host_memory, report };
    return suite_run("failures", tests, COUNT(tests));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is not the library's: red zones around every output, inputs that end or begin at a page which
 * must not be touched, and inputs that are the same afterwards. */
#include "gradient_check.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ZONE = 64 }; /* bytes on either side */
static const unsigned char pattern = 0xa5;

/* ---- Inputs between pages without access ---- */

typedef enum side { AT_END, AT_START } side;

typedef struct fenced {
    unsigned char *pages;
    size_t page_bytes; /* all of them */
    void *memory;
} fenced;

static fenced fence(const void *memory, size_t bytes, side where, int access)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t inner = (bytes + page - 1) / page * page;
    fenced made = { .page_bytes = inner + 2 * page };
    made.pages = mmap(NULL, made.page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(made.pages, MAP_FAILED);
    made.memory = made.pages + page + (where == AT_END ? inner - bytes : 0);
    memcpy(made.memory, memory, bytes);
    ck_assert_int_eq(mprotect(made.pages, made.page_bytes, access), 0);
    ck_assert_int_eq(mprotect(made.pages, page, PROT_NONE), 0);
    ck_assert_int_eq(mprotect(made.pages + page + inner, page, PROT_NONE), 0);
    return made;
}

/* Read-only between the fences: a write to an input is as wrong as a read past it. */
static fenced fence_input(const array *of, side where)
{
    return fence(of->memory, of->bytes, where, PROT_READ);
}

static void unfence(const fenced *made)
{
    ck_assert_int_eq(munmap(made->pages, made->page_bytes), 0);
}

/* ---- Outputs in red zones ---- */

typedef struct zoned {
    unsigned char *zones;
    size_t bytes;
} zoned;

static zoned zone(size_t bytes)
{
    zoned made = { suite_allocate(bytes + 2 * ZONE), bytes };
    memset(made.zones, pattern, bytes + 2 * ZONE);
    return made;
}

static void *inside(const zoned *made)
{
    return made->zones + ZONE;
}

static void zone_close(zoned *made, const char *what)
{
    for (size_t k = 0; k < ZONE; k++)
        ck_assert_msg(made->zones[k] == pattern && made->zones[ZONE + made->bytes + k] == pattern,
                      "%s: written outside the array", what);
    free(made->zones);
}

/* ---- The tests ---- */

static void evaluate_fenced(const problem *given, ratecl_context *context, const char *device, side where)
{
    fenced fences[INPUT_COUNT];
    for (int k = 0; k < INPUT_COUNT; k++)
        fences[k] = fence_input(&given->inputs[k], where);
    ratecl_inputs inputs = problem_inputs(given);
    inputs.states = fences[STATES].memory;
    inputs.reference = fences[REFERENCE].memory;
    inputs.weights = fences[WEIGHTS].memory;

    ratecl_plan *plan = problem_plan(given, context, 0, given->term_count);
    const size_t count = ratecl_plan_value_count(plan);
    zoned values = zone(count * sizeof(double)), total = zone(sizeof(double));
    zoned skipped = zone(given->term_count * sizeof(int64_t));
    ratecl_outputs outputs = RATECL_OUTPUTS_INIT;
    outputs.values = inside(&values);
    outputs.value_count = count;
    outputs.total = inside(&total);
    outputs.skipped = inside(&skipped);
    outputs.skipped_count = given->term_count;
    outcome got = { .value_count = count, .term_count = given->term_count };
    got.status = ratecl_evaluate(plan, &inputs, &outputs);
    ratecl_plan_release(plan);

    got.values = outputs.values;
    got.total = *outputs.total;
    got.skipped = outputs.skipped;
    problem_check(given, &got, 0, device);
    for (int k = 0; k < INPUT_COUNT; k++) {
        ck_assert_mem_eq(fences[k].memory, given->inputs[k].memory, given->inputs[k].bytes);
        unfence(&fences[k]);
    }
    zone_close(&values, "values");
    zone_close(&total, "total");
    zone_close(&skipped, "skipped");
}

/* Gradients, too, end or begin at a fence. */
static ratecl_status evaluate_between(ratecl_plan *plan, const ratecl_inputs *given, const ratecl_outputs *to,
                                      const void *argument)
{
    const side where = *(const side *)argument;
    fenced states = fence(given->states, given->states_bytes, where, PROT_READ);
    fenced reference = fence(given->reference, given->reference_bytes, where, PROT_READ);
    fenced weights = fence(given->weights, given->weights_bytes, where, PROT_READ);
    const size_t cotangent_bytes = given->cotangent_count * sizeof *given->cotangents;
    fenced cotangents = fence(given->cotangents, cotangent_bytes, where, PROT_READ);
    const struct {
        void *memory;
        size_t bytes;
    } places[INPUT_COUNT] = { { to->gradient_states, to->gradient_states_bytes },
                              { to->gradient_reference, to->gradient_reference_bytes },
                              { to->gradient_weights, to->gradient_weights_bytes } };
    fenced fences[INPUT_COUNT];
    for (int k = 0; k < INPUT_COUNT; k++)
        fences[k] = fence(places[k].memory, places[k].bytes, where, PROT_READ | PROT_WRITE);

    ratecl_inputs inputs = *given;
    inputs.states = states.memory;
    inputs.reference = reference.memory;
    inputs.weights = weights.memory;
    inputs.cotangents = cotangents.memory;
    ratecl_outputs outputs = *to;
    outputs.gradient_states = fences[STATES].memory;
    outputs.gradient_reference = fences[REFERENCE].memory;
    outputs.gradient_weights = fences[WEIGHTS].memory;
    const ratecl_status status = ratecl_evaluate(plan, &inputs, &outputs);

    for (int k = 0; k < INPUT_COUNT; k++) {
        memcpy(places[k].memory, fences[k].memory, places[k].bytes);
        unfence(&fences[k]);
    }
    unfence(&states);
    unfence(&reference);
    unfence(&weights);
    unfence(&cotangents);
    return status;
}

static void gradients_fenced(const problem *given, ratecl_context *context, const char *device)
{
    gradients of;
    gradients_take(&of, given);
    for (side where = AT_END; where <= AT_START; where++) {
        const gradient_options how = { .element = RATECL_F32,
                                       .order = where == AT_END ? ORDER_C : ORDER_EVERY_OTHER,
                                       .accumulates = where == AT_START,
                                       .evaluate = evaluate_between,
                                       .argument = &where };
        gradients_check(&of, context, device, 0, of.given.term_count, &how);
    }
    gradients_free(&of);
}

static void on_device(const ratecl_device_info *device)
{
    static const int64_t shapes[][3] = {
        { 1, 1, 1 }, { 2, 3, 7 }, { 3, 7, 31 }, { 1, 33, 33 }, { 2, 63, 127 }
    };
    static const array_order orders[] = { ORDER_C, ORDER_NEURON_FIRST, ORDER_REVERSED };
    ratecl_context *context = suite_context(device->id);
    for (size_t s = 0; s < (suite_is_small() ? 3 : COUNT(shapes)); s++)
        for (int element = 0; element < ELEMENT_COUNT; element++)
            for (size_t o = 0; o < (suite_is_small() ? 1 : COUNT(orders)); o++) {
                const array_spec states = { .shape = { shapes[s][0], shapes[s][1], shapes[s][2] },
                                            .kind = ARRAY_RATES,
                                            .element = (ratecl_element)element,
                                            .order = orders[o],
                                            .seed = 29 };
                if (!suite_can(device, states.precision, states.element))
                    continue;
                array_spec specs[INPUT_COUNT];
                problem_specs(specs, &states);
                problem given;
                problem_make(&given, specs, NULL, 0);
                evaluate_fenced(&given, context, device->id, AT_END);
                evaluate_fenced(&given, context, device->id, AT_START);
                if (element == RATECL_F32)
                    gradients_fenced(&given, context, device->id);
                else
                    problem_free(&given);
            }
    ratecl_context_release(context);
}

/* GPUs read host memory through copies of their own: a fence says nothing there but does no harm. */
START_TEST(nothing_else_is_touched)
{
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t count = suite_devices(devices);
    for (size_t d = 0; d < count; d++)
        on_device(&devices[d]);
}
END_TEST

/* A result that is not finite is written, and nothing beside it. */
START_TEST(failed_evaluations)
{
    static const char *const texts[] = { "population_kl:reduction=none", "firing_rate_dist:metric=cv" };
    ratecl_device_info devices[SUITE_DEVICES_MAX];
    const size_t count = suite_devices(devices);
    const array_spec states = { .shape = { 1, 7, 5 }, .kind = ARRAY_SILENT };
    array_spec specs[INPUT_COUNT];
    problem_specs(specs, &states);
    problem given;
    problem_make(&given, specs, texts, COUNT(texts));
    for (size_t d = 0; d < count; d++) {
        ratecl_context *context = suite_context(devices[d].id);
        evaluate_fenced(&given, context, devices[d].id, AT_END);
        ratecl_context_release(context);
    }
    problem_free(&given);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { nothing_else_is_touched, failed_evaluations };
    return suite_run("guards", tests, COUNT(tests));
}

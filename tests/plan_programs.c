/* SPDX-License-Identifier: Apache-2.0 */
/* Print the programs that a dozen different plans compile, for the static test of the kernels: on each line
 * "wide" or "any", the kernel file, and the options. "wide" marks plans whose states lie such that all of
 * them can be loaded by 16 bytes at once. RATECL_TUNING chooses the kernel set, RATECL_TEST_DEVICE the device
 * that the plans are made on. Exit with 77 where there is no OpenCL device, or where RATECL_TUNING is
 * refused. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ratecl/ratecl.h>

enum { SKIPPED = 77, TERMS_MAX = 8 };
enum {
    VALUES = RATECL_OUTPUT_VALUES,
    STATES = VALUES | RATECL_OUTPUT_GRADIENT_STATES,
    BOTH = STATES | RATECL_OUTPUT_GRADIENT_WEIGHTS,
    ALL = BOTH | RATECL_OUTPUT_GRADIENT_REFERENCE
};

typedef enum order { BATCH_FIRST, TIME_FIRST, NEURON_FIRST } order;

typedef struct wanted {
    const char *terms; /* separated by spaces */
    uint32_t outputs;
    int64_t shape[3];
    ratecl_element element;
    ratecl_precision precision;
    order memory;
    bool wide;
} wanted;

#define FIVE "firing_rate firing_rate_dist state_prediction entropy population_kl"
#define SIX FIVE " hebbian"

/* clang-format off */
static const wanted plans[] = {
    { FIVE,                    STATES, { 4, 1000, 1024 }, RATECL_F32, RATECL_PRECISION_F32, BATCH_FIRST,  true },
    { FIVE,                    VALUES, { 4, 1000, 1024 }, RATECL_F32, RATECL_PRECISION_F32, TIME_FIRST,   true },
    { "firing_rate",           VALUES, { 4, 1000, 1024 }, RATECL_F32, RATECL_PRECISION_F32, BATCH_FIRST,  true },
    { "state_prediction",      STATES, { 4, 1000, 1024 }, RATECL_F32, RATECL_PRECISION_F32, BATCH_FIRST,  true },
    { "entropy:eps=1e-6",      STATES, { 4, 1000, 1024 }, RATECL_F32, RATECL_PRECISION_F32, BATCH_FIRST,  true },
    { "hebbian",               VALUES, { 4, 1000, 1024 }, RATECL_F32, RATECL_PRECISION_F32, BATCH_FIRST,  true },
    { "hebbian",               BOTH,   { 4, 1000, 1024 }, RATECL_F32, RATECL_PRECISION_F32, BATCH_FIRST,  true },
    { "hebbian:over=step",     STATES, { 4, 1000, 1024 }, RATECL_F32, RATECL_PRECISION_F32, BATCH_FIRST,  true },
    { "firing_rate_dist",      VALUES, { 4, 1000, 1024 }, RATECL_U8,  RATECL_PRECISION_F32, BATCH_FIRST,  true },
    { FIVE,                    STATES, { 4, 1000, 1024 }, RATECL_F16, RATECL_PRECISION_F32, BATCH_FIRST,  true },
    { FIVE,                    STATES, { 4, 1000, 1024 }, RATECL_F32, RATECL_PRECISION_F32, NEURON_FIRST, true },
    { SIX,                     ALL,    { 1, 100, 100 },   RATECL_F32, RATECL_PRECISION_F32, BATCH_FIRST,  false },
    { SIX,                     BOTH,   { 3, 333, 1021 },  RATECL_F32, RATECL_PRECISION_F32, BATCH_FIRST,  false },
    { FIVE,                    STATES, { 4, 1000, 3 },    RATECL_F32, RATECL_PRECISION_F32, BATCH_FIRST,  false },
    { SIX,                     BOTH,   { 2, 500, 128 },   RATECL_F64, RATECL_PRECISION_F64, BATCH_FIRST,  false },
};
/* clang-format on */

typedef struct printer {
    bool wide;
} printer;

/* Print the key of a line "program ...: KEY" of the library's log. */
static void print_program(const char *line, void *user)
{
    const printer *how = user;
    const char *key = strstr(line, ": ");
    if (key && strncmp(line, "program ", strlen("program ")) == 0)
        printf("%s %s\n", how->wide ? "wide" : "any", key + strlen(": "));
}

static void fail(const char *what)
{
    fprintf(stderr, "plan_programs: %s: %s\n", what, ratecl_last_error());
    exit(EXIT_FAILURE);
}

/* Parse the terms, and return their number. */
static size_t read_terms(const char *texts, ratecl_term terms[TERMS_MAX])
{
    size_t count = 0;
    for (const char *text = texts; text; ++count) {
        char one[64];
        const char *end = strchr(text, ' ');
        const int length = end ? (int)(end - text) : (int)strlen(text);
        snprintf(one, sizeof one, "%.*s", length, text);
        if (count == TERMS_MAX || ratecl_term_parse(&terms[count], one) != RATECL_OK)
            fail(one);
        text = end ? end + 1 : NULL;
    }
    return count;
}

static ratecl_layout layout_of(const wanted *w, ratecl_element element)
{
    const int64_t B = w->shape[0], T = w->shape[1], N = w->shape[2];
    const int64_t strides[][3] = {
        [BATCH_FIRST] = { T * N, N, 1 }, [TIME_FIRST] = { N, B * N, 1 }, [NEURON_FIRST] = { T, 1, B * T }
    };
    ratecl_layout layout = RATECL_LAYOUT_INIT(element, B, T, N);
    memcpy(layout.strides, strides[w->memory], sizeof layout.strides);
    return layout;
}

static ratecl_status make_plan(ratecl_context *context, const wanted *w)
{
    ratecl_term terms[TERMS_MAX];
    const ratecl_layout states = layout_of(w, w->element);
    const ratecl_layout weights = RATECL_LAYOUT_INIT(RATECL_F32, 1, w->shape[2], w->shape[2]);
    const ratecl_layout gradient =
        layout_of(w, w->precision == RATECL_PRECISION_F64 ? RATECL_F64 : RATECL_F32);
    ratecl_plan_options options = RATECL_PLAN_OPTIONS_INIT;
    options.precision = w->precision;
    options.outputs = w->outputs;
    options.states = &states;
    options.reference = strstr(w->terms, "population_kl") ? &states : NULL;
    options.weights = strstr(w->terms, "hebbian") ? &weights : NULL;
    options.terms = terms;
    options.term_count = read_terms(w->terms, terms);
    options.gradient_states = w->outputs & RATECL_OUTPUT_GRADIENT_STATES ? &gradient : NULL;
    ratecl_plan *plan = NULL;
    const ratecl_status status = ratecl_plan_create(context, &options, &plan);
    ratecl_plan_release(plan);
    return status;
}

/* A context of its own makes each plan log all programs that it needs. */
static ratecl_context *make_context(printer *how)
{
    const char *device = getenv("RATECL_TEST_DEVICE");
    ratecl_context_options options = RATECL_CONTEXT_OPTIONS_INIT;
    options.device = device && *device ? device : "opencl";
    options.log = print_program;
    options.log_user = how;
    options.program_cache = RATECL_PROGRAM_CACHE_OFF;
    ratecl_context *context = NULL;
    if (ratecl_context_create(&options, &context) != RATECL_OK) {
        fprintf(stderr, "skipped: %s\n", ratecl_last_error());
        exit(SKIPPED);
    }
    return context;
}

int main(void)
{
    for (size_t k = 0; k < sizeof plans / sizeof plans[0]; ++k) {
        printer how = { plans[k].wide };
        ratecl_context *context = make_context(&how);
        ratecl_device_info device = { .size = sizeof device };
        ratecl_context_device(context, &device);
        const bool can = device.fp64 || plans[k].precision == RATECL_PRECISION_F32;
        if (can && make_plan(context, &plans[k]) != RATECL_OK) {
            if (!strstr(ratecl_last_error(), "RATECL_TUNING"))
                fail(plans[k].terms);
            fprintf(stderr, "skipped: %s\n", ratecl_last_error());
            exit(SKIPPED);
        }
        ratecl_context_release(context);
    }
    return EXIT_SUCCESS;
}

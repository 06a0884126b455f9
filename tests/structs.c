/* SPDX-License-Identifier: Apache-2.0 */
/* Callers that were compiled against an earlier or a later header: their structs are shorter or longer than
 * the library's. Each struct ends where a page without access begins, so that reading or writing one byte
 * behind it ends the program. */
#include "suite.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef RATECL_WITH_OPENCL
#include "caller.h"
#endif

enum {
    STEP = 8,    /* between the sizes that are tried: that of the structs' alignment */
    LONGER = 64, /* how much a later header adds */
    GUARD = 64   /* bytes before the struct that must stay as they are */
};
static const unsigned char pattern = 0x5a;

/* ---- Memory that ends where the struct does ---- */

typedef struct guarded {
    unsigned char *pages;
    size_t page;
    unsigned char *bytes; /* the struct */
} guarded;

/* Make room for a struct of `size` bytes; all of it holds the pattern. */
static guarded guarded_make(size_t size)
{
    guarded made = { .page = (size_t)sysconf(_SC_PAGESIZE) };
    ck_assert_uint_le(size + GUARD, made.page);
    made.pages = mmap(NULL, 2 * made.page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(made.pages != MAP_FAILED);
    memset(made.pages, pattern, made.page);
    ck_assert_int_eq(mprotect(made.pages + made.page, made.page, PROT_NONE), 0);
    made.bytes = made.pages + made.page - size;
    return made;
}

static bool holds_pattern(const unsigned char *bytes, size_t count)
{
    for (size_t k = 0; k < count; k++)
        if (bytes[k] != pattern)
            return false;
    return true;
}

static void guarded_release(guarded *made)
{
    ck_assert(holds_pattern(made->bytes - GUARD, GUARD));
    ck_assert_int_eq(munmap(made->pages, 2 * made->page), 0);
}

/* Copy a struct as a caller of another header has it: cut to `size` bytes, or with zeros behind it. */
static guarded guarded_copy(const void *complete, size_t complete_size, size_t size)
{
    guarded made = guarded_make(size);
    memset(made.bytes, 0, size);
    memcpy(made.bytes, complete, size < complete_size ? size : complete_size);
    memcpy(made.bytes, &size, sizeof size);
    return made;
}

/* ---- The fields ---- */

/* Where each field lies with 64-bit pointers. Once a version has been released, these numbers do not change,
 * and fields are added behind the struct's last byte alone. */
typedef struct field {
    const char *name;
    size_t offset, bytes, recorded;
} field;
#define FIELD(type, name, recorded)                                                                  \
    {                                                                                                \
#type "." #name, offsetof(ratecl_##type, name), sizeof(((ratecl_##type *)0)->name), recorded \
    }
#define END           \
    {                 \
        NULL, 0, 0, 0 \
    }

static const field device_info_fields[] = { FIELD(device_info, size, 0),
                                            FIELD(device_info, id, 8),
                                            FIELD(device_info, name, 40),
                                            FIELD(device_info, platform, 168),
                                            FIELD(device_info, version, 296),
                                            FIELD(device_info, kind, 424),
                                            FIELD(device_info, fp64, 428),
                                            FIELD(device_info, chosen, 432),
                                            FIELD(device_info, compute_units, 436),
                                            FIELD(device_info, memory, 440),
                                            FIELD(device_info, largest_buffer, 448),
                                            FIELD(device_info, note, 456),
                                            END };
static const field context_options_fields[] = {
    FIELD(context_options, size, 0),           FIELD(context_options, device, 8),
    FIELD(context_options, threads, 16),       FIELD(context_options, staging_limit, 24),
    FIELD(context_options, log, 32),           FIELD(context_options, log_user, 40),
    FIELD(context_options, program_cache, 48), END
};
static const field layout_fields[] = { FIELD(layout, size, 0),    FIELD(layout, element, 8),
                                       FIELD(layout, shape, 16),  FIELD(layout, strides, 40),
                                       FIELD(layout, offset, 64), END };
static const field term_fields[] = { FIELD(term, size, 0),        FIELD(term, criterion, 8),
                                     FIELD(term, metric, 12),     FIELD(term, weight, 16),
                                     FIELD(term, target, 24),     FIELD(term, ddof, 32),
                                     FIELD(term, tau, 40),        FIELD(term, over, 48),
                                     FIELD(term, reg, 56),        FIELD(term, eps, 64),
                                     FIELD(term, symmetric, 72),  FIELD(term, reduction, 76),
                                     FIELD(term, log, 80),        FIELD(term, var_floor, 88),
                                     FIELD(term, degenerate, 96), END };
static const field parameter_fields[] = { FIELD(parameter, size, 0),
                                          FIELD(parameter, name, 8),
                                          FIELD(parameter, choice, 16),
                                          FIELD(parameter, number, 24),
                                          FIELD(parameter, is_integer, 32),
                                          FIELD(parameter, is_default, 36),
                                          END };
static const field plan_options_fields[] = { FIELD(plan_options, size, 0),
                                             FIELD(plan_options, precision, 8),
                                             FIELD(plan_options, outputs, 12),
                                             FIELD(plan_options, states, 16),
                                             FIELD(plan_options, reference, 24),
                                             FIELD(plan_options, weights, 32),
                                             FIELD(plan_options, terms, 40),
                                             FIELD(plan_options, term_count, 48),
                                             FIELD(plan_options, gradient_states, 56),
                                             FIELD(plan_options, gradient_reference, 64),
                                             FIELD(plan_options, gradient_weights, 72),
                                             FIELD(plan_options, accumulate, 80),
                                             END };
static const field inputs_fields[] = { FIELD(inputs, size, 0),
                                       FIELD(inputs, states, 8),
                                       FIELD(inputs, states_bytes, 16),
                                       FIELD(inputs, reference, 24),
                                       FIELD(inputs, reference_bytes, 32),
                                       FIELD(inputs, weights, 40),
                                       FIELD(inputs, weights_bytes, 48),
                                       FIELD(inputs, scale, 56),
                                       FIELD(inputs, cotangents, 64),
                                       FIELD(inputs, cotangent_count, 72),
                                       END };
static const field outputs_fields[] = { FIELD(outputs, size, 0),
                                        FIELD(outputs, values, 8),
                                        FIELD(outputs, value_count, 16),
                                        FIELD(outputs, total, 24),
                                        FIELD(outputs, skipped, 32),
                                        FIELD(outputs, skipped_count, 40),
                                        FIELD(outputs, gradient_states, 48),
                                        FIELD(outputs, gradient_states_bytes, 56),
                                        FIELD(outputs, gradient_reference, 64),
                                        FIELD(outputs, gradient_reference_bytes, 72),
                                        FIELD(outputs, gradient_weights, 80),
                                        FIELD(outputs, gradient_weights_bytes, 88),
                                        END };
static const field tune_options_fields[] = { FIELD(tune_options, size, 0),
                                             FIELD(tune_options, precision, 8),
                                             FIELD(tune_options, budget, 16),
                                             FIELD(tune_options, keep, 24),
                                             FIELD(tune_options, progress, 32),
                                             FIELD(tune_options, progress_user, 40),
                                             END };
static const field tune_result_fields[] = {
    FIELD(tune_result, size, 0),    FIELD(tune_result, before, 8),
    FIELD(tune_result, after, 40),  FIELD(tune_result, tried, 72),
    FIELD(tune_result, failed, 80), FIELD(tune_result, parameters, 88),
    FIELD(tune_result, file, 1112), END
};
#ifdef RATECL_WITH_OPENCL
static const field cl_inputs_fields[] = { FIELD(cl_inputs, size, 0),
                                          FIELD(cl_inputs, states, 8),
                                          FIELD(cl_inputs, reference, 16),
                                          FIELD(cl_inputs, weights, 24),
                                          FIELD(cl_inputs, scale, 32),
                                          FIELD(cl_inputs, cotangents, 40),
                                          END };
static const field cl_outputs_fields[] = { FIELD(cl_outputs, size, 0),
                                           FIELD(cl_outputs, values, 8),
                                           FIELD(cl_outputs, gradient_states, 16),
                                           FIELD(cl_outputs, gradient_reference, 24),
                                           FIELD(cl_outputs, gradient_weights, 32),
                                           END };
#endif

/* ---- Init functions ---- */

/* What the tests know about a struct; `complete` is one as this version's INIT macro or init function makes
 * it. */
typedef struct kind {
    const char *name;
    const field *fields;
    void (*init)(void *given, size_t size);
    const void *complete;
    size_t bytes, recorded;
} kind;

#define INIT_FUNCTION(type, function, ...)                       \
    static void init_##type(void *given, size_t size)            \
    {                                                            \
        ratecl_##function##_init_sized(given, size __VA_ARGS__); \
    }
#define COMMA ,
INIT_FUNCTION(device_info, device_info, )
INIT_FUNCTION(context_options, context_options, )
INIT_FUNCTION(layout, layout, COMMA RATECL_F64, 2, 3, 4)
INIT_FUNCTION(term, term, COMMA RATECL_POPULATION_KL)
INIT_FUNCTION(parameter, parameter, )
INIT_FUNCTION(plan_options, plan_options, )
INIT_FUNCTION(inputs, inputs, )
INIT_FUNCTION(outputs, outputs, )
INIT_FUNCTION(tune_options, tune_options, )
INIT_FUNCTION(tune_result, tune_result, )
#ifdef RATECL_WITH_OPENCL
INIT_FUNCTION(cl_inputs, cl_inputs, )
INIT_FUNCTION(cl_outputs, cl_outputs, )
#endif

static void init_by_name(void *given, size_t size)
{
    ASSERT_OK(ratecl_term_parse_sized(given, size, "population_kl"));
}

static const ratecl_device_info complete_device_info = { .size = sizeof(ratecl_device_info) };
static const ratecl_context_options complete_context_options = RATECL_CONTEXT_OPTIONS_INIT;
static const ratecl_layout complete_layout = RATECL_LAYOUT_INIT(RATECL_F64, 2, 3, 4);
static const ratecl_term complete_term = RATECL_TERM_INIT(RATECL_POPULATION_KL);
static const ratecl_parameter complete_parameter = { .size = sizeof(ratecl_parameter) };
static const ratecl_plan_options complete_plan_options = RATECL_PLAN_OPTIONS_INIT;
static const ratecl_inputs complete_inputs = RATECL_INPUTS_INIT;
static const ratecl_outputs complete_outputs = RATECL_OUTPUTS_INIT;
static const ratecl_tune_options complete_tune_options = RATECL_TUNE_OPTIONS_INIT;
static const ratecl_tune_result complete_tune_result = { .size = sizeof(ratecl_tune_result) };
#ifdef RATECL_WITH_OPENCL
static const ratecl_cl_inputs complete_cl_inputs = RATECL_CL_INPUTS_INIT;
static const ratecl_cl_outputs complete_cl_outputs = RATECL_CL_OUTPUTS_INIT;
#endif

#define KIND(type, recorded)                                                                  \
    {                                                                                         \
#type, type##_fields, init_##type, &complete_##type, sizeof complete_##type, recorded \
    }
enum { DEVICE_INFO = 0, TERM = 3, PARAMETER = 5 };
static const kind kinds[] = {
    [DEVICE_INFO] = KIND(device_info, 968),
    KIND(context_options, 56),
    KIND(layout, 72),
    [TERM] = KIND(term, 104),
    { "term by its name", term_fields, init_by_name, &complete_term, sizeof complete_term, 104 },
    [PARAMETER] = KIND(parameter, 40),
    KIND(plan_options, 88),
    KIND(inputs, 80),
    KIND(outputs, 96),
    KIND(tune_options, 48),
    KIND(tune_result, 2136),
#ifdef RATECL_WITH_OPENCL
    KIND(cl_inputs, 48),
    KIND(cl_outputs, 40),
#endif
};

START_TEST(fields_stay_where_they_are)
{
    for (size_t k = 0; k < COUNT(kinds) && sizeof(void *) == 8; k++) {
        const field *f = kinds[k].fields;
        size_t end = 0;
        for (; f->name; f++) {
            ck_assert_msg(f->offset == f->recorded, "%s is at %zu, and was at %zu", f->name, f->offset,
                          f->recorded);
            ck_assert_msg(f->offset >= end && f->offset < end + 8, "%s: a field before it is not listed",
                          f->name);
            end = f->offset + f->bytes;
        }
        ck_assert_msg(kinds[k].bytes >= end && kinds[k].bytes < end + 8, "%s: its last field is not listed",
                      kinds[k].name);
        ck_assert_msg(kinds[k].bytes == kinds[k].recorded, "%s has %zu bytes, and had %zu", kinds[k].name,
                      kinds[k].bytes, kinds[k].recorded);
    }
}
END_TEST

/* Assert that a struct of `size` bytes has the fields of `complete` as far as it goes, then zeros. */
static void assert_fields(const kind *of, const unsigned char *bytes, size_t size, const void *complete)
{
    size_t own;
    memcpy(&own, bytes, sizeof own);
    ck_assert_msg(own == size, "%s: size is %zu, expected %zu", of->name, own, size);
    for (const field *f = of->fields + 1; f->name; f++)
        if (f->offset + f->bytes <= size)
            ck_assert_msg(memcmp(bytes + f->offset, (const char *)complete + f->offset, f->bytes) == 0,
                          "%s of a struct of %zu bytes", f->name, size);
    for (size_t k = of->bytes; k < size; k++)
        ck_assert_msg(bytes[k] == 0, "%s of %zu bytes: byte %zu is not 0", of->name, size, k);
}

START_TEST(init_functions)
{
    for (size_t k = 0; k < COUNT(kinds); k++)
        for (size_t size = sizeof(size_t); size <= kinds[k].bytes + LONGER; size += STEP) {
            guarded given = guarded_make(size);
            kinds[k].init(given.bytes, size);
            assert_fields(&kinds[k], given.bytes, size, kinds[k].complete);
            guarded_release(&given);
        }
}
END_TEST

/* There is nowhere to write the size, or it cannot be one. */
START_TEST(init_functions_of_no_struct)
{
    static const size_t sizes[] = { 0, sizeof(size_t) - 1, SIZE_MAX, (size_t)1 << 20 };
    for (size_t k = 0; k < COUNT(kinds); k++) {
        if (kinds[k].init == init_by_name)
            continue;
        kinds[k].init(NULL, kinds[k].bytes);
        for (size_t s = 0; s < COUNT(sizes); s++) {
            guarded given = guarded_make(kinds[k].bytes);
            kinds[k].init(given.bytes, sizes[s]);
            ck_assert_msg(holds_pattern(given.bytes, kinds[k].bytes), "%s, size %zu", kinds[k].name,
                          sizes[s]);
            guarded_release(&given);
        }
    }
    ratecl_term parsed;
    ASSERT_REFUSED(ratecl_term_parse_sized(&parsed, 7, "entropy"), "size is 7", "expected");
    ASSERT_REFUSED(ratecl_term_parse_sized(&parsed, SIZE_MAX, "entropy"), "size is", "expected");
}
END_TEST

/* The macros of the plain names pass the size of this header's struct. */
START_TEST(init_macros)
{
    ratecl_device_info info;
    ratecl_context_options context_options;
    ratecl_layout layout;
    ratecl_term term, parsed;
    ratecl_parameter parameter;
    ratecl_plan_options plan_options;
    ratecl_inputs inputs;
    ratecl_outputs outputs;
    ratecl_tune_options tune_options;
    ratecl_tune_result tune_result;
    ratecl_device_info_init(&info);
    ratecl_context_options_init(&context_options);
    ratecl_layout_init(&layout, RATECL_F32, 1, 2, 3);
    ratecl_term_init(&term, RATECL_ENTROPY);
    ASSERT_OK(ratecl_term_parse(&parsed, "entropy"));
    ratecl_parameter_init(&parameter);
    ratecl_plan_options_init(&plan_options);
    ratecl_inputs_init(&inputs);
    ratecl_outputs_init(&outputs);
    ratecl_tune_options_init(&tune_options);
    ratecl_tune_result_init(&tune_result);
    ck_assert_uint_eq(info.size, sizeof info);
    ck_assert_uint_eq(context_options.size, sizeof context_options);
    ck_assert_uint_eq(layout.size, sizeof layout);
    ck_assert_int_eq(layout.shape[2], 3);
    ck_assert_uint_eq(term.size, sizeof term);
    ck_assert_uint_eq(parsed.size, sizeof parsed);
    ck_assert_uint_eq(parameter.size, sizeof parameter);
    ck_assert_uint_eq(plan_options.size, sizeof plan_options);
    ck_assert_uint_eq(inputs.size, sizeof inputs);
    ck_assert_uint_eq(outputs.size, sizeof outputs);
    ck_assert_uint_eq(tune_options.size, sizeof tune_options);
    ck_assert_uint_eq(tune_result.size, sizeof tune_result);
#ifdef RATECL_WITH_OPENCL
    ratecl_cl_inputs cl_inputs;
    ratecl_cl_outputs cl_outputs;
    ratecl_cl_inputs_init(&cl_inputs);
    ratecl_cl_outputs_init(&cl_outputs);
    ck_assert_uint_eq(cl_inputs.size, sizeof cl_inputs);
    ck_assert_uint_eq(cl_outputs.size, sizeof cl_outputs);
#endif
}
END_TEST

/* A key without a field is refused rather than ignored. */
START_TEST(keys_without_a_field)
{
    static const char text[] = "population_kl:reg=2,degenerate=skip";
    enum { ENOUGH = offsetof(ratecl_term, degenerate) + sizeof(ratecl_degenerate) };
    for (size_t size = sizeof(size_t); size <= sizeof(ratecl_term) + LONGER; size += STEP) {
        guarded given = guarded_make(size);
        if (size >= ENOUGH) {
            ratecl_term full;
            ASSERT_OK(ratecl_term_parse(&full, text));
            ASSERT_OK(ratecl_term_parse_sized((void *)given.bytes, size, text));
            assert_fields(&kinds[TERM], given.bytes, size, &full);
        } else {
            char bytes[40];
            snprintf(bytes, sizeof bytes, "%zu bytes", size);
            ASSERT_REFUSED(ratecl_term_parse_sized((void *)given.bytes, size, text), "population_kl",
                           size < offsetof(ratecl_term, eps) ? "reg" : "degenerate", bytes, "expected");
            ck_assert(holds_pattern(given.bytes, size));
        }
        guarded_release(&given);
    }
}
END_TEST

/* ---- Results ---- */

static const ratecl_term described = RATECL_TERM_INIT(RATECL_FIRING_RATE);
static ratecl_context *cpu;

static ratecl_status give_device(void *info)
{
    return ratecl_device_get(ratecl_device_count() - 1, info);
}

static ratecl_status give_context_device(void *info)
{
    return ratecl_context_device(cpu, info);
}

static ratecl_status give_parameter(void *parameter)
{
    return ratecl_term_parameter(&described, 0, parameter);
}

static const struct {
    const kind *of;
    const char *argument;
    ratecl_status (*give)(void *result);
} results[] = {
    { &kinds[DEVICE_INFO], "info.size", give_device },
    { &kinds[DEVICE_INFO], "info.size", give_context_device },
    { &kinds[PARAMETER], "parameter.size", give_parameter },
};

START_TEST(results_of_any_size)
{
    cpu = suite_context("cpu");
    for (size_t k = 0; k < COUNT(results); k++) {
        const kind *of = results[k].of;
        guarded full = guarded_make(of->bytes);
        memcpy(full.bytes, &of->bytes, sizeof of->bytes);
        ASSERT_OK(results[k].give(full.bytes));
        for (size_t size = sizeof(size_t); size <= of->bytes + LONGER; size += STEP) {
            guarded given = guarded_make(size);
            memcpy(given.bytes, &size, sizeof size);
            ASSERT_OK(results[k].give(given.bytes));
            assert_fields(of, given.bytes, size, full.bytes);
            guarded_release(&given);
        }
        memset(full.bytes, 0, of->bytes);
        ASSERT_REFUSED(results[k].give(full.bytes), results[k].argument, "is 0", "expected");
        memset(full.bytes, pattern, of->bytes);
        ASSERT_REFUSED(results[k].give(full.bytes), results[k].argument, "expected");
        ck_assert(holds_pattern(full.bytes, of->bytes));
        guarded_release(&full);
    }
    ratecl_context_release(cpu);
}
END_TEST

/* ---- Options ---- */

static const float numbers[6] = { 0.1f, 0.4f, 0.3f, 0.2f, 0.2f, 0.6f };
static const ratecl_layout shape = RATECL_LAYOUT_INIT(RATECL_F32, 1, 3, 2);
static const ratecl_term rate = RATECL_TERM_INIT(RATECL_FIRING_RATE);
static double value, total;
static const ratecl_outputs only_total = { .size = sizeof only_total, .total = &total };
static ratecl_plan *plan;

static ratecl_plan_options valid_plan_options(void)
{
    ratecl_plan_options options = RATECL_PLAN_OPTIONS_INIT;
    options.states = &shape;
    options.terms = &rate;
    options.term_count = 1;
    return options;
}

static ratecl_inputs valid_inputs(void)
{
    ratecl_inputs made = RATECL_INPUTS_INIT;
    made.states = numbers;
    return made;
}

static ratecl_outputs valid_outputs(void)
{
    ratecl_outputs made = RATECL_OUTPUTS_INIT;
    made.values = &value;
    made.value_count = 1;
    made.total = &total;
    return made;
}

static ratecl_status create_plan(const ratecl_plan_options *options)
{
    ratecl_plan *made = NULL;
    const ratecl_status status = ratecl_plan_create(cpu, options, &made);
    ratecl_plan_release(made);
    return status;
}

static ratecl_status take_context_options(const void *given)
{
    ratecl_context *made = NULL;
    const ratecl_status status = ratecl_context_create(given, &made);
    ratecl_context_release(made);
    return status;
}

static ratecl_status take_layout(const void *given)
{
    ratecl_plan_options options = valid_plan_options();
    options.states = given;
    return create_plan(&options);
}

static ratecl_status take_term(const void *given)
{
    ratecl_plan_options options = valid_plan_options();
    options.terms = given;
    return create_plan(&options);
}

static ratecl_status take_described_term(const void *given)
{
    ratecl_parameter made;
    ratecl_parameter_init(&made);
    return ratecl_term_parameter(given, 0, &made);
}

static ratecl_status take_plan_options(const void *given)
{
    return create_plan(given);
}

static ratecl_status take_inputs(const void *given)
{
    const ratecl_outputs to = valid_outputs();
    return ratecl_evaluate(plan, given, &to);
}

static ratecl_status take_outputs(const void *given)
{
    const ratecl_inputs from = valid_inputs();
    return ratecl_evaluate(plan, &from, given);
}

/* The struct is checked before the device, which has nothing to tune. */
static ratecl_status take_tune_options(const void *given)
{
    ratecl_tune_result result;
    ratecl_tune_result_init(&result);
    const ratecl_status status = ratecl_tune(cpu, given, &result);
    return status == RATECL_ERROR_UNSUPPORTED ? RATECL_OK : status;
}

/* Give a function its struct, as this version has it, in all sizes; from `enough` bytes on it has what the
 * call requires. */
static void take_all_sizes(const char *name, ratecl_status (*take)(const void *given), const void *complete,
                           size_t bytes, size_t enough)
{
    for (size_t size = sizeof(size_t); size <= bytes + LONGER; size += STEP) {
        guarded given = guarded_copy(complete, bytes, size);
        const ratecl_status status = take(given.bytes);
        ck_assert_msg(status == (size < enough ? RATECL_ERROR_ARGUMENT : RATECL_OK),
                      "%s of %zu bytes: %s: %s", name, size, ratecl_status_name(status), ratecl_last_error());
        if (size > bytes) { /* a field that this version does not know is set */
            char argument[80];
            snprintf(argument, sizeof argument, "%s.size is %zu", name, size);
            for (size_t byte = bytes; byte < size; byte++) {
                given.bytes[byte] = 1;
                ASSERT_REFUSED(take(given.bytes), argument, "expected at most", "does not know");
                given.bytes[byte] = 0;
            }
        }
        guarded_release(&given);
    }
    static const size_t sizes[] = { 0, sizeof(size_t) - 1, SIZE_MAX };
    for (size_t k = 0; k < COUNT(sizes); k++) {
        char argument[80];
        snprintf(argument, sizeof argument, "%s.size is %zu", name, sizes[k]);
        guarded given = guarded_copy(complete, bytes, bytes);
        memcpy(given.bytes, &sizes[k], sizeof sizes[k]);
        ASSERT_REFUSED(take(given.bytes), argument, "expected the size of the struct");
        guarded_release(&given);
    }
}

#define TAKE_ALL_SIZES(name, take, complete, enough) \
    take_all_sizes(name, take, &(complete), sizeof(complete), enough)

START_TEST(options_of_any_size)
{
    cpu = suite_context("cpu");
    ck_assert_int_eq(setenv("RATECL_DEVICE", "cpu", 1), 0);
    const ratecl_plan_options options = valid_plan_options();
    const ratecl_inputs from = valid_inputs();
    const ratecl_outputs to = valid_outputs();
    ASSERT_OK(ratecl_plan_create(cpu, &options, &plan));
    TAKE_ALL_SIZES("options", take_context_options, complete_context_options, 0);
    TAKE_ALL_SIZES("states", take_layout, shape, offsetof(ratecl_layout, strides));
    TAKE_ALL_SIZES("options.terms[0]", take_term, rate, offsetof(ratecl_term, metric));
    TAKE_ALL_SIZES("term", take_described_term, rate, offsetof(ratecl_term, metric));
    TAKE_ALL_SIZES("options", take_plan_options, options, offsetof(ratecl_plan_options, gradient_states));
    TAKE_ALL_SIZES("inputs", take_inputs, from, offsetof(ratecl_inputs, states_bytes));
    TAKE_ALL_SIZES("outputs", take_outputs, only_total, 0);
    guarded short_outputs = guarded_copy(&to, sizeof to, offsetof(ratecl_outputs, value_count));
    ASSERT_REFUSED(take_outputs(short_outputs.bytes), "outputs.value_count is 0", "expected at least 1");
    guarded_release(&short_outputs);
    TAKE_ALL_SIZES("options", take_tune_options, complete_tune_options, 0);
    ratecl_plan_release(plan);
    ratecl_context_release(cpu);
    ck_assert_int_eq(unsetenv("RATECL_DEVICE"), 0);
}
END_TEST

/* The terms of an array have one size. */
START_TEST(terms_of_two_sizes)
{
    cpu = suite_context("cpu");
    ratecl_term terms[2] = { RATECL_TERM_INIT(RATECL_FIRING_RATE), RATECL_TERM_INIT(RATECL_ENTROPY) };
    ratecl_plan_options options = valid_plan_options();
    options.terms = terms;
    options.term_count = 2;
    ASSERT_OK(create_plan(&options));
    terms[1].size = 96;
    ASSERT_REFUSED(create_plan(&options), "options.terms[1].size", "96", "expected 104", "options.terms[0]");
    ratecl_context_release(cpu);
}
END_TEST

/* ---- OpenCL ---- */

#ifdef RATECL_WITH_OPENCL
static const caller *owner;
static cl_mem states_buffer, values_buffer;

static ratecl_status enqueue(const void *given_inputs, const void *given_outputs)
{
    const ratecl_status status = ratecl_cl_enqueue(plan, given_inputs, given_outputs, 0, NULL, NULL);
    if (status == RATECL_OK) {
        const ratecl_outputs to = valid_outputs();
        ASSERT_OK(ratecl_cl_wait(plan, &to));
        ck_assert_double_eq_tol(value, 0.1, 1e-6);
    }
    return status;
}

static ratecl_status take_cl_inputs(const void *given)
{
    return enqueue(given, NULL);
}

static ratecl_cl_inputs valid_cl_inputs(void)
{
    ratecl_cl_inputs from;
    ratecl_cl_inputs_init(&from);
    from.states = states_buffer;
    return from;
}

static ratecl_status take_cl_outputs(const void *given)
{
    const ratecl_cl_inputs from = valid_cl_inputs();
    return enqueue(&from, given);
}

static ratecl_status take_waited_outputs(const void *given)
{
    const ratecl_cl_inputs from = valid_cl_inputs();
    ASSERT_OK(ratecl_cl_enqueue(plan, &from, NULL, 0, NULL, NULL));
    return ratecl_cl_wait(plan, given);
}

static ratecl_status take_cl_context_options(const void *given)
{
    ratecl_context *made = NULL;
    const ratecl_status status =
        ratecl_cl_context_create(owner->context, owner->device, owner->queue, given, &made);
    ratecl_context_release(made);
    return status;
}

static void with_buffers(caller *of, const char *device)
{
    (void)device;
    owner = of;
    ratecl_context *context = caller_context(of);
    const ratecl_plan_options options = valid_plan_options();
    ASSERT_OK(ratecl_plan_create(context, &options, &plan));
    states_buffer = caller_buffer(of, numbers, sizeof numbers);
    values_buffer = caller_buffer(of, NULL, 2 * sizeof(float));
    ratecl_cl_outputs to;
    ratecl_cl_outputs_init(&to);
    to.values = values_buffer;
    TAKE_ALL_SIZES("options", take_cl_context_options, complete_context_options, 0);
    const ratecl_cl_inputs from = valid_cl_inputs();
    TAKE_ALL_SIZES("inputs", take_cl_inputs, from, offsetof(ratecl_cl_inputs, reference));
    TAKE_ALL_SIZES("outputs", take_cl_outputs, to, 0);
    TAKE_ALL_SIZES("outputs", take_waited_outputs, only_total, 0);
    ratecl_plan_release(plan);
    ratecl_context_release(context);
    ASSERT_CL(clReleaseMemObject(states_buffer));
    ASSERT_CL(clReleaseMemObject(values_buffer));
}

START_TEST(opencl_structs_of_any_size)
{
    caller_each(with_buffers);
}
END_TEST
#endif

int main(void)
{
    const TTest *const tests[] = {
        fields_stay_where_they_are, init_functions,      init_functions_of_no_struct, init_macros,
        keys_without_a_field,       results_of_any_size, options_of_any_size,         terms_of_two_sizes,
#ifdef RATECL_WITH_OPENCL
        opencl_structs_of_any_size,
#endif
    };
    return suite_run("structs", tests, COUNT(tests));
}

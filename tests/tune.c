/* SPDX-License-Identifier: Apache-2.0 */
/* The search of a device's parameters, and the file in which they are kept. */
#include "suite.h"
#include "user_folder.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- A folder of the test's own ---- */

static char file[128];

static void folder_make(void)
{
    user_folder_make();
    snprintf(file, sizeof file, "%s/tuning.txt", user_folder);
}

static void write_text(const char *text)
{
    write_file(file, text, strlen(text));
}

static void read_text(char *text, size_t size)
{
    FILE *stream = fopen(file, "rb");
    ck_assert_ptr_nonnull(stream);
    text[fread(text, 1, size - 1, stream)] = '\0';
    fclose(stream);
}

/* ---- Contexts, and what they say ---- */

typedef struct journal {
    char used[700], ignored[700], programs[2000];
} journal;

static void note(const char *message, void *user)
{
    journal *to = user;
    if (strncmp(message, "tuning.txt: used: ", 18) == 0)
        snprintf(to->used, sizeof to->used, "%s", message + 18);
    if (strncmp(message, "tuning.txt: ignored: ", 21) == 0)
        snprintf(to->ignored, sizeof to->ignored, "%s", message + 21);
    if (strncmp(message, "program ", 8) == 0)
        strncat(to->programs, message, sizeof to->programs - strlen(to->programs) - 1);
}

static ratecl_context *open_context(const char *device, journal *said)
{
    *said = (journal){ "", "", "" };
    ratecl_context_options options = RATECL_CONTEXT_OPTIONS_INIT;
    options.device = device;
    options.log = note;
    options.log_user = said;
    options.program_cache = RATECL_PROGRAM_CACHE_OFF;
    ratecl_context *context = NULL;
    ASSERT_OK(ratecl_context_create(&options, &context));
    return context;
}

/* Evaluate on a new context, which says where its parameters come from. */
static void evaluate(const char *device, journal *said)
{
    static const float states[] = { 0.1f, 0.4f, 0.3f, 0.2f, 0.2f, 0.6f };
    const ratecl_layout layout = RATECL_LAYOUT_INIT(RATECL_F32, 1, 3, 2);
    ratecl_context *context = open_context(device, said);
    double value;
    ASSERT_OK(ratecl_firing_rate_loss(context, &layout, states, RATECL_METRIC_L2, 0, &value));
    ck_assert_double_eq_tol(value, 0.1, 1e-6);
    ratecl_context_release(context);
}

static void on_devices(void (*test)(const ratecl_device_info *device))
{
    ck_assert_int_eq(unsetenv("RATECL_TUNING"), 0);
    suite_each_opencl_device(folder_make, test, user_folder_remove);
}

/* ---- The search ---- */

typedef struct reports {
    int count;
    double last;
} reports;

static void count_report(double fraction, const char *message, void *user)
{
    reports *seen = user;
    ck_assert_double_ge(fraction, seen->last);
    ck_assert_double_le(fraction, 1);
    ck_assert_ptr_nonnull(strstr(message, ": "));
    seen->last = fraction;
    seen->count++;
}

/* Tune as a caller whose ratecl_tune_result has `size` bytes, of an earlier or a later header. */
static void tune_sized(const char *device, double budget, size_t size, ratecl_tune_result *result)
{
    union {
        ratecl_tune_result known;
        unsigned char bytes[sizeof(ratecl_tune_result) + 64];
    } given;
    journal said;
    reports seen = { 0, 0 };
    ratecl_context *context = open_context(device, &said);
    ratecl_tune_options options = RATECL_TUNE_OPTIONS_INIT;
    options.budget = budget;
    options.progress = count_report;
    options.progress_user = &seen;
    memset(&given, 0x5a, sizeof given);
    given.known.size = size;
    ASSERT_OK(ratecl_tune(context, &options, &given.known));
    ratecl_context_release(context);
    ck_assert_int_gt(seen.count, 0);
    ck_assert_uint_eq(given.known.size, size);
    for (size_t k = sizeof given.known; k < sizeof given; k++)
        ck_assert_uint_eq(given.bytes[k], k < size ? 0 : 0x5a);
    for (size_t k = size; k < sizeof given.known; k++)
        ck_assert_uint_eq(given.bytes[k], 0x5a);
    *result = given.known;
}

static void tune(const char *device, double budget, ratecl_tune_result *result)
{
    tune_sized(device, budget, sizeof *result, result);
}

static void searched(const ratecl_device_info *device)
{
    static const char other[] =
        "# a remark\nf32\tanother device\tof a platform\t1\tsweep_step=4\nthe last line";
    ratecl_tune_result result;
    journal said;
    char text[4000];
    write_text(other);
    tune_sized(device->id, suite_is_small() ? 1e-3 : 5, sizeof result + 32, &result);
    for (int k = 0; k < RATECL_TUNE_COUNT; k++) {
        ck_assert_double_gt(result.before[k], 0);
        ck_assert_double_gt(result.after[k], 0);
    }
    ck_assert_int_le(result.failed, result.tried);
    ck_assert_str_eq(result.file, file);
    ck_assert_ptr_nonnull(strstr(result.parameters, "sweep_step="));

    read_text(text, sizeof text);
    ck_assert_ptr_eq(strstr(text, other), text);
    ck_assert_ptr_nonnull(strstr(text, result.parameters));
    evaluate(device->id, &said);
    ck_assert_str_eq(said.used, result.parameters);
    ck_assert_str_eq(said.ignored, "");

    /* Once more: in the place of the line that is there. */
    tune_sized(device->id, 1e-3, offsetof(ratecl_tune_result, parameters), &result);
    ck_assert_double_gt(result.before[0], 0);
    char again[4000];
    read_text(again, sizeof again);
    ck_assert_ptr_eq(strstr(again, other), again);
    const char *line = strstr(again, device->name);
    ck_assert_ptr_nonnull(line);
    ck_assert_ptr_null(strstr(line + 1, device->name));
}

START_TEST(search)
{
    on_devices(searched);
}
END_TEST

/* ---- The file ---- */

/* The beginning of the device's line, from one that the library wrote. */
static void beginning_of(const ratecl_device_info *device, char *line, size_t size)
{
    ratecl_tune_result result;
    char text[4000];
    unlink(file);
    tune(device->id, 1e-3, &result);
    read_text(text, sizeof text);
    char *begin = strstr(text, "\nf32\t"), *end = strstr(text, result.parameters);
    ck_assert_ptr_nonnull(begin);
    ck_assert_ptr_nonnull(end);
    snprintf(line, size, "%.*s", (int)(end - begin - 1), begin + 1);
}

/* A context says what it reads in the file. */
static void read_on_context(const ratecl_device_info *device, journal *said)
{
    ratecl_context_release(open_context(device->id, said));
}

static void assert_used(const ratecl_device_info *device, const char *parameters)
{
    journal said;
    read_on_context(device, &said);
    ck_assert_str_eq(said.used, parameters);
    ck_assert_str_eq(said.ignored, "");
}

static void assert_ignored(const ratecl_device_info *device, const char *why)
{
    journal said;
    read_on_context(device, &said);
    ck_assert_str_eq(said.used, "");
    ck_assert_msg(strstr(said.ignored, why), "ignored: \"%s\", expected \"%s\"", said.ignored, why);
}

/* Lines that are whole, and what is in them is not. */
static void read_back(const ratecl_device_info *device)
{
    static const char *const bad[] = { "sweep_step=",
                                       "sweep_step=many",
                                       "sweep_step=0",
                                       "sweep_step=1000000",
                                       "no_parameter=3",
                                       "tile=100",
                                       "panel=7",
                                       "sweep_vector=3",
                                       "sweep_step=2;tile",
                                       "\x01\xff\x02",
                                       "sweep_step=4294967298",
                                       "sweep_step=2gradient_step=1" };
    char beginning[700], line[4000], longer[2500];
    journal said;
    beginning_of(device, beginning, sizeof beginning);
    seal_line(line, sizeof line, beginning, "sweep_step=2,gradient_step=1");
    write_text(line);
    evaluate(device->id, &said);
    ck_assert_str_eq(said.used, "sweep_step=2,gradient_step=1");
    ck_assert_ptr_nonnull(strstr(said.programs, "-DSTEP=2"));

    ck_assert_int_eq(setenv("RATECL_TUNING", "sweep_step=1", 1), 0);
    evaluate(device->id, &said);
    ck_assert_ptr_nonnull(strstr(said.programs, "-DSTEP=1"));
    ck_assert_int_eq(unsetenv("RATECL_TUNING"), 0);

    for (size_t k = 0; k < COUNT(bad); k++) {
        seal_line(line, sizeof line, beginning, bad[k]);
        write_text(line);
        assert_ignored(device, "no consistent parameters");
    }
    memset(longer, '1', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    seal_line(line, sizeof line, beginning, longer);
    write_text(line);
    assert_ignored(device, "too long");
    evaluate(device->id, &said); /* with the defaults */

    /* Of another device: nothing is said of it. */
    beginning[strlen(beginning) - 1] = '1';
    seal_line(line, sizeof line, beginning, "\tsweep_step=2");
    write_text(line);
    assert_used(device, "");
}

/* A line that is cut anywhere, or has a wrong byte anywhere, is not used, and the next search replaces it. */
static void damage(const ratecl_device_info *device)
{
    static const char parameters[] = "sweep_step=2,gradient_step=1";
    char beginning[700], line[1000], copy[1000];
    ratecl_tune_result result;
    beginning_of(device, beginning, sizeof beginning);
    seal_line(line, sizeof line, beginning, parameters);
    const size_t length = strlen(line), begin = strlen(beginning);
    write_file(file, line, length - 1); /* all but the newline */
    assert_used(device, parameters);
    for (size_t k = begin; k + 1 < length; k++) {
        write_file(file, line, k);
        assert_ignored(device, "damaged");
        memcpy(copy, line, length);
        copy[k] ^= 1;
        write_file(file, copy, length);
        assert_ignored(device, "damaged");
    }
    /* As earlier versions wrote them. */
    snprintf(copy, sizeof copy, "%s%s\nanother line\n", beginning, parameters);
    write_text(copy);
    assert_ignored(device, "damaged");
    tune(device->id, 1e-3, &result);
    assert_used(device, result.parameters);
    char text[4000];
    read_text(text, sizeof text);
    const char *found = strstr(text, beginning);
    ck_assert_ptr_nonnull(found);
    ck_assert_ptr_null(strstr(found + 1, beginning));
    ck_assert_ptr_nonnull(strstr(text, "\nanother line\n"));

    /* Zeros, as a file system leaves them after a crash, hide no line that follows them. */
    memset(copy, 0, 100);
    copy[99] = '\n';
    memcpy(copy + 100, line, length);
    write_file(file, copy, 100 + length);
    assert_used(device, parameters);
}

START_TEST(kept_parameters)
{
    on_devices(read_back);
}
END_TEST

START_TEST(damaged_lines)
{
    on_devices(damage);
}
END_TEST

/* ---- A file or a folder that is not to be trusted ---- */

/* It is neither read nor written, and the search is refused before it begins. */
static void assert_untouched(const ratecl_device_info *device, const char *what)
{
    journal said;
    ratecl_tune_options options = RATECL_TUNE_OPTIONS_INIT;
    ratecl_tune_result result = { .size = sizeof result };
    ratecl_context *context = open_context(device->id, &said);
    ck_assert_msg(strstr(said.ignored, "owned by you or root") || strstr(said.ignored, "too large") ||
                      strstr(said.ignored, "Not a directory"),
                  "%s: ignored: \"%s\"", what, said.ignored);
    ck_assert_str_eq(said.used, "");
    ASSERT_REFUSED(ratecl_tune(context, &options, &result), "tuning.txt", "could not be written",
                   said.ignored);
    ratecl_context_release(context);
    evaluate(device->id, &said);
}

static void untrusted(const ratecl_device_info *device)
{
    char beginning[700], line[1000];
    beginning_of(device, beginning, sizeof beginning);
    seal_line(line, sizeof line, beginning, "sweep_step=2,gradient_step=1");
    for (int k = 0; k < HOSTILE_FILES + HOSTILE_FOLDERS; k++) {
        const bool is_file = k < HOSTILE_FILES;
        const hostile *kind = is_file ? &hostile_files[k] : &hostile_folders[k - HOSTILE_FILES];
        user_folder_remove();
        folder_make();
        write_text(line);
        assert_used(device, "sweep_step=2,gradient_step=1");
        if (!kind->make(is_file ? file : user_folder)) {
            printf("skipped: %s: could not be made here\n", kind->name);
            continue;
        }
        assert_untouched(device, kind->name);
    }
}

START_TEST(not_trusted)
{
    on_devices(untrusted);
}
END_TEST

/* ---- Refusals ---- */

static void nowhere(const ratecl_device_info *device)
{
    char path[160];
    journal said;
    ratecl_context *context = open_context(device->id, &said);
    ratecl_tune_options options = RATECL_TUNE_OPTIONS_INIT;
    ratecl_tune_result result = { .size = sizeof result };
    write_text("");
    snprintf(path, sizeof path, "%s/below", file);
    ck_assert_int_eq(setenv("RATECL_CACHE", path, 1), 0);
    ASSERT_REFUSED(ratecl_tune(context, &options, &result), path, "could not be written");
    ck_assert_int_eq(setenv("RATECL_CACHE", "", 1), 0);
    ASSERT_REFUSED(ratecl_tune(context, &options, &result), "tuning.txt", "RATECL_CACHE");
    ck_assert_double_eq(result.before[0], 0);

    static const double budgets[] = { 0, -1, NAN, INFINITY };
    for (size_t k = 0; k < COUNT(budgets); k++) {
        options.budget = budgets[k];
        ASSERT_REFUSED(ratecl_tune(context, &options, &result), "options.budget");
    }
    result.size = 1;
    ASSERT_REFUSED(ratecl_tune(context, NULL, &result), "result.size");
    ASSERT_REFUSED(ratecl_tune(context, NULL, NULL), "result");
    ratecl_context_release(context);
}

START_TEST(refusals)
{
    on_devices(nowhere);
    ratecl_context *context = suite_context("cpu");
    ratecl_tune_result result = { .size = sizeof result };
    ASSERT_FAILS(ratecl_tune(context, NULL, &result), RATECL_ERROR_UNSUPPORTED, "nothing to tune");
    ASSERT_REFUSED(ratecl_tune(NULL, NULL, &result), "context");
    ratecl_context_release(context);
    ratecl_tune_options options;
    ratecl_tune_options_init(&options);
    ck_assert_double_eq(options.budget, 60);
    ck_assert_int_eq(options.keep, 1);
    ratecl_tune_options_init(NULL);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { search, kept_parameters, damaged_lines, not_trusted, refusals };
    return suite_run("tune", tests, COUNT(tests));
}

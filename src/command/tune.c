/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"
#include "output.h"
#include "progress.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct settings {
    const char *device, *budget, *precision;
    bool json, quiet;
};

static const struct option options[] = {
    { "--device", "D", OPTION_TEXT, offsetof(struct settings, device),
      "opencl, opencl:TEXT or opencl:P.D, as 'ratecl devices' lists them; default: the one that is chosen "
      "there" },
    { "--budget", "SECONDS", OPTION_TEXT, offsetof(struct settings, budget),
      "how long to search; default: 60" },
    { "--precision", "P", OPTION_TEXT, offsetof(struct settings, precision),
      "of the arithmetic: f32 or f64; default: f32" },
    { "--json", NULL, OPTION_FLAG, offsetof(struct settings, json),
      "print one JSON object instead of the table" },
    { "--quiet", NULL, OPTION_FLAG, offsetof(struct settings, quiet), "print nothing but what was found" },
};

static const char *const pass_names[RATECL_TUNE_COUNT] = {
    [RATECL_TUNE_SWEEP] = "sweep",
    [RATECL_TUNE_GRADIENT] = "gradient",
    [RATECL_TUNE_CORRELATION] = "correlation",
    [RATECL_TUNE_CORRELATION_GRADIENT] = "correlation gradients",
};

static bool read_settings(const struct settings *settings, ratecl_tune_options *wanted)
{
    if (settings->budget) {
        char *end;
        wanted->budget = strtod(settings->budget, &end);
        if (end == settings->budget || *end || !(wanted->budget > 0) || !isfinite(wanted->budget)) {
            complain("--budget %s: expected a positive number of seconds", settings->budget);
            return false;
        }
    }
    if (settings->precision && strcmp(settings->precision, "f64") == 0) {
        wanted->precision = RATECL_PRECISION_F64;
    } else if (settings->precision && strcmp(settings->precision, "f32") != 0) {
        complain("--precision %s: expected f32 or f64", settings->precision);
        return false;
    }
    return true;
}

static void print_json(const ratecl_device_info *device, ratecl_precision precision,
                       const ratecl_tune_result *result)
{
    char label[320];
    device_label(device, label, sizeof label);
    fputs("{\"device\": ", stdout);
    json_string(label);
    printf(", \"precision\": \"%s\", \"passes\": [", precision_name(precision));
    for (int k = 0; k < RATECL_TUNE_COUNT; k++) {
        printf("%s\n  {\"pass\": \"%s\", \"before\": ", k > 0 ? "," : "", pass_names[k]);
        json_number(result->before[k]);
        fputs(", \"after\": ", stdout);
        json_number(result->after[k]);
        putchar('}');
    }
    printf("],\n \"tried\": %" PRId64 ", \"failed\": %" PRId64 ", \"parameters\": ", result->tried,
           result->failed);
    json_string(result->parameters);
    fputs(", \"file\": ", stdout);
    json_string(result->file);
    puts("}");
}

static void print_table(const ratecl_device_info *device, ratecl_precision precision,
                        const ratecl_tune_result *result)
{
    char label[320];
    device_label(device, label, sizeof label);
    output_pair("device", label);
    output_pair("precision", precision_name(precision));
    printf("\n%-22s %11s %11s\n", "", "before", "after");
    for (int k = 0; k < RATECL_TUNE_COUNT; k++)
        printf("%-22s %8.3f ms %8.3f ms  %5.2f x\n", pass_names[k], 1e3 * result->before[k],
               1e3 * result->after[k], result->before[k] / result->after[k]);
    printf("\n%" PRId64 " choices were tried, of which %" PRId64 " did not do.\n", result->tried,
           result->failed);
    output_pair("found", result->parameters);
    output_pair("kept in", result->file);
}

static void show_progress(double fraction, const char *message, void *user)
{
    (void)message;
    progress_fraction(user, fraction);
}

static int run(int argc, char **argv)
{
    struct settings settings = { 0 };
    const char *none;
    const parse_result parsed = arguments_parse(&tune_command, argc, argv, &settings, &none);
    if (parsed != PARSE_DONE)
        return parsed == PARSE_HELPED ? COMMAND_DONE : COMMAND_WRONG;
    ratecl_tune_options wanted = RATECL_TUNE_OPTIONS_INIT;
    if (!read_settings(&settings, &wanted))
        return COMMAND_WRONG;

    struct progress progress;
    progress_start(&progress, !settings.quiet);
    progress_stage(&progress, "tuning");
    wanted.progress = show_progress;
    wanted.progress_user = &progress;
    ratecl_context_options context_options = RATECL_CONTEXT_OPTIONS_INIT;
    context_options.device = settings.device;
    ratecl_context *context = NULL;
    ratecl_device_info device = { .size = sizeof device };
    ratecl_tune_result result = { .size = sizeof result };
    ratecl_status status = ratecl_context_create(&context_options, &context);
    if (status == RATECL_OK)
        status = ratecl_context_device(context, &device);
    if (status == RATECL_OK)
        status = ratecl_tune(context, &wanted, &result);
    ratecl_context_release(context);
    progress_stop(&progress);
    if (status != RATECL_OK)
        return complain_of(status);
    if (settings.json)
        print_json(&device, wanted.precision, &result);
    else if (settings.quiet)
        puts(result.parameters);
    else
        print_table(&device, wanted.precision, &result);
    return COMMAND_DONE;
}

const struct command tune_command = {
    .name = "tune",
    .summary = "Search the parameters that are fastest on a device, and keep them for later runs.",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .notes = "What is found is kept in tuning.txt in the user's folder: RATECL_CACHE, or\n"
             "ratecl in XDG_CACHE_HOME, or .cache/ratecl in HOME. Plans use it from then on;\n"
             "removing its line, or the file, undoes that.\n",
    .run = run,
};

/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"
#include "output.h"
#include "text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A terminal that has fewer columns left for a device gets it on lines of its own. */
enum { DEVICE_COLUMNS = 24, NARROW_INDENT = 4 };

struct settings {
    bool json;
};

static const struct option options[] = {
    { "--json", NULL, OPTION_FLAG, offsetof(struct settings, json),
      "print one JSON object instead of the table" },
};

static const char *kind_name(ratecl_device_kind kind)
{
    static const char *const names[] = {
        [RATECL_DEVICE_GPU] = "gpu",       [RATECL_DEVICE_ACCELERATOR] = "accelerator",
        [RATECL_DEVICE_CPU] = "cpu",       [RATECL_DEVICE_SOFTWARE] = "software",
        [RATECL_DEVICE_OPENMP] = "openmp",
    };
    const size_t index = (size_t)kind;
    return index < sizeof names / sizeof *names && names[index] ? names[index] : "unknown";
}

static void print_json(const ratecl_device_info *devices, size_t count)
{
    printf("{\"opencl\": %s, \"devices\": [", ratecl_has_opencl() ? "true" : "false");
    for (size_t k = 0; k < count; k++) {
        const ratecl_device_info *device = &devices[k];
        printf("%s\n  {\"id\": ", k > 0 ? "," : "");
        json_string(device->id);
        printf(", \"kind\": \"%s\", \"name\": ", kind_name(device->kind));
        json_string(device->name);
        fputs(", \"platform\": ", stdout);
        json_string(device->platform);
        fputs(", \"version\": ", stdout);
        json_string(device->version);
        printf(", \"fp64\": %s, \"compute_units\": %" PRId32 ", \"memory\": %" PRIu64
               ", \"largest_buffer\": %" PRIu64 ", \"chosen\": %s}",
               device->fp64 ? "true" : "false", device->compute_units, device->memory, device->largest_buffer,
               device->chosen ? "true" : "false");
    }
    puts("\n]}");
}

static int widest_id(const ratecl_device_info *devices, size_t count)
{
    int width = (int)strlen("id");
    for (size_t k = 0; k < count; k++) {
        const int length = (int)strlen(devices[k].id);
        width = length > width ? length : width;
    }
    return width;
}

static void print_choice(const ratecl_device_info *devices, size_t count)
{
    const char *variable = getenv("RATECL_DEVICE");
    const bool named = variable && variable[0] != '\0';
    const ratecl_device_info *chosen = NULL;
    char text[4096];
    for (size_t k = 0; k < count; k++)
        if (devices[k].chosen)
            chosen = &devices[k];
    if (!chosen)
        snprintf(text, sizeof text,
                 "No device is chosen without --device: RATECL_DEVICE is \"%s\", which none of these is.",
                 named ? variable : "");
    else if (named)
        snprintf(text, sizeof text, "* %s is chosen without --device: RATECL_DEVICE is \"%s\".", chosen->id,
                 variable);
    else if (chosen->kind == RATECL_DEVICE_OPENMP)
        snprintf(text, sizeof text, "* %s is chosen without --device: there is no OpenCL device.",
                 chosen->id);
    else
        snprintf(text, sizeof text,
                 "* %s is chosen without --device: the best OpenCL device (gpu before accelerator, cpu, "
                 "software).",
                 chosen->id);
    text_wrap(stdout, text, 0, text_width(stdout));
    putchar('\n');
    if (!ratecl_has_opencl())
        puts("This build of ratecl has no OpenCL.");
}

static void print_table(const ratecl_device_info *devices, size_t count)
{
    const int id = widest_id(devices, count), width = text_width(stdout);
    printf("  %-*s  %-11s  fp64  %-10s  device\n", id, "id", "kind", "memory");
    for (size_t k = 0; k < count; k++) {
        const ratecl_device_info *device = &devices[k];
        char memory[32] = "unknown", text[sizeof device->name + sizeof device->platform + 4];
        if (device->memory > 0)
            snprintf(memory, sizeof memory, "%.1f GiB", (double)device->memory / 0x1p30);
        const int column = printf("%c %-*s  %-11s  %-4s  %-10s  ", device->chosen ? '*' : ' ', id, device->id,
                                  kind_name(device->kind), device->fp64 ? "yes" : "no", memory);
        snprintf(text, sizeof text, "%s (%s)", device->name, device->platform);
        const bool narrow = width > 0 && width - column < DEVICE_COLUMNS;
        if (narrow)
            printf("\n%*s", NARROW_INDENT, "");
        text_wrap(stdout, text, narrow || column < 0 ? NARROW_INDENT : column, width);
        putchar('\n');
    }
    putchar('\n');
    print_choice(devices, count);
}

static int run(int argc, char **argv)
{
    struct settings settings = { 0 };
    const char *none;
    const parse_result parsed = arguments_parse(&devices_command, argc, argv, &settings, &none);
    if (parsed != PARSE_DONE)
        return parsed == PARSE_HELPED ? COMMAND_DONE : COMMAND_WRONG;

    const size_t count = ratecl_device_count();
    ratecl_device_info *devices = calloc(count, sizeof *devices);
    ratecl_status status = devices ? RATECL_OK : RATECL_ERROR_MEMORY;
    for (size_t k = 0; k < count && status == RATECL_OK; k++) {
        devices[k].size = sizeof devices[k];
        status = ratecl_device_get(k, &devices[k]);
    }
    int result = COMMAND_DONE;
    if (!devices)
        complain("memory ran out");
    if (status != RATECL_OK)
        result = devices ? complain_of(status) : COMMAND_FAILED;
    else if (settings.json)
        print_json(devices, count);
    else
        print_table(devices, count);
    for (size_t k = 0; k < count && status == RATECL_OK; ++k)
        if (devices[k].note[0])
            complain("%s", devices[k].note);
    free(devices);
    return result;
}

const struct command devices_command = {
    .name = "devices",
    .summary = "List what it can run on, and what is chosen without --device.",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .run = run,
};

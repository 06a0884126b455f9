/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L
#include "report.h"

#include <langinfo.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

static void *grow(void *items, size_t count, size_t bytes)
{
    void *grown = realloc(items, (count + 1) * bytes);
    if (!grown)
        fail("memory", "there is too little");
    return grown;
}

void add_device(report *all, const rated *one)
{
    all->devices = grow(all->devices, all->device_count, sizeof *one);
    all->devices[all->device_count++] = *one;
}

void add_result(report *all, const result *one)
{
    all->results = grow(all->results, all->result_count, sizeof *one);
    all->results[all->result_count++] = *one;
}

void release_report(report *all)
{
    free(all->devices);
    free(all->results);
}

/* ---- What is said of a result ---- */

static const char *element_name(ratecl_element element)
{
    static const char *const names[] = {
        [RATECL_F32] = "f32", [RATECL_F64] = "f64", [RATECL_F16] = "f16", [RATECL_U8] = "u8"
    };
    return names[element];
}

/* The part of the ceiling that is reached; NaN where there is none. */
static double fraction_of(const result *one)
{
    return one->least.name ? one->least.seconds / one->time.minimum : NAN;
}

/* What the ceiling counts, and in which unit. */
typedef struct quantity {
    double amount;
    const char *unit;
} quantity;

static quantity quantity_of(work done, bound least)
{
    if (!least.name)
        return (quantity){ NAN, "" };
    if (strcmp(least.name, "multiply-add") == 0)
        return (quantity){ done.operations, "FLOP/s" };
    if (strcmp(least.name, "launch") == 0)
        return (quantity){ done.launches, "launches/s" };
    if (strcmp(least.name, "transfer") == 0)
        return (quantity){ done.sent + done.received, "B/s" };
    return (quantity){ done.read + done.written, "B/s" };
}

/* ---- The table ---- */

typedef struct text {
    char s[96];
} text;

/* A number with three or four digits and the prefix that makes it so. */
static text scaled(double number, const char *unit)
{
    static const struct {
        double factor;
        const char *prefix;
    } prefixes[] = { { 1e12, "T" }, { 1e9, "G" },  { 1e6, "M" }, { 1e3, "k" },
                     { 1, "" },     { 1e-3, "m" }, { 1e-6, "u" } };
    size_t k = 0;
    while (k + 1 < sizeof prefixes / sizeof *prefixes && number < prefixes[k].factor)
        ++k;
    text made;
    const double shown = number / prefixes[k].factor;
    snprintf(made.s, sizeof made.s, "%.*f %s%s",
             shown < 9.995   ? 2
             : shown < 99.95 ? 1
                             : 0,
             shown, prefixes[k].prefix, unit);
    return made;
}

static bool draws_blocks(void)
{
    return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

/* A bar of 20 places for 100 %. */
static text bar(double fraction)
{
    enum { PLACES = 20, PARTS = 8 };
    static const char *const blocks[PARTS + 1] = { "",       "\u258f", "\u258e", "\u258d", "\u258c",
                                                   "\u258b", "\u258a", "\u2589", "\u2588" };
    text made = { "" };
    const int parts = (int)lround(fmin(fraction, 1) * PLACES * PARTS);
    for (int left = parts; left > 0; left -= PARTS) {
        const int here = left < PARTS ? left : PARTS;
        const char *piece = draws_blocks() ? blocks[here] : here * 2 >= PARTS ? "#" : "";
        strncat(made.s, piece, sizeof made.s - strlen(made.s) - 1);
    }
    return made;
}

void print_device(const rated *one)
{
    const ceilings *most = &one->most;
    printf("%-11s %s\n", one->device.id, one->device.name);
    printf("            reads %s, writes %s, copies %s, triad %s, multiply-adds %s, launch %s\n",
           scaled(most->read, "B/s").s, scaled(most->write, "B/s").s, scaled(most->copy, "B/s").s,
           scaled(most->triad, "B/s").s, scaled(most->multiply_add, "FLOP/s").s, scaled(most->launch, "s").s);
    if (most->to_device > 0)
        printf("            sends %s, receives %s of pinned host memory\n", scaled(most->to_device, "B/s").s,
               scaled(most->from_device, "B/s").s);
}

void print_heading(void)
{
    printf("\n%-40s %-11s %-6s %-19s %-4s %9s %9s %7s %11s  %s\n", "line", "device", "memory", "(B, T, N)",
           "", "minimum", "median", "spread", "rate", "of the ceiling");
}

static void print_kernels(const result *one)
{
    double seconds = 0;
    for (size_t k = 0; k < one->kernel_count; ++k) {
        const kernel_result *kernel = &one->kernels[k];
        const double time = kernel->time.seconds, least = kernel->least.seconds;
        char launches[24] = "";
        if (kernel->time.launches > 1)
            snprintf(launches, sizeof launches, ", %d launches", kernel->time.launches);
        printf("    %-24s %8zu x %-5zu %10s", kernel->time.name, kernel->time.groups, kernel->time.items,
               scaled(time, "s").s);
        if (least > 0) {
            const quantity counted = quantity_of(kernel->done, kernel->least);
            printf("  %12s  %3.0f %% of %s", scaled(counted.amount / time, counted.unit).s,
                   100 * least / time, kernel->least.name);
        }
        printf("%s\n", launches);
        seconds += time;
    }
    if (one->kernel_count)
        printf("    %-24s %16s %10s\n", "together", "", scaled(seconds, "s").s);
}

void print_result(const result *one)
{
    char shape[64], percent[16] = "", spread[16];
    const quantity counted = quantity_of(one->done, one->least);
    const double fraction = fraction_of(one);
    snprintf(shape, sizeof shape, "(%lld, %lld, %lld)", (long long)one->shape[0], (long long)one->shape[1],
             (long long)one->shape[2]);
    snprintf(spread, sizeof spread, "%.0f %%", 100 * one->time.spread / one->time.median);
    if (one->least.name)
        snprintf(percent, sizeof percent, "%.0f %%", 100 * fraction);
    printf("%-40s %-11s %-6s %-19s %-4s %9s %9s %7s %11s %5s %s\n", one->name, one->device, one->memory,
           shape, element_name(one->element), scaled(one->time.minimum, "s").s,
           scaled(one->time.median, "s").s, spread,
           one->least.name ? scaled(counted.amount / one->time.minimum, counted.unit).s : "", percent,
           one->least.name ? bar(fraction).s : "");
    print_kernels(one);
    fflush(stdout);
}

/* ---- JSON ---- */

static void put_string(FILE *out, const char *string)
{
    fputc('"', out);
    for (; *string; ++string)
        if (*string == '"' || *string == '\\')
            fprintf(out, "\\%c", *string);
        else if ((unsigned char)*string >= ' ')
            fputc(*string, out);
    fputc('"', out);
}

static void put_field(FILE *out, const char *name, double value)
{
    if (isfinite(value))
        fprintf(out, ", \"%s\": %.9g", name, value);
    else
        fprintf(out, ", \"%s\": null", name);
}

static void put_device(FILE *out, const rated *one)
{
    fputs("{\"device\": ", out);
    put_string(out, one->device.id);
    fputs(", \"hardware\": ", out);
    put_string(out, one->device.name);
    fputs(", \"platform\": ", out);
    put_string(out, one->device.platform);
    fputs(", \"kind\": ", out);
    put_string(out, is_cpu(&one->device) ? "cpu" : "gpu");
    put_field(out, "read_bytes_per_s", one->most.read);
    put_field(out, "write_bytes_per_s", one->most.write);
    put_field(out, "copy_bytes_per_s", one->most.copy);
    put_field(out, "triad_bytes_per_s", one->most.triad);
    put_field(out, "multiply_add_flop_per_s", one->most.multiply_add);
    put_field(out, "launch_s", one->most.launch);
    put_field(out, "to_device_bytes_per_s", one->most.to_device > 0 ? one->most.to_device : NAN);
    put_field(out, "from_device_bytes_per_s", one->most.to_device > 0 ? one->most.from_device : NAN);
    fputc('}', out);
}

static void put_kernels(FILE *out, const result *one)
{
    for (size_t k = 0; k < one->kernel_count; ++k) {
        const kernel_result *kernel = &one->kernels[k];
        const bool bounded = kernel->least.seconds > 0;
        fputs(k ? ", {\"kernel\": " : ", \"kernels\": [{\"kernel\": ", out);
        put_string(out, kernel->time.name);
        put_field(out, "groups", (double)kernel->time.groups);
        put_field(out, "work_items", (double)kernel->time.items);
        put_field(out, "launches", kernel->time.launches);
        put_field(out, "seconds", kernel->time.seconds);
        put_field(out, "share", bounded ? kernel->least.seconds / kernel->time.seconds : NAN);
        fputs(k + 1 == one->kernel_count ? "}]" : "}", out);
    }
}

static void put_result(FILE *out, const result *one)
{
    const quantity counted = quantity_of(one->done, one->least);
    fputs("{\"name\": ", out);
    put_string(out, one->name);
    fprintf(out,
            ", \"device\": \"%s\", \"memory\": \"%s\", \"shape\": [%lld, %lld, %lld], \"element\": \"%s\"",
            one->device, one->memory, (long long)one->shape[0], (long long)one->shape[1],
            (long long)one->shape[2], element_name(one->element));
    put_field(out, "minimum_s", one->time.minimum);
    put_field(out, "median_s", one->time.median);
    put_field(out, "spread_s", one->time.spread);
    put_field(out, "runs", one->time.runs);
    put_field(out, "bytes", one->done.read + one->done.written);
    put_field(out, "operations", one->done.operations);
    put_field(out, "elements_per_s",
              (double)(one->shape[0] * one->shape[1] * one->shape[2]) / one->time.minimum);
    fprintf(out, ", \"bound\": ");
    put_string(out, one->least.name ? one->least.name : "none");
    put_field(out, "rate", counted.amount / one->time.minimum);
    put_field(out, "ceiling", counted.amount / one->least.seconds);
    fputs(", \"unit\": ", out);
    put_string(out, counted.unit);
    put_field(out, "fraction", fraction_of(one));
    put_field(out, "times_the_bound", 1 / fraction_of(one));
    fputs(", \"values\": [", out);
    for (int k = 0; k < one->value_count; ++k)
        fprintf(out, "%s%.12g", k ? ", " : "", one->found.values[k]);
    fprintf(out, "], \"gradient_norms\": [%.9g, %.9g]", one->found.norms[0], one->found.norms[1]);
    put_kernels(out, one);
    fputc('}', out);
}

void write_json(const report *all, const char *path)
{
    FILE *out = fopen(path, "w");
    if (!out)
        fail(path, "cannot be written");
    fprintf(out, "{\"program\": \"ratecl-bench\", \"version\": \"%s\",\n \"devices\": [", ratecl_version());
    for (size_t k = 0; k < all->device_count; ++k) {
        fputs(k ? ",\n  " : "\n  ", out);
        put_device(out, &all->devices[k]);
    }
    fputs("],\n \"results\": [", out);
    for (size_t k = 0; k < all->result_count; ++k) {
        fputs(k ? ",\n  " : "\n  ", out);
        put_result(out, &all->results[k]);
    }
    fputs("]}\n", out);
    const int bad = ferror(out);
    if (fclose(out) != 0 || bad)
        fail(path, "could not be written");
}

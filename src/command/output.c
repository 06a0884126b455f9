/* SPDX-License-Identifier: Apache-2.0 */
#include "output.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LABEL_SIZE = 320 };

bool parameter_get(const ratecl_term *term, size_t index, ratecl_parameter *parameter)
{
    *parameter = (ratecl_parameter){ .size = sizeof *parameter };
    return ratecl_term_parameter(term, index, parameter) == RATECL_OK;
}

void device_label(const ratecl_device_info *device, char *text, size_t size)
{
    if (device->kind == RATECL_DEVICE_OPENMP)
        snprintf(text, size, "%s: OpenMP, %d thread%s", device->id, (int)device->compute_units,
                 device->compute_units == 1 ? "" : "s");
    else
        snprintf(text, size, "%s: %s (%s)", device->id, device->name, device->platform);
}

const char *precision_name(ratecl_precision precision)
{
    return precision == RATECL_PRECISION_F64 ? "f64" : "f32";
}

static const char *shown_as_choice(const ratecl_parameter *parameter)
{
    return strcmp(parameter->name, "metric") == 0 ? parameter->choice : NULL;
}

/* ---- JSON ---- */

/* Bytes of the UTF-8 sequence that starts at `text`; 0: it is none. */
static size_t utf8_length(const unsigned char *text)
{
    static const struct {
        unsigned char first, last, second_low, second_high;
        size_t length;
    } forms[] = {
        { 0x01, 0x7f, 0, 0, 1 },       { 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
        { 0xe1, 0xec, 0x80, 0xbf, 3 }, { 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
        { 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
    };
    for (size_t k = 0; k < sizeof forms / sizeof *forms; k++) {
        if (text[0] < forms[k].first || text[0] > forms[k].last)
            continue;
        for (size_t n = 1; n < forms[k].length; n++) {
            const unsigned char low = n == 1 ? forms[k].second_low : 0x80;
            const unsigned char high = n == 1 ? forms[k].second_high : 0xbf;
            if (text[n] < low || text[n] > high)
                return 0;
        }
        return forms[k].length;
    }
    return 0;
}

void json_string(const char *text)
{
    putchar('"');
    while (*text) {
        const size_t length = utf8_length((const unsigned char *)text);
        if (length == 0)
            fputs("\\ufffd", stdout);
        else if (length == 1 && (unsigned char)*text < 0x20)
            printf("\\u%04x", (unsigned)*text);
        else
            printf("%s%.*s", *text == '"' || *text == '\\' ? "\\" : "", (int)length, text);
        text += length ? length : 1;
    }
    putchar('"');
}

void json_number(double number)
{
    char text[32];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, number);
        if (strtod(text, NULL) == number)
            break;
    }
    fputs(text, stdout);
}

static void json_parameter(const ratecl_parameter *parameter)
{
    printf(", \"%s\": ", parameter->name);
    const char *choice = parameter->choice;
    if (!choice)
        json_number(parameter->number);
    else if (strcmp(choice, "true") == 0 || strcmp(choice, "false") == 0)
        fputs(choice, stdout);
    else
        json_string(choice);
}

static void json_values(const double *values, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        if (k > 0)
            fputs(", ", stdout);
        json_number(values[k]);
    }
}

/* The metric and the weight are always there, other parameters where they are not the default. */
static void json_term(const struct results *results, size_t index)
{
    const ratecl_term *term = &results->terms[index];
    const size_t first = ratecl_plan_value_index(results->plan, index);
    const size_t count = ratecl_plan_value_index(results->plan, index + 1) - first;
    printf("{\"criterion\": \"%s\"", ratecl_criterion_name(term->criterion));
    ratecl_parameter parameter;
    for (size_t k = 0; parameter_get(term, k, &parameter); k++)
        if (!parameter.is_default || shown_as_choice(&parameter) || strcmp(parameter.name, "weight") == 0)
            json_parameter(&parameter);
    const bool list = term->criterion == RATECL_POPULATION_KL && term->reduction == RATECL_REDUCTION_NONE;
    fputs(list ? ", \"value\": [" : ", \"value\": ", stdout);
    json_values(results->values + first, count);
    if (list)
        putchar(']');
    if (term->criterion == RATECL_POPULATION_KL && term->degenerate == RATECL_DEGENERATE_SKIP)
        printf(", \"skipped\": %" PRId64, results->skipped[index]);
    putchar('}');
}

void output_json(const struct results *results)
{
    char label[LABEL_SIZE];
    device_label(&results->device, label, sizeof label);
    fputs("{\"device\": ", stdout);
    json_string(label);
    printf(", \"precision\": \"%s\", \"shape\": [%" PRId64 ", %" PRId64 ", %" PRId64 "],\n \"terms\": [",
           precision_name(results->precision), results->shape[0], results->shape[1], results->shape[2]);
    for (size_t k = 0; k < results->term_count; k++) {
        if (k > 0)
            fputs(",\n           ", stdout);
        json_term(results, k);
    }
    fputs("],\n \"total\": ", stdout);
    json_number(results->total);
    fputs("}\n", stdout);
}

/* ---- For people ---- */

/* The name and, in parentheses, the metric and what is not the default: "firing_rate (l2, target=5)". */
static int term_label(const ratecl_term *term, char *text, size_t size)
{
    ratecl_parameter parameter;
    int length = snprintf(text, size, "%s", ratecl_criterion_name(term->criterion));
    const char *separator = " (";
    for (size_t k = 0; parameter_get(term, k, &parameter) && (size_t)length < size; k++) {
        const char *metric = shown_as_choice(&parameter);
        if ((parameter.is_default && !metric) || strcmp(parameter.name, "weight") == 0)
            continue;
        char *end = text + length;
        const size_t room = size - (size_t)length;
        if (metric)
            length += snprintf(end, room, "%s%s", separator, metric);
        else if (parameter.choice)
            length += snprintf(end, room, "%s%s=%s", separator, parameter.name, parameter.choice);
        else
            length += snprintf(end, room, "%s%s=%g", separator, parameter.name, parameter.number);
        separator = ", ";
    }
    if (*separator == ',' && (size_t)length < size)
        length += snprintf(text + length, size - (size_t)length, ")");
    return length;
}

static void print_row(const struct results *results, size_t index, int width, int digits)
{
    char label[LABEL_SIZE];
    const ratecl_term *term = &results->terms[index];
    const double *values = results->values + ratecl_plan_value_index(results->plan, index);
    term_label(term, label, sizeof label);
    printf("%-*s  %10g  ", width, label, term->weight);
    if (term->criterion != RATECL_POPULATION_KL || term->reduction != RATECL_REDUCTION_NONE) {
        printf("%18.*g\n", digits, values[0]);
    } else {
        const int64_t N = results->shape[2];
        double low = values[0], high = values[0], sum = 0;
        for (int64_t i = 0; i < N; i++) {
            low = values[i] < low ? values[i] : low;
            high = values[i] > high ? values[i] : high;
            sum += values[i];
        }
        printf("%12" PRId64 " values\n", N);
        printf("    smallest %.*g, mean %.*g, largest %.*g\n", digits, low, digits, sum / (double)N, digits,
               high);
    }
    if (results->skipped[index] > 0)
        printf("    %" PRId64 " of %" PRId64 " neurons left out: a variance of 0\n", results->skipped[index],
               results->shape[2]);
}

void output_table(const struct results *results)
{
    char label[LABEL_SIZE];
    const int digits = results->precision == RATECL_PRECISION_F64 ? 15 : 8;
    int width = (int)strlen("criterion");
    for (size_t k = 0; k < results->term_count; k++) {
        const int length = term_label(&results->terms[k], label, sizeof label);
        width = length > width ? length : width;
    }
    device_label(&results->device, label, sizeof label);
    printf("device      %s\narithmetic  %s\nstates      %s\nshape       %" PRId64 " x %" PRId64 " x %" PRId64
           "  (batch x time x neuron)\n\n",
           label, precision_name(results->precision), results->file, results->shape[0], results->shape[1],
           results->shape[2]);
    printf("%-*s  %10s  %18s\n", width, "criterion", "weight", "value");
    for (size_t k = 0; k < results->term_count; k++)
        print_row(results, k, width, digits);
    printf("%-*s  %10s  %18.*g\n", width, "total", "", digits, results->total);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "output.h"

#include "text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LABEL_SIZE = 320,
    LABEL_MIN = 20,     /* columns of a label, however narrow the terminal is */
    NUMBERS_WIDTH = 39, /* columns of the longest weight and value with the spaces before them */
};

bool parameter_get(const ratecl_term *term, size_t index, ratecl_parameter *parameter)
{
    *parameter = (ratecl_parameter){ .size = sizeof *parameter };
    return ratecl_term_parameter(term, index, parameter) == RATECL_OK;
}

bool term_is_vector(const ratecl_term *term)
{
    return term->criterion == RATECL_POPULATION_KL && term->reduction == RATECL_REDUCTION_NONE;
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

void json_string(const char *text)
{
    putchar('"');
    while (*text) {
        const size_t length = text_sequence(text);
        if (length == 0)
            fputs("\\ufffd", stdout);
        else if (text_is_control(text, length)) /* U+0080 to U+009F have the number of their last byte */
            printf("\\u%04x", (unsigned)(unsigned char)text[length - 1]);
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
    const bool list = term_is_vector(term);
    const size_t count = list ? (size_t)results->shape[2] : 1;
    printf("{\"criterion\": \"%s\"", ratecl_criterion_name(term->criterion));
    ratecl_parameter parameter;
    for (size_t k = 0; parameter_get(term, k, &parameter); k++)
        if (!parameter.is_default || shown_as_choice(&parameter) || strcmp(parameter.name, "weight") == 0)
            json_parameter(&parameter);
    fputs(list ? ", \"value\": [" : ", \"value\": ", stdout);
    json_values(results->values + results->value_index[index], count);
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

/* A label that is wider than its column has lines of its own, the last of which the numbers follow. */
static void print_label(const char *label, int width)
{
    const int column = text_wrap(stdout, label, 0, width);
    printf("%*s", column < width ? width - column : 0, "");
}

static void print_row(const struct results *results, size_t index, int width, int digits)
{
    char label[LABEL_SIZE];
    const ratecl_term *term = &results->terms[index];
    const double *values = results->values + results->value_index[index];
    term_label(term, label, sizeof label);
    print_label(label, width);
    printf("  %10g  ", term->weight);
    if (!term_is_vector(term)) {
        printf("%18.*g\n", digits, values[0]);
    } else {
        const int64_t N = results->shape[2];
        double low = values[0], high = values[0], sum = 0;
        for (int64_t i = 0; i < N; i++) {
            low = values[i] < low ? values[i] : low;
            high = values[i] > high ? values[i] : high;
            sum += values[i];
        }
        printf("%11" PRId64 " values\n", N);
        snprintf(label, sizeof label, "smallest %.*g, mean %.*g, largest %.*g", digits, low, digits,
                 sum / (double)N, digits, high);
        fputs("    ", stdout);
        text_wrap(stdout, label, 4, text_width(stdout));
        putchar('\n');
    }
    if (results->skipped[index] > 0)
        printf("    %" PRId64 " of %" PRId64 " neurons left out: a variance of 0\n", results->skipped[index],
               results->shape[2]);
}

void output_pair(const char *name, const char *text)
{
    const int column = printf("%-11s ", name);
    text_wrap(stdout, text, column > 0 ? column : 0, text_width(stdout));
    putchar('\n');
}

/* Return the columns of the labels: those of the widest one, unless the terminal is too narrow for that. */
static int label_width(const struct results *results)
{
    char label[LABEL_SIZE];
    const int columns = text_width(stdout);
    int width = (int)strlen("criterion");
    for (size_t k = 0; k < results->term_count; k++) {
        const int length = term_label(&results->terms[k], label, sizeof label);
        width = length > width ? length : width;
    }
    const int room = columns - NUMBERS_WIDTH > LABEL_MIN ? columns - NUMBERS_WIDTH : LABEL_MIN;
    return columns == 0 || width < room ? width : room;
}

void output_table(const struct results *results)
{
    char label[LABEL_SIZE];
    const int digits = results->precision == RATECL_PRECISION_F64 ? 15 : 8;
    const int width = label_width(results);
    device_label(&results->device, label, sizeof label);
    output_pair("device", label);
    output_pair("arithmetic", precision_name(results->precision));
    output_pair("states", results->file);
    printf("shape       %" PRId64 " x %" PRId64 " x %" PRId64 "  (batch x time x neuron)\n\n",
           results->shape[0], results->shape[1], results->shape[2]);
    printf("%-*s  %10s  %18s\n", width, "criterion", "weight", "value");
    for (size_t k = 0; k < results->term_count; k++)
        print_row(results, k, width, digits);
    printf("%-*s  %10s  %18.*g\n", width, "total", "", digits, results->total);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Results on standard output, for programs and for people. */
#ifndef RATECL_COMMAND_OUTPUT_H
#define RATECL_COMMAND_OUTPUT_H

#include <ratecl/ratecl.h>

#include <stdbool.h>

struct results {
    const char *file;
    ratecl_device_info device;
    ratecl_precision precision;
    const int64_t *shape; /* B, T, N */
    const ratecl_term *terms;
    size_t term_count;
    const size_t *value_index; /* of each term's first value: N of them with reduction none, else 1 */
    const double *values;
    const int64_t *skipped;
    double total;
};

/* Describe a parameter of a term; false past the last one. */
bool parameter_get(const ratecl_term *term, size_t index, ratecl_parameter *parameter);

/* True for a term with N values, which takes no part in the total. */
bool term_is_vector(const ratecl_term *term);

/* A JSON string, quoted; what is not UTF-8 in it becomes U+FFFD, and control characters are escaped. */
void json_string(const char *text);

/* The shortest of 15 to 17 digits that reads back to the same double. */
void json_number(double number);

/* "cpu: OpenMP, 2 threads" */
void device_label(const ratecl_device_info *device, char *text, size_t size);

const char *precision_name(ratecl_precision precision);

/* Print a name and, in the column beside it, a text that may need several lines. */
void output_pair(const char *name, const char *text);

void output_json(const struct results *results);
void output_table(const struct results *results);

#endif

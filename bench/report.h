/* SPDX-License-Identifier: Apache-2.0 */
/* Results: as a table for people, in JSON with a line for each, and beside those of an earlier JSON file. */
#ifndef RATECL_BENCH_REPORT_H
#define RATECL_BENCH_REPORT_H

#include <stdio.h>

#include "measure.h"

/* A kernel beside the ceiling that binds it. */
typedef struct kernel_result {
    kernel_time time;
    work done;
    bound least; /* of 0 seconds where nothing is counted */
} kernel_result;

typedef struct result {
    const char *name;
    char device[32];
    const char *memory;
    int64_t shape[3];
    ratecl_element element;
    timing time;
    work done;
    bound least; /* name NULL: nothing bounds it */
    outcome found;
    int value_count;
    kernel_result kernels[KERNELS_MAX];
    size_t kernel_count;
} result;

/* A device beside its ceilings. */
typedef struct rated {
    ratecl_device_info device;
    ceilings most;
} rated;

typedef struct report {
    rated *devices;
    size_t device_count;
    result *results;
    size_t result_count;
} report;

void add_device(report *all, const rated *one);
void add_result(report *all, const result *one);
void release_report(report *all);

void print_device(const rated *one);
void print_heading(void);
void print_result(const result *one);

void write_json(const report *all, const char *path);

/* The lines of an earlier file, and how each has changed since. */
typedef struct earlier earlier;
earlier *read_earlier(const char *path);
void print_comparison(const report *all, const earlier *then);
void release_earlier(earlier *then);

#endif

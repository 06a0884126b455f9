/* SPDX-License-Identifier: Apache-2.0 */
/* An evaluation of terms on files, from the open files to the values and the written gradients. */
#ifndef RATECL_COMMAND_JOB_H
#define RATECL_COMMAND_JOB_H

#include "npy_output.h"

/* The inputs, in the order in which their files are opened. */
enum { STATES, REFERENCE, WEIGHTS, INPUT_COUNT };

/* For each input: the options that name its file and its gradient's file, and what depends on it. */
struct input_kind {
    const char *option, *gradient_option;
    ratecl_criterion reader; /* the one criterion that depends on it; states matter to each */
    uint32_t gradient_output;
};
extern const struct input_kind input_kinds[INPUT_COUNT];

enum { CRITERION_COUNT = RATECL_POPULATION_KL };

/* A default term that the values do not allow. */
struct left_out {
    ratecl_criterion criterion;
    char *reason; /* NULL where memory ran out */
};

/* Zeroed at first; job_release() releases all of it. */
struct job {
    const char *device_name; /* NULL: the default */
    ratecl_precision precision;
    struct npy_file files[INPUT_COUNT];       /* those without a name are not given */
    struct npy_output gradients[INPUT_COUNT]; /* those without a path are not wanted */
    ratecl_term *terms;
    size_t term_count;
    bool default_terms; /* the terms are those of default_terms_choose() */
    struct left_out left_out[CRITERION_COUNT];
    size_t left_out_count;
    struct progress progress;
    ratecl_context *context;
    ratecl_device_info device;
    ratecl_plan *plan;
    double *values;
    size_t *value_index; /* of each term's first value */
    int64_t *skipped;
    double total;
};

/* True if a term depends on an input and takes part in the total, of which the gradient is. */
bool job_has_reader(const struct job *job, int input);

/* Make a plan of `term_count` terms on the job's files, with the gradients that are wanted or values alone.
 */
ratecl_status job_make_plan(const struct job *job, ratecl_context *context, const ratecl_term *terms,
                            size_t term_count, bool gradients, ratecl_plan **plan);

/* Fill in the memory of the files. */
void job_set_inputs(const struct job *job, ratecl_inputs *inputs);

/* Load, evaluate and write the gradients: the command's exit status, with messages on standard error. */
int job_run(struct job *job, bool show_progress);

void job_release(struct job *job);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "job.h"

#include "command.h"
#include "default_terms.h"
#include "output.h"

#include <stdlib.h>
#include <string.h>

const struct input_kind input_kinds[INPUT_COUNT] = {
    [STATES] = { .gradient_option = "--grad", .gradient_output = RATECL_OUTPUT_GRADIENT_STATES },
    [REFERENCE] = { "--reference", "--grad-reference", RATECL_POPULATION_KL,
                    RATECL_OUTPUT_GRADIENT_REFERENCE },
    [WEIGHTS] = { "--weights", "--grad-weights", RATECL_HEBBIAN, RATECL_OUTPUT_GRADIENT_WEIGHTS },
};

bool job_has_reader(const struct job *job, int input)
{
    for (size_t k = 0; k < job->term_count; ++k)
        if ((input == STATES || job->terms[k].criterion == input_kinds[input].reader) &&
            !term_is_vector(&job->terms[k]))
            return true;
    return false;
}

/* ---- Messages, which come after the progress line ---- */

static void begin_messages(struct job *job)
{
    progress_stop(&job->progress);
    if (job->device.note[0])
        complain("%s", job->device.note);
    job->device.note[0] = '\0';
    default_terms_report(job);
    for (size_t k = 0; k < job->left_out_count; ++k)
        free(job->left_out[k].reason);
    job->left_out_count = 0;
}

static int library_failed(struct job *job, ratecl_status status)
{
    begin_messages(job);
    return complain_of(status);
}

static int memory_ran_out(struct job *job)
{
    begin_messages(job);
    complain("memory ran out");
    return COMMAND_FAILED;
}

/* ---- The evaluation ---- */

static ratecl_status make_context(struct job *job)
{
    ratecl_context_options wanted = RATECL_CONTEXT_OPTIONS_INIT;
    wanted.device = job->device_name;
    job->device.size = sizeof job->device;
    ratecl_status status = ratecl_context_create(&wanted, &job->context);
    if (status == RATECL_OK)
        status = ratecl_context_device(job->context, &job->device);
    return status;
}

static int load(struct job *job)
{
    int status = COMMAND_DONE;
    progress_stage(&job->progress, "reading");
    for (int k = 0; k < INPUT_COUNT && status == COMMAND_DONE; k++)
        if (job->files[k].name)
            status = npy_load(&job->files[k], job->device.fp64, &job->progress);
    return status;
}

ratecl_status job_make_plan(const struct job *job, ratecl_context *context, const ratecl_term *terms,
                            size_t term_count, bool gradients, ratecl_plan **plan)
{
    ratecl_plan_options wanted = RATECL_PLAN_OPTIONS_INIT;
    const struct npy_output *outputs = job->gradients;
    wanted.precision = job->precision;
    wanted.states = &job->files[STATES].layout;
    wanted.reference = job->files[REFERENCE].name ? &job->files[REFERENCE].layout : NULL;
    wanted.weights = job->files[WEIGHTS].name ? &job->files[WEIGHTS].layout : NULL;
    wanted.terms = terms;
    wanted.term_count = term_count;
    for (int k = 0; k < INPUT_COUNT && gradients; k++)
        if (outputs[k].path)
            wanted.outputs |= input_kinds[k].gradient_output;
    wanted.gradient_states = gradients && outputs[STATES].path ? &outputs[STATES].layout : NULL;
    wanted.gradient_reference = gradients && outputs[REFERENCE].path ? &outputs[REFERENCE].layout : NULL;
    wanted.gradient_weights = gradients && outputs[WEIGHTS].path ? &outputs[WEIGHTS].layout : NULL;
    return ratecl_plan_create(context, &wanted, plan);
}

static bool make_room(struct job *job)
{
    job->values = calloc(ratecl_plan_value_count(job->plan), sizeof *job->values);
    job->value_index = calloc(job->term_count, sizeof *job->value_index);
    job->skipped = calloc(job->term_count, sizeof *job->skipped);
    bool memory = job->values && job->value_index && job->skipped;
    for (size_t k = 0; k < job->term_count && memory; ++k)
        job->value_index[k] = ratecl_plan_value_index(job->plan, k);
    for (int k = 0; k < INPUT_COUNT && memory; k++)
        if (job->gradients[k].path)
            memory = npy_output_allocate(&job->gradients[k]);
    return memory;
}

void job_set_inputs(const struct job *job, ratecl_inputs *inputs)
{
    const struct npy_file *files = job->files;
    inputs->states = npy_data(&files[STATES]);
    inputs->states_bytes = npy_data_bytes(&files[STATES]);
    if (files[REFERENCE].name) {
        inputs->reference = npy_data(&files[REFERENCE]);
        inputs->reference_bytes = npy_data_bytes(&files[REFERENCE]);
    }
    if (files[WEIGHTS].name) {
        inputs->weights = npy_data(&files[WEIGHTS]);
        inputs->weights_bytes = npy_data_bytes(&files[WEIGHTS]);
    }
}

static ratecl_status evaluate(struct job *job)
{
    const struct npy_output *gradients = job->gradients;
    ratecl_inputs inputs = RATECL_INPUTS_INIT;
    job_set_inputs(job, &inputs);
    ratecl_outputs outputs = RATECL_OUTPUTS_INIT;
    outputs.values = job->values;
    outputs.value_count = ratecl_plan_value_count(job->plan);
    outputs.total = &job->total;
    outputs.skipped = job->skipped;
    outputs.skipped_count = job->term_count;
    outputs.gradient_states = gradients[STATES].elements;
    outputs.gradient_states_bytes = gradients[STATES].bytes;
    outputs.gradient_reference = gradients[REFERENCE].elements;
    outputs.gradient_reference_bytes = gradients[REFERENCE].bytes;
    outputs.gradient_weights = gradients[WEIGHTS].elements;
    outputs.gradient_weights_bytes = gradients[WEIGHTS].bytes;
    return ratecl_evaluate(job->plan, &inputs, &outputs);
}

static bool wants_gradients(const struct job *job)
{
    for (int k = 0; k < INPUT_COUNT; ++k)
        if (job->gradients[k].path)
            return true;
    return false;
}

/* Evaluate the default terms that remain once more, for their gradients. */
static int evaluate_again(struct job *job)
{
    for (int k = 0; k < INPUT_COUNT; ++k)
        if (job->gradients[k].path && !job_has_reader(job, k)) {
            begin_messages(job);
            complain("%s: no term is left that depends on the file of %s", input_kinds[k].gradient_option,
                     input_kinds[k].option);
            return COMMAND_FAILED;
        }
    ratecl_plan_release(job->plan);
    job->plan = NULL;
    ratecl_status status = job_make_plan(job, job->context, job->terms, job->term_count, true, &job->plan);
    if (status == RATECL_OK)
        status = evaluate(job);
    return status == RATECL_OK ? COMMAND_DONE : library_failed(job, status);
}

static int evaluate_terms(struct job *job)
{
    progress_stage(&job->progress, "preparing");
    ratecl_status status = job_make_plan(job, job->context, job->terms, job->term_count, true, &job->plan);
    if (status != RATECL_OK)
        return library_failed(job, status);
    progress_stage(&job->progress, "evaluating");
    if (!make_room(job))
        return memory_ran_out(job);
    status = evaluate(job);
    if (status == RATECL_ERROR_DOMAIN && job->default_terms && default_terms_reduce(job))
        return wants_gradients(job) ? evaluate_again(job) : COMMAND_DONE;
    return status == RATECL_OK ? COMMAND_DONE : library_failed(job, status);
}

/* ---- The gradients' files ---- */

static int writing_failed(struct job *job, const struct npy_output *gradient)
{
    begin_messages(job);
    complain("%s: writing it failed: %s", gradient->path, strerror(gradient->error));
    return COMMAND_FAILED;
}

/* Each file is written before the first one gets its name. */
static int write_gradients(struct job *job)
{
    progress_stage(&job->progress, "writing");
    for (int k = 0; k < INPUT_COUNT; k++)
        if (job->gradients[k].path && !npy_output_write(&job->gradients[k], &job->progress))
            return writing_failed(job, &job->gradients[k]);
    for (int k = 0; k < INPUT_COUNT; k++)
        if (job->gradients[k].path && !npy_output_commit(&job->gradients[k]))
            return writing_failed(job, &job->gradients[k]);
    return COMMAND_DONE;
}

int job_run(struct job *job, bool show_progress)
{
    progress_start(&job->progress, show_progress);
    progress_stage(&job->progress, "preparing");
    for (int k = 0; k < INPUT_COUNT; ++k)
        if (job->gradients[k].path)
            npy_output_describe(&job->gradients[k], &job->files[k], job->precision);
    const ratecl_status status = make_context(job);
    int result = status == RATECL_OK ? load(job) : library_failed(job, status);
    if (result == COMMAND_DONE)
        result = evaluate_terms(job);
    if (result == COMMAND_DONE)
        result = write_gradients(job);
    begin_messages(job);
    return result;
}

void job_release(struct job *job)
{
    ratecl_plan_release(job->plan);
    ratecl_context_release(job->context);
    for (int k = 0; k < INPUT_COUNT; k++) {
        npy_close(&job->files[k]);
        npy_output_close(&job->gradients[k]);
    }
    for (size_t k = 0; k < job->left_out_count; ++k)
        free(job->left_out[k].reason);
    free(job->values);
    free(job->value_index);
    free(job->skipped);
    free(job->terms);
}

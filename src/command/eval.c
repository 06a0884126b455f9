/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"
#include "npy.h"
#include "npy_output.h"
#include "output.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The inputs of an evaluation, in the order in which their files are opened. */
enum { STATES, REFERENCE, WEIGHTS, INPUT_COUNT };

/* What each input and the gradient with respect to it are called. */
static const struct {
    const char *option, *gradient_option;
    ratecl_criterion reader; /* the one criterion that depends on it; states matter to each */
    uint32_t gradient_output;
} kinds[INPUT_COUNT] = {
    [STATES] = { .gradient_option = "--grad", .gradient_output = RATECL_OUTPUT_GRADIENT_STATES },
    [REFERENCE] = { "--reference", "--grad-reference", RATECL_POPULATION_KL,
                    RATECL_OUTPUT_GRADIENT_REFERENCE },
    [WEIGHTS] = { "--weights", "--grad-weights", RATECL_HEBBIAN, RATECL_OUTPUT_GRADIENT_WEIGHTS },
};

struct settings {
    const char *device, *precision;
    const char *inputs[INPUT_COUNT], *gradients[INPUT_COUNT]; /* paths; NULL: not given */
    struct text_list terms;
    bool json, quiet;
};

static const struct option options[] = {
    { "--device", "D", OPTION_TEXT, offsetof(struct settings, device),
      "cpu: the OpenMP path; opencl: the best OpenCL device;\n"
      "opencl:TEXT: the first whose name or platform contains TEXT;\n"
      "opencl:P.D: platform P, device D. Default: RATECL_DEVICE from the\n"
      "environment, else the best OpenCL device, else cpu" },
    { "--term", "NAME[:key=value,...]", OPTION_LIST, offsetof(struct settings, terms),
      "a criterion with its parameters; may be given again.\n"
      "Default: every criterion that the inputs allow" },
    { "--weights", "W.npy", OPTION_TEXT, offsetof(struct settings, inputs[WEIGHTS]),
      "the (N, N) weights of hebbian" },
    { "--reference", "S1.npy", OPTION_TEXT, offsetof(struct settings, inputs[REFERENCE]),
      "the reference states of population_kl, with the same N" },
    { "--precision", "f32|f64", OPTION_TEXT, offsetof(struct settings, precision),
      "of the arithmetic, and of the elements of gradients (f32)" },
    { "--grad", "OUT.npy", OPTION_TEXT, offsetof(struct settings, gradients[STATES]),
      "write the gradient of the total to the states" },
    { "--grad-weights", "OUT.npy", OPTION_TEXT, offsetof(struct settings, gradients[WEIGHTS]),
      "the same to the weights; needs a hebbian term" },
    { "--grad-reference", "OUT.npy", OPTION_TEXT, offsetof(struct settings, gradients[REFERENCE]),
      "the same to the reference states; needs a population_kl term" },
    { "--json", NULL, OPTION_FLAG, offsetof(struct settings, json),
      "print one JSON object instead of the table" },
    { "--quiet", NULL, OPTION_FLAG, offsetof(struct settings, quiet),
      "print the total alone instead of the table, and never a\n"
      "progress bar; with --json, the object as usual" },
};

static const char notes[] =
    "STATES.npy and S1.npy hold (time, neuron) or (batch, time, neuron) arrays.\n"
    "\n"
    "Criteria and their parameters, the default first; each also takes weight=1:\n"
    "  firing_rate       metric=l2|l1, target=0\n"
    "  firing_rate_dist  metric=sd|cv|mean_ad|max_ad, ddof=0\n"
    "  state_prediction  tau=1\n"
    "  hebbian           over=batch|step                          (needs --weights)\n"
    "  entropy           reg=10, eps=0\n"
    "  population_kl     symmetric=true|false, reg=1e-3, reduction=mean|sum|none,\n"
    "                    log=variance|sigma, var_floor=0, degenerate=error|skip\n"
    "                                                             (needs --reference)\n"
    "\n"
    "Files are in NumPy's format 1.0 to 3.0, in C or Fortran order. Little-endian f2,\n"
    "f4, f8, u1 and b1 are read in place; big-endian ones are converted to little-endian,\n"
    "i1, i2 and u2 to f32, i4 and u4 to f64 (f32 on a device without fp64).\n"
    "\n"
    "A gradient has the shape of its input, in C order, as little-endian f4 or f8 by\n"
    "--precision. A term with reduction=none takes no part in the total, and so none in a\n"
    "gradient. A gradient's file comes to its name whole, when the evaluation is done: one\n"
    "that was there is replaced then, and stays as it is when something fails.\n"
    "\n"
    "Exit status: 0 done, 1 the evaluation failed, 2 the command line or a file is wrong,\n"
    "3 no such device.\n";

/* What one evaluation holds; zeroed at first, all of it released at the end. */
struct job {
    struct settings settings;
    ratecl_precision precision;
    struct npy_file files[INPUT_COUNT];
    struct npy_output gradients[INPUT_COUNT]; /* of those without a path nothing is wanted */
    ratecl_term *terms;
    size_t term_count;
    ratecl_context *context;
    ratecl_device_info device;
    ratecl_plan *plan;
    double *values;
    int64_t *skipped;
    double total;
};

static int memory_ran_out(void)
{
    complain("memory ran out");
    return COMMAND_FAILED;
}

/* ---- What the command line says ---- */

static int read_precision(struct job *job)
{
    const char *text = job->settings.precision;
    for (int k = RATECL_PRECISION_F32; k <= RATECL_PRECISION_F64; k++)
        if (!text || strcmp(text, precision_name((ratecl_precision)k)) == 0) {
            job->precision = (ratecl_precision)k;
            return COMMAND_DONE;
        }
    complain("--precision: \"%s\": expected f32 or f64", text);
    return COMMAND_WRONG;
}

static int parse_terms(struct job *job)
{
    const struct text_list *texts = &job->settings.terms;
    job->terms = calloc(texts->count, sizeof *job->terms);
    if (!job->terms)
        return memory_ran_out();
    for (; job->term_count < texts->count; job->term_count++) {
        const ratecl_status status =
            ratecl_term_parse(&job->terms[job->term_count], texts->items[job->term_count]);
        if (status != RATECL_OK)
            return complain_of(status);
    }
    return COMMAND_DONE;
}

static bool has_term(const struct job *job, ratecl_criterion criterion)
{
    for (size_t k = 0; k < job->term_count; k++)
        if (job->terms[k].criterion == criterion)
            return true;
    return false;
}

/* An input that no term reads would be ignored; one that is missing is named by its option. */
static int check_inputs(const struct job *job)
{
    for (int k = REFERENCE; k < INPUT_COUNT; k++) {
        const bool used = has_term(job, kinds[k].reader);
        if (used == (job->settings.inputs[k] != NULL))
            continue;
        if (used)
            complain("the term %s needs %s", ratecl_criterion_name(kinds[k].reader), kinds[k].option);
        else
            complain("%s: no term uses it; %s would", kinds[k].option,
                     ratecl_criterion_name(kinds[k].reader));
        return COMMAND_WRONG;
    }
    return COMMAND_DONE;
}

/* Without a term that depends on the input, a gradient could only be 0. */
static int check_gradients(const struct job *job)
{
    for (int k = REFERENCE; k < INPUT_COUNT; k++)
        if (job->settings.gradients[k] && !has_term(job, kinds[k].reader)) {
            complain("%s: no term depends on the file of %s; %s would", kinds[k].gradient_option,
                     kinds[k].option, ratecl_criterion_name(kinds[k].reader));
            return COMMAND_WRONG;
        }
    return COMMAND_DONE;
}

/* With --quiet alone the total is all that is printed. */
static int check_total(const struct job *job)
{
    if (!job->settings.quiet || job->settings.json)
        return COMMAND_DONE;
    for (size_t k = 0; k < job->term_count; k++)
        if (job->terms[k].criterion != RATECL_POPULATION_KL ||
            job->terms[k].reduction != RATECL_REDUCTION_NONE)
            return COMMAND_DONE;
    complain("--quiet prints the total, in which no term takes part (reduction=none); add --json");
    return COMMAND_WRONG;
}

static int choose_terms(struct job *job)
{
    const struct {
        ratecl_criterion criterion;
        bool allowed;
    } all[] = { { RATECL_FIRING_RATE, true },
                { RATECL_FIRING_RATE_DIST, true },
                { RATECL_STATE_PREDICTION, job->files[STATES].header.shape[1] > 1 },
                { RATECL_ENTROPY, true },
                { RATECL_HEBBIAN, job->settings.inputs[WEIGHTS] != NULL },
                { RATECL_POPULATION_KL, job->settings.inputs[REFERENCE] != NULL } };
    const size_t count = sizeof all / sizeof *all;
    job->terms = calloc(count, sizeof *job->terms);
    if (!job->terms)
        return memory_ran_out();
    for (size_t k = 0; k < count; k++)
        if (all[k].allowed)
            ratecl_term_init(&job->terms[job->term_count++], all[k].criterion);
    return COMMAND_DONE;
}

/* ---- Files ---- */

static int check_shapes(const struct job *job)
{
    const int64_t N = job->files[STATES].header.shape[2];
    const struct npy_file *reference = &job->files[REFERENCE], *weights = &job->files[WEIGHTS];
    if (reference->path && reference->header.shape[2] != N) {
        complain("%s: it has %" PRId64 " neurons; expected %" PRId64 ", as in %s", reference->path,
                 reference->header.shape[2], N, job->files[STATES].path);
        return COMMAND_WRONG;
    }
    const int64_t *shape = weights->header.shape;
    if (weights->path && weights->header.axes != 2) {
        complain("%s: it has %d axes; expected 2, (%" PRId64 ", %" PRId64 ")", weights->path,
                 weights->header.axes, N, N);
        return COMMAND_WRONG;
    }
    if (weights->path && (shape[1] != N || shape[2] != N)) {
        complain("%s: its shape is (%" PRId64 ", %" PRId64 "); expected (%" PRId64 ", %" PRId64
                 "), as %s has %" PRId64 " neurons",
                 weights->path, shape[1], shape[2], N, N, job->files[STATES].path, N);
        return COMMAND_WRONG;
    }
    return COMMAND_DONE;
}

static int open_files(struct job *job)
{
    for (int k = 0; k < INPUT_COUNT; k++) {
        const char *path = job->settings.inputs[k];
        const int status = path ? npy_open(&job->files[k], path) : COMMAND_DONE;
        if (status != COMMAND_DONE)
            return status;
    }
    return check_shapes(job);
}

/* A gradient must not take the place of an input, nor of a gradient before it. */
static int check_place(const struct job *job, int index)
{
    const struct npy_output *gradient = &job->gradients[index];
    for (int k = 0; k < INPUT_COUNT; k++) {
        const char *other = NULL;
        if (job->files[k].path && npy_output_is_file(gradient, &job->files[k]))
            other = "an input";
        else if (k < index && job->gradients[k].path && npy_output_is_output(gradient, &job->gradients[k]))
            other = kinds[k].gradient_option;
        if (!other)
            continue;
        complain("%s: %s is the file of %s too; expected another one", kinds[index].gradient_option,
                 gradient->path, other);
        return COMMAND_WRONG;
    }
    return COMMAND_DONE;
}

static int open_gradients(struct job *job)
{
    int status = check_gradients(job);
    for (int k = 0; k < INPUT_COUNT && status == COMMAND_DONE; k++) {
        if (!job->settings.gradients[k])
            continue;
        status = npy_output_open(&job->gradients[k], job->settings.gradients[k]);
        if (status == COMMAND_DONE)
            status = check_place(job, k);
    }
    return status;
}

static int prepare(struct job *job)
{
    int status = read_precision(job);
    const bool terms_given = job->settings.terms.count > 0;
    if (status == COMMAND_DONE && terms_given)
        status = parse_terms(job);
    if (status == COMMAND_DONE && terms_given)
        status = check_inputs(job);
    if (status == COMMAND_DONE)
        status = open_files(job);
    if (status == COMMAND_DONE && !terms_given)
        status = choose_terms(job);
    if (status == COMMAND_DONE)
        status = check_total(job);
    return status == COMMAND_DONE ? open_gradients(job) : status;
}

/* ---- The evaluation ---- */

static ratecl_status make_context(struct job *job)
{
    ratecl_context_options wanted = RATECL_CONTEXT_OPTIONS_INIT;
    wanted.device = job->settings.device;
    job->device.size = sizeof job->device;
    ratecl_status status = ratecl_context_create(&wanted, &job->context);
    if (status == RATECL_OK)
        status = ratecl_context_device(job->context, &job->device);
    return status;
}

static ratecl_status make_plan(struct job *job)
{
    ratecl_plan_options wanted = RATECL_PLAN_OPTIONS_INIT;
    wanted.precision = job->precision;
    wanted.states = &job->files[STATES].layout;
    wanted.reference = job->files[REFERENCE].path ? &job->files[REFERENCE].layout : NULL;
    wanted.weights = job->files[WEIGHTS].path ? &job->files[WEIGHTS].layout : NULL;
    wanted.terms = job->terms;
    wanted.term_count = job->term_count;
    for (int k = 0; k < INPUT_COUNT; k++)
        if (job->gradients[k].path)
            wanted.outputs |= kinds[k].gradient_output;
    return ratecl_plan_create(job->context, &wanted, &job->plan);
}

static bool make_room(struct job *job)
{
    job->values = calloc(ratecl_plan_value_count(job->plan), sizeof *job->values);
    job->skipped = calloc(job->term_count, sizeof *job->skipped);
    bool memory = job->values && job->skipped;
    for (int k = 0; k < INPUT_COUNT && memory; k++)
        if (job->gradients[k].path)
            memory = npy_output_allocate(&job->gradients[k], &job->files[k].header, job->precision);
    return memory;
}

static ratecl_status evaluate(struct job *job)
{
    const struct npy_file *files = job->files;
    const struct npy_output *gradients = job->gradients;
    ratecl_inputs inputs = RATECL_INPUTS_INIT;
    inputs.states = npy_data(&files[STATES]);
    inputs.states_bytes = npy_data_bytes(&files[STATES]);
    if (files[REFERENCE].path) {
        inputs.reference = npy_data(&files[REFERENCE]);
        inputs.reference_bytes = npy_data_bytes(&files[REFERENCE]);
    }
    if (files[WEIGHTS].path) {
        inputs.weights = npy_data(&files[WEIGHTS]);
        inputs.weights_bytes = npy_data_bytes(&files[WEIGHTS]);
    }
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

/* Each file is written before the first one gets its name. */
static bool write_gradients(struct job *job, struct progress *progress)
{
    bool done = true;
    progress_stage(progress, "writing");
    for (int k = 0; k < INPUT_COUNT && done; k++)
        done = !job->gradients[k].path || npy_output_write(&job->gradients[k], progress);
    for (int k = 0; k < INPUT_COUNT && done; k++)
        done = !job->gradients[k].path || npy_output_commit(&job->gradients[k]);
    return done;
}

static int writing_failed(const struct job *job)
{
    for (int k = 0; k < INPUT_COUNT; k++)
        if (job->gradients[k].error)
            complain("%s: writing it failed: %s", job->gradients[k].path, strerror(job->gradients[k].error));
    return COMMAND_FAILED;
}

/* The work that may take long. What went wrong is told once the progress line is gone. */
static int compute(struct job *job)
{
    struct progress progress;
    progress_start(&progress, !job->settings.quiet);
    progress_stage(&progress, "preparing");
    ratecl_status status = make_context(job);
    bool memory = true;
    for (int k = 0; k < INPUT_COUNT && status == RATECL_OK && memory; k++) {
        progress_stage(&progress, "reading");
        memory = !job->files[k].path || npy_load(&job->files[k], job->device.fp64, &progress);
    }
    if (status == RATECL_OK && memory) {
        progress_stage(&progress, "preparing");
        status = make_plan(job);
    }
    if (status == RATECL_OK && memory) {
        progress_stage(&progress, "evaluating");
        memory = make_room(job);
    }
    if (status == RATECL_OK && memory)
        status = evaluate(job);
    const bool written = status != RATECL_OK || !memory || write_gradients(job, &progress);
    progress_stop(&progress);
    if (job->device.note[0])
        complain("%s", job->device.note);
    if (!memory)
        return memory_ran_out();
    if (status != RATECL_OK)
        return complain_of(status);
    return written ? COMMAND_DONE : writing_failed(job);
}

/* The total alone does not tell that it leaves neurons out. */
static void complain_of_skipped(const struct job *job)
{
    for (size_t k = 0; k < job->term_count; k++)
        if (job->skipped[k] > 0)
            complain("%s: %" PRId64 " of %" PRId64 " neurons left out: a variance of 0",
                     ratecl_criterion_name(job->terms[k].criterion), job->skipped[k],
                     job->files[STATES].header.shape[2]);
}

static void print_results(const struct job *job)
{
    const struct results results = {
        .file = job->files[STATES].path,
        .device = job->device,
        .precision = job->precision,
        .shape = job->files[STATES].header.shape,
        .terms = job->terms,
        .term_count = job->term_count,
        .plan = job->plan,
        .values = job->values,
        .skipped = job->skipped,
        .total = job->total,
    };
    if (job->settings.json) {
        output_json(&results);
    } else if (job->settings.quiet) {
        complain_of_skipped(job);
        json_number(results.total);
        putchar('\n');
    } else {
        output_table(&results);
    }
}

static void release(struct job *job)
{
    ratecl_plan_release(job->plan);
    ratecl_context_release(job->context);
    for (int k = 0; k < INPUT_COUNT; k++) {
        npy_close(&job->files[k]);
        npy_output_close(&job->gradients[k]);
    }
    free(job->values);
    free(job->skipped);
    free(job->terms);
    free(job->settings.terms.items);
}

static int run(int argc, char **argv)
{
    struct job job = { 0 };
    const parse_result parsed =
        arguments_parse(&eval_command, argc, argv, &job.settings, &job.settings.inputs[STATES]);
    int status = parsed == PARSE_REFUSED ? COMMAND_WRONG : COMMAND_DONE;
    if (parsed == PARSE_DONE)
        status = prepare(&job);
    if (parsed == PARSE_DONE && status == COMMAND_DONE)
        status = compute(&job);
    if (parsed == PARSE_DONE && status == COMMAND_DONE)
        print_results(&job);
    release(&job);
    return status;
}

const struct command eval_command = {
    .name = "eval",
    .operand = "STATES.npy",
    .summary = "Evaluate terms on the states in a file.",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .notes = notes,
    .run = run,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* `ratecl eval`: what the command line says, the files that it names, and what is printed. */
#include "command.h"
#include "default_terms.h"
#include "interrupt.h"
#include "job.h"
#include "output.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct settings {
    const char *device, *precision, *axes;
    const char *inputs[INPUT_COUNT], *gradients[INPUT_COUNT]; /* paths; NULL: not given */
    struct text_list terms;
    bool json, quiet;
};

static const struct option options[] = {
    { "--device", "D", OPTION_TEXT, offsetof(struct settings, device),
      "cpu: the OpenMP path; opencl: the best OpenCL device; opencl:TEXT: the first whose name or "
      "platform contains TEXT; opencl:P.D: platform P, device D. Default: RATECL_DEVICE from the "
      "environment, else the best OpenCL device, else cpu" },
    { "--term", "NAME[:key=value,...]", OPTION_LIST, offsetof(struct settings, terms),
      "a criterion with its parameters; may be given again. Default: every criterion that the inputs "
      "and their values allow" },
    { "--weights", "W.npy", OPTION_TEXT, offsetof(struct settings, inputs[WEIGHTS]),
      "the (N, N) weights of hebbian" },
    { "--reference", "S1.npy", OPTION_TEXT, offsetof(struct settings, inputs[REFERENCE]),
      "the reference states of population_kl, with the same N" },
    { "--axes", "ORDER", OPTION_TEXT, offsetof(struct settings, axes),
      "the axes of STATES.npy and S1.npy in the files' order, such as tbn or nt: b for batch, t for "
      "time, n for neuron. Default: btn, or tn where there are two axes" },
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
      "print the total alone instead of the table, and never a progress bar; with --json, the object as "
      "usual" },
};

static const char notes[] =
    "STATES.npy, S1.npy or W.npy may be - for standard input.\n"
    "\n"
    "Where --axes names three axes, a file with two has these without b. Where it\n"
    "names two, the third has the length 1.\n"
    "A domain error counts elements from 0, as [b,t,i], whatever the file's order is.\n"
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
    "Without --term, a criterion that the values do not allow (entropy of negative\n"
    "states, the divergence of a neuron without variance) is left out, and named on\n"
    "standard error with the reason. With --term the evaluation fails instead.\n"
    "\n"
    "Files are in NumPy's format 1.0 to 3.0, in C or Fortran order. Little-endian f2,\n"
    "f4, f8, u1 and b1 are read in place; big-endian ones are converted to\n"
    "little-endian, i1, i2 and u2 to f32, i4, u4, i8 and u8 to f64 (f32 on a device\n"
    "without fp64). An i8 or u8 that f64 does not hold exactly is refused. In b1 each\n"
    "byte that is not 0 counts as 1.\n"
    "\n"
    "A gradient has the axes of its input, the last one contiguous, as little-endian\n"
    "f4 or f8 by --precision. A term with reduction=none takes no part in the total,\n"
    "and so none in a gradient. A gradient's file comes to its name whole, when the\n"
    "evaluation is done: one that was there is replaced then, and stays as it is when\n"
    "something fails or a signal ends the command.\n"
    "\n"
    "Exit status: 0 done, 1 the evaluation failed, 2 the command line or a file is\n"
    "wrong, 3 no such device.\n";

static int memory_ran_out(void)
{
    complain("memory ran out");
    return COMMAND_FAILED;
}

/* ---- What the command line says ---- */

static int read_precision(const struct settings *settings, struct job *job)
{
    const char *text = settings->precision;
    for (int k = RATECL_PRECISION_F32; k <= RATECL_PRECISION_F64; k++)
        if (!text || strcmp(text, precision_name((ratecl_precision)k)) == 0) {
            job->precision = (ratecl_precision)k;
            return COMMAND_DONE;
        }
    complain("--precision: \"%s\": expected f32 or f64", text);
    return COMMAND_WRONG;
}

static int check_axes(const struct settings *settings)
{
    if (!settings->axes || npy_axes_valid(settings->axes))
        return COMMAND_DONE;
    complain(
        "--axes: \"%s\": expected the letters b, t and n in the order of the file's axes, such as tbn, or "
        "two of them, such as nt",
        settings->axes);
    return COMMAND_WRONG;
}

static int check_standard_input(const struct settings *settings)
{
    int count = 0;
    for (int k = 0; k < INPUT_COUNT; ++k)
        count += settings->inputs[k] && strcmp(settings->inputs[k], "-") == 0;
    if (count < 2)
        return COMMAND_DONE;
    complain("-: standard input is given %d times; expected once", count);
    return COMMAND_WRONG;
}

static int parse_terms(const struct settings *settings, struct job *job)
{
    const struct text_list *texts = &settings->terms;
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
static int check_inputs(const struct settings *settings, const struct job *job)
{
    for (int k = REFERENCE; k < INPUT_COUNT; k++) {
        const struct input_kind *kind = &input_kinds[k];
        const bool used = has_term(job, kind->reader);
        if (used == (settings->inputs[k] != NULL))
            continue;
        if (used)
            complain("the term %s needs %s", ratecl_criterion_name(kind->reader), kind->option);
        else
            complain("%s: no term uses it; %s would", kind->option, ratecl_criterion_name(kind->reader));
        return COMMAND_WRONG;
    }
    return COMMAND_DONE;
}

/* Without a term in the total that depends on the input, a gradient could only be 0. */
static int check_gradients(const struct settings *settings, const struct job *job)
{
    for (int k = 0; k < INPUT_COUNT; k++) {
        const struct input_kind *kind = &input_kinds[k];
        if (!settings->gradients[k] || job_has_reader(job, k))
            continue;
        if (k == STATES || has_term(job, kind->reader))
            complain("%s: no term that depends on %s%s takes part in the total (reduction=none), so that the "
                     "gradient would be 0; expected reduction=mean or sum",
                     kind->gradient_option, k == STATES ? "the states" : "the file of ",
                     k == STATES ? "" : kind->option);
        else
            complain("%s: no term depends on the file of %s; %s would", kind->gradient_option, kind->option,
                     ratecl_criterion_name(kind->reader));
        return COMMAND_WRONG;
    }
    return COMMAND_DONE;
}

/* With --quiet alone the total is all that is printed. */
static int check_total(const struct settings *settings, const struct job *job)
{
    if (!settings->quiet || settings->json || job_has_reader(job, STATES))
        return COMMAND_DONE;
    complain("--quiet prints the total, in which no term takes part (reduction=none); add --json");
    return COMMAND_WRONG;
}

/* ---- Files ---- */

static int check_shapes(const struct job *job)
{
    const int64_t N = job->files[STATES].shape[2];
    const struct npy_file *reference = &job->files[REFERENCE], *weights = &job->files[WEIGHTS];
    if (reference->name && reference->shape[2] != N) {
        complain("%s: it has %" PRId64 " neurons; expected %" PRId64 ", as in %s", reference->name,
                 reference->shape[2], N, job->files[STATES].name);
        return COMMAND_WRONG;
    }
    if (weights->name && weights->header.axes != 2) {
        complain("%s: it has %d axes; expected 2, (%" PRId64 ", %" PRId64 ")", weights->name,
                 weights->header.axes, N, N);
        return COMMAND_WRONG;
    }
    const int64_t *lengths = weights->header.lengths;
    if (weights->name && (lengths[0] != N || lengths[1] != N)) {
        complain("%s: its shape is (%" PRId64 ", %" PRId64 "); expected (%" PRId64 ", %" PRId64
                 "), as %s has %" PRId64 " neurons",
                 weights->name, lengths[0], lengths[1], N, N, job->files[STATES].name, N);
        return COMMAND_WRONG;
    }
    return COMMAND_DONE;
}

static int open_files(const struct settings *settings, struct job *job)
{
    for (int k = 0; k < INPUT_COUNT; k++) {
        const char *path = settings->inputs[k];
        const char *axes = k != WEIGHTS && settings->axes ? settings->axes : NPY_AXES;
        const int status = path ? npy_open(&job->files[k], path, axes) : COMMAND_DONE;
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
        if (job->files[k].name && npy_output_is_file(gradient, &job->files[k]))
            other = "an input";
        else if (k < index && job->gradients[k].path && npy_output_is_output(gradient, &job->gradients[k]))
            other = input_kinds[k].gradient_option;
        if (!other)
            continue;
        complain("%s: %s is the file of %s too; expected another one", input_kinds[index].gradient_option,
                 gradient->path, other);
        return COMMAND_WRONG;
    }
    return COMMAND_DONE;
}

static int open_gradients(const struct settings *settings, struct job *job)
{
    int status = check_gradients(settings, job);
    bool started = false;
    for (int k = 0; k < INPUT_COUNT && status == COMMAND_DONE; k++) {
        if (!settings->gradients[k])
            continue;
        if (!started)
            interrupt_start();
        started = true;
        status = npy_output_open(&job->gradients[k], settings->gradients[k]);
        if (status == COMMAND_DONE)
            status = check_place(job, k);
    }
    return status;
}

static int prepare_terms(const struct settings *settings, struct job *job)
{
    const int status = parse_terms(settings, job);
    return status == COMMAND_DONE ? check_inputs(settings, job) : status;
}

static int prepare(const struct settings *settings, struct job *job)
{
    const bool terms_given = settings->terms.count > 0;
    job->device_name = settings->device;
    int status = read_precision(settings, job);
    if (status == COMMAND_DONE)
        status = check_axes(settings);
    if (status == COMMAND_DONE)
        status = check_standard_input(settings);
    if (status == COMMAND_DONE && terms_given)
        status = prepare_terms(settings, job);
    if (status == COMMAND_DONE)
        status = open_files(settings, job);
    if (status == COMMAND_DONE && !terms_given && !default_terms_choose(job))
        status = memory_ran_out();
    if (status == COMMAND_DONE)
        status = check_total(settings, job);
    return status == COMMAND_DONE ? open_gradients(settings, job) : status;
}

/* ---- Results ---- */

/* The table and the JSON object say this in their own ways. */
static void report_skipped(const struct job *job)
{
    for (size_t k = 0; k < job->term_count; ++k)
        if (job->skipped[k] > 0)
            complain("%s: %" PRId64 " of %" PRId64 " neurons left out: a variance of 0",
                     ratecl_criterion_name(job->terms[k].criterion), job->skipped[k],
                     job->files[STATES].shape[2]);
}

static void print_results(const struct settings *settings, const struct job *job)
{
    const struct results results = {
        .file = job->files[STATES].name,
        .device = job->device,
        .precision = job->precision,
        .shape = job->files[STATES].shape,
        .terms = job->terms,
        .term_count = job->term_count,
        .value_index = job->value_index,
        .values = job->values,
        .skipped = job->skipped,
        .total = job->total,
    };
    if (settings->json) {
        output_json(&results);
    } else if (settings->quiet) {
        report_skipped(job);
        json_number(results.total);
        putchar('\n');
    } else {
        output_table(&results);
    }
}

static int run(int argc, char **argv)
{
    struct settings settings = { 0 };
    struct job job = { 0 };
    const parse_result parsed =
        arguments_parse(&eval_command, argc, argv, &settings, &settings.inputs[STATES]);
    int status = parsed == PARSE_REFUSED ? COMMAND_WRONG : COMMAND_DONE;
    if (parsed == PARSE_DONE)
        status = prepare(&settings, &job);
    if (parsed == PARSE_DONE && status == COMMAND_DONE)
        status = job_run(&job, !settings.quiet);
    if (parsed == PARSE_DONE && status == COMMAND_DONE)
        print_results(&settings, &job);
    job_release(&job);
    free(settings.terms.items);
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

/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L

#include "default_terms.h"

#include "command.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void leave_out(struct job *job, ratecl_criterion criterion, char *reason)
{
    job->left_out[job->left_out_count++] = (struct left_out){ criterion, reason };
}

bool default_terms_choose(struct job *job)
{
    const bool several_steps = job->files[STATES].shape[1] > 1;
    const struct {
        ratecl_criterion criterion;
        bool allowed;
    } all[] = { { RATECL_FIRING_RATE, true },
                { RATECL_FIRING_RATE_DIST, true },
                { RATECL_STATE_PREDICTION, several_steps },
                { RATECL_ENTROPY, true },
                { RATECL_HEBBIAN, job->files[WEIGHTS].name != NULL },
                { RATECL_POPULATION_KL, job->files[REFERENCE].name != NULL } };
    const size_t count = sizeof all / sizeof *all;
    job->default_terms = true;
    job->terms = calloc(count, sizeof *job->terms);
    if (!job->terms)
        return false;
    for (size_t k = 0; k < count; k++)
        if (all[k].allowed)
            ratecl_term_init(&job->terms[job->term_count++], all[k].criterion);
    if (!several_steps)
        leave_out(job, RATECL_STATE_PREDICTION, strdup("it compares time steps, and the states have one"));
    return true;
}

/* Return the library's message without the criterion's name at its beginning; `named` tells whether it is
 * there. */
static const char *without_name(const char *message, ratecl_criterion criterion, bool *named)
{
    const char *name = ratecl_criterion_name(criterion);
    const size_t length = strlen(name);
    *named = strncmp(message, name, length) == 0 && strncmp(message + length, ": ", 2) == 0;
    return *named ? message + length + 2 : message;
}

/* Evaluate one term alone, on the CPU path, which compiles nothing, and return why it fails. The caller frees
 * the text; NULL if it does not fail there. */
static char *explain(const struct job *job, const ratecl_term *term)
{
    ratecl_context_options wanted = RATECL_CONTEXT_OPTIONS_INIT;
    wanted.device = "cpu";
    ratecl_context *context = NULL;
    ratecl_plan *plan = NULL;
    ratecl_inputs inputs = RATECL_INPUTS_INIT;
    ratecl_outputs outputs = RATECL_OUTPUTS_INIT;
    job_set_inputs(job, &inputs);
    ratecl_status status = ratecl_context_create(&wanted, &context);
    if (status == RATECL_OK)
        status = job_make_plan(job, context, term, 1, false, &plan);
    if (status == RATECL_OK)
        status = ratecl_evaluate(plan, &inputs, &outputs);
    bool named;
    char *reason = status == RATECL_ERROR_DOMAIN
                       ? strdup(without_name(ratecl_last_error(), term->criterion, &named))
                       : NULL;
    ratecl_plan_release(plan);
    ratecl_context_release(context);
    return reason;
}

bool default_terms_reduce(struct job *job)
{
    char *message = strdup(ratecl_last_error());
    size_t failed = 0, kept = 0;
    for (size_t k = 0; k < job->term_count; ++k)
        failed += isfinite(job->values[k]) ? 0 : 1;
    if (!message || failed == 0 || failed == job->term_count) {
        free(message);
        return false;
    }
    job->total = 0;
    for (size_t k = 0; k < job->term_count; ++k) {
        const ratecl_term term = job->terms[k];
        if (isfinite(job->values[k])) {
            job->terms[kept] = term;
            job->skipped[kept] = job->skipped[k];
            job->values[kept] = job->values[k];
            job->total += term.weight * job->values[kept++];
            continue;
        }
        bool named;
        const char *reason = without_name(message, term.criterion, &named);
        leave_out(job, term.criterion, named || failed == 1 ? strdup(reason) : explain(job, &term));
    }
    job->term_count = kept;
    free(message);
    return true;
}

void default_terms_report(const struct job *job)
{
    for (size_t k = 0; k < job->left_out_count; ++k)
        complain("%s is left out: %s", ratecl_criterion_name(job->left_out[k].criterion),
                 job->left_out[k].reason ? job->left_out[k].reason : "its value is not finite");
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The terms of an evaluation without --term: all that the inputs and their values allow. */
#ifndef RATECL_COMMAND_DEFAULT_TERMS_H
#define RATECL_COMMAND_DEFAULT_TERMS_H

#include "job.h"

/* Choose the terms that the inputs allow, with their defaults. False: memory ran out. */
bool default_terms_choose(struct job *job);

/* After an evaluation that ended in a domain error, leave out the terms that are not finite, and keep the
 * values and the total of the others. False if it has no such term, or no other: the library's message for
 * the evaluation stands then. */
bool default_terms_reduce(struct job *job);

/* Say on standard error what was left out and why. */
void default_terms_report(const struct job *job);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* One line on standard error that tells how far long work is, if that is a terminal. A child process
 * draws it, so that it goes on while the library computes, and goes away however the work ends. */
#ifndef RATECL_COMMAND_PROGRESS_H
#define RATECL_COMMAND_PROGRESS_H

#include <stdbool.h>
#include <sys/types.h>

struct progress {
    pid_t child; /* 0: nothing is drawn */
    int pipe;    /* to the child */
    const char *stage;
};

/* Start when it is wanted and standard error is a terminal. It forks: call it before the library starts
 * threads. */
void progress_start(struct progress *progress, bool wanted);

/* Name what is done now, in at most 15 characters. */
void progress_stage(struct progress *progress, const char *stage);

/* How much of the stage is done, from 0 to 1. */
void progress_fraction(struct progress *progress, double fraction);

/* Remove the line, before anything else is written. */
void progress_stop(struct progress *progress);

#endif

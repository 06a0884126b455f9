/* SPDX-License-Identifier: Apache-2.0 */
/* A few threads that copy memory together, since one alone does not reach the speed of a bus, or that compile
 * programs. */
#ifndef RATECL_SRC_OPENCL_WORKERS_H
#define RATECL_SRC_OPENCL_WORKERS_H

typedef struct rc_workers rc_workers;

/* Start one thread a processor, the caller's among them, and 8 at most. Returns NULL without memory; fewer
 * threads than that are no error. */
rc_workers *rc_workers_create(void);
/* End the threads; NULL is allowed. */
void rc_workers_release(rc_workers *workers);
/* Free the memory in a child that fork() made, where the threads do not run and locks may stay locked;
 * NULL is allowed. */
void rc_workers_abandon(rc_workers *workers);

/* Call work(argument, part, parts) for each part, side by side, and return when all are done. Calls from
 * several threads take turns. */
void rc_workers_run(rc_workers *workers, void (*work)(void *argument, int part, int parts), void *argument);

#endif

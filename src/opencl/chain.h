/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of an evaluation, one after the other. */
#ifndef RATECL_SRC_OPENCL_CHAIN_H
#define RATECL_SRC_OPENCL_CHAIN_H

#include "staging.h"

/* In a queue that is out of order, each command waits for the one before. */
typedef struct rc_cl_chain {
    rc_cl_plan *plan;
    cl_uint wait_count; /* of the next command */
    const cl_event *wait_list;
    cl_event last; /* owned */
} rc_cl_chain;

/* After a command that gave `event`. */
static inline void rc_cl_chain_on(rc_cl_chain *c, cl_event event)
{
    if (c->last)
        clReleaseEvent(c->last);
    c->last = event;
    c->wait_count = c->plan->out_of_order && event;
    c->wait_list = c->wait_count ? &c->last : NULL;
}

/* Where a command of the chain puts its event: an in-order queue needs none. */
static inline cl_event *rc_cl_chain_event(const rc_cl_chain *c, cl_event *event)
{
    *event = NULL;
    return c->plan->out_of_order ? event : NULL;
}

/* ---- launches.c ---- */

/* Enqueue a step, in as many launches and pieces as it takes. */
ratecl_status rc_cl_enqueue_step(rc_cl_chain *c, const rc_cl_step *step, const rc_cl_exchange *exchange);

#endif

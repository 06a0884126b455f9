/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RATECL_SRC_CONTEXT_H
#define RATECL_SRC_CONTEXT_H

#include <stdatomic.h>

#include "plan.h"

struct ratecl_context {
    atomic_int references; /* the caller's, and one for each plan */
    const rc_path *path;
    void *state; /* the path's */
    ratecl_log_function log;
    void *log_user;
    char note[sizeof((ratecl_device_info *)0)->note]; /* of its device's description */
};

ratecl_context *rc_context_retain(ratecl_context *context);

/* Options of any version, or NULL, completed. */
ratecl_status rc_context_options_complete(const ratecl_context_options *given,
                                          ratecl_context_options *complete);

/* Wrap a path's state, which is released when this fails. */
ratecl_status rc_context_wrap(const rc_path *path, void *state, const ratecl_context_options *options,
                              ratecl_context **context);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* One evaluation in a context of its own, and where its programs came from. */
#ifndef RATECL_TESTS_PROGRAM_ORIGINS_H
#define RATECL_TESTS_PROGRAM_ORIGINS_H

#include "suite.h"

#include <string.h>

typedef struct program_origins {
    int compiled, kept, loaded;
} program_origins;

static inline void program_count(const char *message, void *user)
{
    program_origins *to = user;
    to->compiled += strncmp(message, "program compiled", 16) == 0;
    to->kept += strncmp(message, "program compiled and kept: ", 27) == 0;
    to->loaded += strncmp(message, "program loaded: ", 16) == 0;
}

static inline ratecl_status program_try_evaluate(const char *device, ratecl_program_cache wanted,
                                                 double *value, program_origins *seen)
{
    static const float states[] = { 0.1f, 0.4f, 0.3f, 0.2f, 0.2f, 0.6f };
    const ratecl_layout layout = RATECL_LAYOUT_INIT(RATECL_F32, 1, 3, 2);
    *seen = (program_origins){ 0, 0, 0 };
    ratecl_context_options options = RATECL_CONTEXT_OPTIONS_INIT;
    options.device = device;
    options.log = program_count;
    options.log_user = seen;
    options.program_cache = wanted;
    ratecl_context *context = NULL;
    ratecl_status status = ratecl_context_create(&options, &context);
    if (status == RATECL_OK)
        status = ratecl_firing_rate_loss(context, &layout, states, RATECL_METRIC_L2, 0, value);
    ratecl_context_release(context);
    return status;
}

static inline program_origins program_evaluate(const char *device, ratecl_program_cache wanted, double *value)
{
    program_origins seen;
    ASSERT_OK(program_try_evaluate(device, wanted, value, &seen));
    ck_assert_double_eq_tol(*value, 0.1, 1e-6);
    return seen;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Every OpenCL function that the library calls, under the same name in the test program, where the library's
 * calls find it before OpenCL's: it counts calls and objects, and fails on demand. interposed.sh tells a
 * function that is missing. */
#ifndef RATECL_TESTS_INJECTOR_H
#define RATECL_TESTS_INJECTOR_H

#include <stdbool.h>

#include "suite_opencl.h"

typedef struct injection {
    size_t at;   /* the call that fails, counted from 1 */
    bool onward; /* so do all later ones */
    cl_int code;
    bool may_wait; /* else calls that wait, or that a driver may let wait, fail, and are counted */
} injection;

/* Let calls fail from here on. */
void injector_start(const injection *how);
/* Let no call fail any more. Returns how many calls there were since the start. */
size_t injector_stop(void);

/* The number of waits since the start. */
size_t injector_waits(void);
/* True if the text names a call that failed since the start. */
bool injector_names_failure(const char *text);
/* The name of the first one. */
const char *injector_first_failure(void);

/* References to OpenCL objects that were taken and not given back. */
long injector_objects(void);
/* Buffers that were made. */
size_t injector_buffers(void);

#endif

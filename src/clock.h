/* SPDX-License-Identifier: Apache-2.0 */
/* Who includes this defines _POSIX_C_SOURCE first. */
#ifndef RATECL_SRC_CLOCK_H
#define RATECL_SRC_CLOCK_H

#include <time.h>

static inline double rc_seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RATECL_SRC_PROCESS_H
#define RATECL_SRC_PROCESS_H

#include <stdatomic.h>
#include <stdbool.h>

/* The process that was the first to use something whose threads a fork() does not copy: OpenMP's, or those of
 * OpenCL drivers. 0 before; written once. Of static storage, since the thing itself belongs to the process.
 */
typedef atomic_long rc_owner;

/* Make this process the owner unless there is one. True if it is this process; false in a child that fork()
 * made of the owner. */
bool rc_own(rc_owner *owner);

#endif

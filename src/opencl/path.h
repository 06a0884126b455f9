/* SPDX-License-Identifier: Apache-2.0 */
/* What the rest of the library sees of OpenCL: no OpenCL type. */
#ifndef RATECL_SRC_OPENCL_PATH_H
#define RATECL_SRC_OPENCL_PATH_H

#include "../plan.h"

extern const rc_path rc_cl_path;

/* List every device of every platform. The caller frees the list, which is NULL where there is none, whatever
 * the status: devices that a failing driver hides are left out, and the status is that of the first failure,
 * which the message names. */
ratecl_status rc_cl_device_list(ratecl_device_info **list, size_t *count);

/* Open a device of that list. */
ratecl_status rc_cl_context_open(const ratecl_device_info *device, const ratecl_context_options *options,
                                 void **context_state);

#endif

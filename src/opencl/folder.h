/* SPDX-License-Identifier: Apache-2.0 */
/* Where the library keeps what it learns about a user's devices. */
#ifndef RATECL_SRC_OPENCL_FOLDER_H
#define RATECL_SRC_OPENCL_FOLDER_H

#include <stdbool.h>

enum { RC_PATH_BYTES = 1024 };

/* The environment's RATECL_CACHE, or ratecl in XDG_CACHE_HOME, or .cache/ratecl in HOME. False where there is
 * none of them, or RATECL_CACHE is empty. The folder itself need not be there. */
bool rc_cl_user_folder(char path[RC_PATH_BYTES]);

/* The same, and it is there: made with its parents, for the user alone, where it was not. */
bool rc_cl_user_folder_make(char path[RC_PATH_BYTES]);

#endif

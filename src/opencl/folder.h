/* SPDX-License-Identifier: Apache-2.0 */
/* Where the library keeps what it learns about a user's devices. */
#ifndef RATECL_SRC_OPENCL_FOLDER_H
#define RATECL_SRC_OPENCL_FOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RC_PATH_BYTES = 1024 };

/* The environment's RATECL_CACHE, or ratecl in XDG_CACHE_HOME, or .cache/ratecl in HOME. False where there is
 * none of them, or RATECL_CACHE is empty. The folder itself need not be there. */
bool rc_cl_user_folder(char path[RC_PATH_BYTES]);

/* The same, and it is there: made with its parents, for the user alone, where it was not. */
bool rc_cl_user_folder_make(char path[RC_PATH_BYTES]);

/* A file of that folder, its first `most` bytes at most and a 0 after them, which the caller frees. NULL
 * where there is none, or with errno ENOMEM. Where it is `used`, the file's time says that it was now. */
char *rc_cl_user_file_read(const char *name, int64_t most, bool used, size_t *bytes);

typedef struct rc_part {
    const void *content;
    size_t bytes;
} rc_part;

/* Write a file of that folder, part after part, in the place of the one that is there: others see the old one
 * or the new one. False, and errno says why, where that failed. */
bool rc_cl_user_file_replace(const char *name, const rc_part *parts, size_t count);

/* How the names begin of files that are being written, or were when their process ended. */
#define RC_UNFINISHED "unfinished-"

#endif

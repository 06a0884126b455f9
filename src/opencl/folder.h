/* SPDX-License-Identifier: Apache-2.0 */
/* Where the library keeps what it learns about a user's devices.
 *
 * The folder and its files are trusted where they belong to the user or to root, nobody else may write to
 * them, and they are no symbolic links. All else is neither read nor written, and nothing in its place makes
 * a call wait, but for the lock, which gives up after ten seconds. */
#ifndef RATECL_SRC_OPENCL_FOLDER_H
#define RATECL_SRC_OPENCL_FOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

enum { RC_PATH_BYTES = 1024 };

/* Return the folder's path: the environment's RATECL_CACHE, or ratecl in XDG_CACHE_HOME, or .cache/ratecl in
 * HOME. False, with errno ENOENT, where there is none of them, or RATECL_CACHE is empty, and ENAMETOOLONG
 * where the path is too long. The folder itself need not exist. */
bool rc_cl_user_folder(char path[RC_PATH_BYTES]);

/* Open the folder; `make` creates it and its parents, for the user alone, where they are missing. Symbolic
 * links in the path above the folder are followed where they belong to the user or to root. The caller closes
 * it. -1 with errno, which is EPERM for a folder that is not trusted. */
int rc_cl_user_folder_open(bool make);

/* True if files can be written to the folder; else errno says why. */
bool rc_cl_user_folder_writable(int folder);

/* Lock an open folder until it is closed, against other processes that do the same: whoever writes a file
 * anew from what it read in it loses nothing of theirs. Give up after ten seconds, since the lock may be held
 * by a process that has stopped. */
void rc_cl_user_folder_lock(int folder);

/* Call `visit` for the folder's regular files. */
typedef void (*rc_file_visitor)(int folder, const char *name, const struct stat *status, void *user);
void rc_cl_user_folder_visit(int folder, rc_file_visitor visit, void *user);

/* Read a file of the folder; a 0 follows its bytes, and the caller frees them. NULL with errno, which is
 * EPERM for a file that is not trusted and EFBIG for one of more than `max_bytes`. `used` sets the file's
 * time, which tells what was not used for longest. */
char *rc_cl_user_file_read(int folder, const char *name, int64_t max_bytes, bool used, size_t *bytes);

typedef struct rc_part {
    const void *content;
    size_t bytes;
} rc_part;

/* Write a file of the folder, part after part, under another name, then rename it: other processes see the
 * old file or the new one. `durable` waits until the bytes have reached the disk. What processes that ended
 * while they wrote left behind is removed an hour later. False, with errno, where writing failed. */
bool rc_cl_user_file_replace(int folder, const char *name, const rc_part *parts, size_t count, bool durable);

/* Close a file or folder and leave errno as it is. */
void rc_cl_user_close(int descriptor);

/* Say why a call above failed, from errno. */
const char *rc_cl_user_error(int error);

#endif

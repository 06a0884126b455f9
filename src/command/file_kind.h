/* SPDX-License-Identifier: Apache-2.0 */
/* Files of other formats, recognised by their first bytes, so that a message can name them. */
#ifndef RATECL_COMMAND_FILE_KIND_H
#define RATECL_COMMAND_FILE_KIND_H

#include <stdbool.h>
#include <stdint.h>

struct file_kind {
    const char *what;   /* "an HDF5 file" */
    const char *remedy; /* what to do with it, as an imperative */
};

/* Find out what a file of another format is from `size` bytes at its beginning. False if it may be a NumPy
 * file, or is nothing that is known. */
bool file_kind_find(const unsigned char *bytes, uint64_t size, struct file_kind *kind);

#endif

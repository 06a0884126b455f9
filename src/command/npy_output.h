/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays written in NumPy's format 1.0: little-endian, with the axes of an input, the last one contiguous. */
#ifndef RATECL_COMMAND_NPY_OUTPUT_H
#define RATECL_COMMAND_NPY_OUTPUT_H

#include "npy.h"

/* A file that comes to its name whole or not at all: it is written beside it and then renamed. Until then
 * there is no file, so that a run which is killed while it computes leaves none; see interrupt.h for signals
 * while it is written. */
struct npy_output {
    const char *path; /* as the user gave it */
    char *target;     /* the same, absolute and without links */
    char *temporary;  /* a name in the same folder */
    unsigned mode;    /* of the file that is there, or as a new one gets it */
    bool written;     /* the temporary file is there */
    int error;        /* errno of what failed */
    void *elements;   /* uninitialised at first */
    uint64_t bytes;   /* of the elements */
    int axes;         /* of the file */
    int64_t lengths[3];
    ratecl_layout layout; /* of the elements */
};

/* Check that a file can be made at `path`: the command's exit status, with the message on standard error.
 * The caller closes the output in each case. */
int npy_output_open(struct npy_output *output, const char *path);

/* Whether the output would take the place of a file that is open; of another output. */
bool npy_output_is_file(const struct npy_output *output, const struct npy_file *file);
bool npy_output_is_output(const struct npy_output *output, const struct npy_output *other);

/* Choose the axes and the shape of `like`, and the precision's element. */
void npy_output_describe(struct npy_output *output, const struct npy_file *like, ratecl_precision precision);

/* Make room for the array that was described. False: memory ran out. */
bool npy_output_allocate(struct npy_output *output);

/* Write the temporary file; false with `error` set. The elements are of no use after it. */
bool npy_output_write(struct npy_output *output, struct progress *progress);

/* Give the file that was written its name; false with `error` set. */
bool npy_output_commit(struct npy_output *output);

/* Closing a zeroed output is allowed. A temporary file that has no name yet is removed. */
void npy_output_close(struct npy_output *output);

#endif

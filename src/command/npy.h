/* SPDX-License-Identifier: Apache-2.0 */
/* NumPy's file format, versions 1.0 to 3.0. */
#ifndef RATECL_COMMAND_NPY_H
#define RATECL_COMMAND_NPY_H

#include "progress.h"

#include <ratecl/ratecl.h>

#include <stdbool.h>

enum { NPY_MESSAGE_SIZE = 256 };

struct npy_type {
    char code[3]; /* NumPy's, "f4" */
    uint8_t bytes;
    ratecl_element element;      /* that holds it with fp64 */
    ratecl_element element_fp32; /* that holds it without */
    bool in_place; /* a file's little-endian bytes are the element; of b1 those that are 0 or 1 */
};

struct npy_header {
    const struct npy_type *type;
    bool big_endian;
    bool fortran;        /* the first axis is contiguous */
    int axes;            /* 2 or 3 */
    int64_t lengths[3];  /* of the axes, in the file's order; 1 behind the last */
    uint64_t data;       /* offset of the elements */
    uint64_t data_bytes; /* of all elements, by type and lengths */
};

/* Read the header of a file from `size` bytes at its beginning. On false the message says what is wrong, and
 * what was expected. */
bool npy_header_read(const unsigned char *bytes, uint64_t size, struct npy_header *header,
                     char message[NPY_MESSAGE_SIZE]);

/* Check that a file of `size` bytes has as much data as its header says. */
bool npy_header_check_size(const struct npy_header *header, uint64_t size, char message[NPY_MESSAGE_SIZE]);

/* Do both for a file of which all bytes are at `bytes`. */
bool npy_header_parse(const unsigned char *bytes, uint64_t size, struct npy_header *header,
                      char message[NPY_MESSAGE_SIZE]);

/* The letters of (batch, time, neuron), in the order of the axes that --axes does not name. */
#define NPY_AXES "btn"

/* True if `axes` has two or three different letters of NPY_AXES. */
bool npy_axes_valid(const char *axes);

struct npy_file {
    const char *name; /* for messages and results */
    void *bytes;      /* the whole file, or what was read of a stream */
    uint64_t size;
    bool mapped, streamed; /* a stream's data is read by npy_load() */
    uint64_t identity[2];  /* device and number of the file */
    struct npy_header header;
    char axes[sizeof NPY_AXES]; /* a letter for each axis of the file */
    int64_t shape[3];           /* B, T, N; 1 for an axis that the file lacks */
    void *converted;            /* NULL where the file's own bytes serve */
    ratecl_layout layout;       /* of npy_data() */
};

/* Open a file, or standard input for "-", and check its header: the command's exit status, with the message
 * on standard error. `axes` names the axes of a file with three, which one with two has without b, or of a
 * file with two. The caller closes the file in each case. */
int npy_open(struct npy_file *file, const char *path, const char *axes);

/* Set the strides of an array with the file's axes, the last of which varies fastest, or with `fortran` the
 * first. */
void npy_set_strides(const struct npy_file *file, bool fortran, ratecl_layout *layout);

/* Make the elements such that the library reads them: in place, or converted. Return the command's exit
 * status, with the message on standard error, for which the progress line is stopped. */
int npy_load(struct npy_file *file, bool fp64, struct progress *progress);

/* The elements, as `layout` says, after npy_load(). */
const void *npy_data(const struct npy_file *file);
uint64_t npy_data_bytes(const struct npy_file *file);

/* Closing a zeroed file is allowed. */
void npy_close(struct npy_file *file);

#endif

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
    bool in_place;               /* a file's little-endian bytes are the element */
};

struct npy_header {
    const struct npy_type *type;
    bool big_endian;
    bool fortran;     /* the first axis is contiguous */
    int axes;         /* 2 or 3 */
    int64_t shape[3]; /* B, T, N; B = 1 where there are 2 axes */
    uint64_t data;    /* offset of the elements; they reach to the end of the file */
};

/* Read the header of a file of `size` bytes, all of which are at `bytes`, and check that its data is as
 * long as it says. On false the message says what is wrong, and what was expected. */
bool npy_header_parse(const unsigned char *bytes, uint64_t size, struct npy_header *header,
                      char message[NPY_MESSAGE_SIZE]);

struct npy_file {
    const char *path;
    void *bytes; /* the whole file */
    uint64_t size;
    bool mapped;
    struct npy_header header;
    void *converted;      /* NULL where the file's own bytes serve */
    ratecl_layout layout; /* of npy_data() */
};

/* Open a file and check it: the command's exit status, with the message on standard error. The caller
 * closes it in each case. */
int npy_open(struct npy_file *file, const char *path);

/* Make the elements such that the library reads them: in place, or converted. False: memory ran out. */
bool npy_load(struct npy_file *file, bool fp64, struct progress *progress);

/* The elements, as `layout` says, after npy_load(). */
const void *npy_data(const struct npy_file *file);
uint64_t npy_data_bytes(const struct npy_file *file);

/* Closing a zeroed file is allowed. */
void npy_close(struct npy_file *file);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled programs on disk: one file for each in the user's folder, with all that its binary depends on.
 *
 * A file is written under another name and renamed, so that any number of processes may read and write.
 * Whatever is wrong with a file means that the program is compiled, and a new file takes its place; whatever
 * is wrong with the folder means that nothing is read or written. */
#ifndef RATECL_SRC_OPENCL_CACHE_H
#define RATECL_SRC_OPENCL_CACHE_H

#include <ratecl/opencl.h>
#include <stdbool.h>

typedef struct rc_cl_cache {
    bool on;
    char identity[1280]; /* of library, platform, device and driver */
} rc_cl_cache;

/* What a program is made of. */
typedef struct rc_cl_recipe {
    const char *file; /* for messages */
    const char *options;
    const char *texts[3]; /* one after the other */
} rc_cl_recipe;

void rc_cl_cache_open(rc_cl_cache *cache, cl_device_id device, ratecl_program_cache wanted);

/* The program, ready for its kernels; NULL where there is no file that serves. */
cl_program rc_cl_cache_load(const rc_cl_cache *cache, cl_context context, cl_device_id device,
                            const rc_cl_recipe *recipe);

/* Keep a program that was built for one device; whether it is kept. */
bool rc_cl_cache_store(const rc_cl_cache *cache, cl_program program, const rc_cl_recipe *recipe);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel sources, and the programs that a context has compiled from them. */
#ifndef RATECL_SRC_OPENCL_PROGRAM_H
#define RATECL_SRC_OPENCL_PROGRAM_H

#include <ratecl/opencl.h>

typedef struct rc_kernel_source {
    const char *file;
    const char *text;
} rc_kernel_source;
extern const rc_kernel_source rc_kernel_sources[]; /* embedded at build time; ends with a NULL file */

typedef struct rc_cl_program {
    struct rc_cl_program *next;
    char *key; /* file and options */
    cl_program program;
} rc_cl_program;

struct rc_cl_context;

/* Make kernel `name` of `file` under `options`; the program is compiled when the context has none such. */
ratecl_status rc_cl_kernel(struct rc_cl_context *context, const char *file, const char *options,
                           const char *name, cl_kernel *kernel);

/* What a program is compiled from. */
typedef struct rc_cl_wanted {
    const char *file, *options;
} rc_cl_wanted;

/* Compile those programs that the context lacks, side by side, so that rc_cl_kernel() finds them. A program
 * that does not compile is left out: rc_cl_kernel() compiles it again and says why. Do nothing where the
 * driver compiles one program after the other anyway. */
void rc_cl_compile_ahead(struct rc_cl_context *context, const rc_cl_wanted *wanted, size_t count);

#endif

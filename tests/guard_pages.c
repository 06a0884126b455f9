/* SPDX-License-Identifier: Apache-2.0 */
/* A library to preload: every buffer lies between two pages that cannot be touched, so that a kernel on a CPU
 * device which reads or writes outside of one is stopped at once. GUARD_PAGES=after puts a buffer's last
 * bytes before the second page, but for what its alignment leaves; otherwise its first byte follows the first
 * page. */
#define _GNU_SOURCE /* RTLD_NEXT, MAP_ANONYMOUS */
#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif
#include <CL/cl.h>
#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ALIGNMENT = 128 }; /* of OpenCL's longest vector */

typedef struct region {
    char *start;
    size_t bytes;
} region;

static size_t round_up(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

static void CL_CALLBACK unmap(cl_mem buffer, void *user)
{
    region *guarded = user;
    (void)buffer;
    munmap(guarded->start, guarded->bytes);
    free(guarded);
}

/* Return memory for a buffer, and in `guarded` the region to unmap; NULL if there is none. */
static char *map(size_t bytes, region *guarded)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), inside = round_up(bytes, page);
    const char *side = getenv("GUARD_PAGES");
    const bool after = side && strcmp(side, "after") == 0;
    char *start = mmap(NULL, inside + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED)
        return NULL;
    *guarded = (region){ start, inside + 2 * page };
    if (mprotect(start + page, inside, PROT_READ | PROT_WRITE) != 0) {
        munmap(start, guarded->bytes);
        return NULL;
    }
    return start + page + (after ? inside - round_up(bytes, ALIGNMENT) : 0);
}

__attribute__((visibility("default"))) cl_mem CL_API_CALL clCreateBuffer(cl_context context,
                                                                         cl_mem_flags flags, size_t bytes,
                                                                         void *host, cl_int *code)
{
    __typeof__(&clCreateBuffer) next;
    *(void **)(void *)&next = dlsym(RTLD_NEXT, "clCreateBuffer");
    region *guarded = malloc(sizeof *guarded);
    char *memory = guarded && bytes > 0 && !(flags & CL_MEM_USE_HOST_PTR) ? map(bytes, guarded) : NULL;
    if (!memory) {
        free(guarded);
        return next(context, flags, bytes, host, code);
    }
    if (flags & CL_MEM_COPY_HOST_PTR && host)
        memcpy(memory, host, bytes);
    flags &= ~(cl_mem_flags)(CL_MEM_COPY_HOST_PTR | CL_MEM_ALLOC_HOST_PTR);
    cl_mem made = next(context, flags | CL_MEM_USE_HOST_PTR, bytes, memory, code);
    if (!made)
        unmap(NULL, guarded);
    else
        clSetMemObjectDestructorCallback(made, unmap, guarded);
    return made;
}

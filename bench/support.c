/* SPDX-License-Identifier: Apache-2.0 */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>

void fail(const char *what, const char *why)
{
    fflush(stdout);
    fprintf(stderr, "ratecl-bench: %s: %s\n", what, why);
    exit(EXIT_FAILURE);
}

void *new_array(size_t bytes)
{
    enum { LINE = 64 };
    void *array = aligned_alloc(LINE, (bytes + LINE) / LINE * LINE);
    if (!array)
        fail("memory", "there is too little");
    return array;
}

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RATECL_SRC_OPENCL_HASH_H
#define RATECL_SRC_OPENCL_HASH_H

#include <stddef.h>
#include <stdint.h>

#define RC_HASH_START UINT64_C(0xcbf29ce484222325)

/* Continue FNV-1a, Fowler, Noll and Vo's hash of 64 bits, from `start`: a single wrong byte always changes
 * it. */
static inline uint64_t rc_hash(uint64_t start, const void *bytes, size_t count)
{
    const unsigned char *byte = bytes;
    for (size_t k = 0; k < count; ++k)
        start = (start ^ byte[k]) * UINT64_C(0x100000001b3);
    return start;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What every part of the benchmark needs: it ends with a message when anything is wrong. */
#ifndef RATECL_BENCH_SUPPORT_H
#define RATECL_BENCH_SUPPORT_H

#include <stddef.h>
#include <stdint.h>

#include <ratecl/ratecl.h>

void fail(const char *what, const char *why) __attribute__((noreturn));

#define CHECK(call)                           \
    do {                                      \
        if ((call) != RATECL_OK)              \
            fail(#call, ratecl_last_error()); \
    } while (0)

/* Uninitialised memory at a whole cache line; never NULL. */
void *new_array(size_t bytes);

/* 32 random bits for the k-th element of an array, the same in every run and in peers.py. */
static inline uint32_t hash(uint32_t k, uint32_t seed)
{
    uint32_t x = k + seed * 0x9e3779b9u;
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    return x ^ (x >> 16);
}

#endif

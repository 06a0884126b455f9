/* SPDX-License-Identifier: Apache-2.0 */
/* Failures of the file system: the library's calls find these functions before libc's. */
#ifndef RATECL_TESTS_FILE_FAULTS_H
#define RATECL_TESTS_FILE_FAULTS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum fault_kind {
    FAULT_ONCE,  /* one call fails */
    FAULT_RETRY, /* one call fails that the library is to make again: an open, a transfer, a sync */
    FAULT_FROM,  /* one fails, and all after it */
    FAULT_SHORT, /* one read or write transfers half of what it was asked for */
    FAULT_TINY,  /* all reads and writes from that call on transfer 7 bytes at most */
    FAULT_KILL /* the process is killed in the middle of a call that changes the folder; others don't count */
} fault_kind;

typedef struct fault {
    const char *name;
    fault_kind kind;
    int error; /* errno of calls that fail */
} fault;

enum { FAULTS = 8 };
extern const fault faults[FAULTS]; /* all but FAULT_KILL */

/* True if the library is to succeed in spite of it. */
static inline bool fault_is_mended(const fault *wanted)
{
    return wanted->kind == FAULT_RETRY || wanted->kind == FAULT_SHORT || wanted->kind == FAULT_TINY;
}

/* Let the library's call number `at`, from 1 on, fail so. */
void faults_arm(const fault *wanted, size_t at);
/* Let all calls succeed again; returns how many the library made. */
size_t faults_disarm(void);

#endif

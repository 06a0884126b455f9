/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L
#include "process.h"

#include <unistd.h>

bool rc_own(rc_owner *owner)
{
    long first = 0;
    const long self = (long)getpid();
    return atomic_compare_exchange_strong(owner, &first, self) || first == self;
}

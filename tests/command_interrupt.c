/* SPDX-License-Identifier: Apache-2.0 */
/* Preloaded into the command: sends it the signal RATECL_TEST_SIGNAL in the midst of the call
 * RATECL_TEST_CALL (mkstemp, write or rename) on a temporary file, and then lets RATECL_TEST_PAUSE
 * milliseconds pass, in which the signal is to end it. */
#undef _FILE_OFFSET_BITS /* with it, mkstemp is another name of mkstemp64 */
#define _GNU_SOURCE

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int temporary = -1; /* the descriptor of the file that is written */

static void interrupt_in(const char *call)
{
    const char *wanted = getenv("RATECL_TEST_CALL"), *number = getenv("RATECL_TEST_SIGNAL");
    const char *pause = getenv("RATECL_TEST_PAUSE");
    if (!wanted || !number || !pause || strcmp(wanted, call) != 0)
        return;
    kill(getpid(), atoi(number));
    const long milliseconds = atol(pause);
    const struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000 };
    nanosleep(&time, NULL);
}

/* ISO C has no conversion of what dlsym() gives to a pointer to a function. */
#define FIND(function, name)                           \
    do {                                               \
        void *found = dlsym(RTLD_NEXT, (name));        \
        memcpy(&(function), &found, sizeof(function)); \
    } while (0)

static int make(const char *name, char *path)
{
    int (*real)(char *);
    FIND(real, name);
    temporary = real(path);
    interrupt_in("mkstemp");
    return temporary;
}

int mkstemp(char *path)
{
    return make("mkstemp", path);
}

int mkstemp64(char *path)
{
    return make("mkstemp64", path);
}

ssize_t write(int descriptor, const void *bytes, size_t count)
{
    ssize_t (*real)(int, const void *, size_t);
    FIND(real, "write");
    const ssize_t written = real(descriptor, bytes, count);
    if (descriptor == temporary && count > 0)
        interrupt_in("write");
    return written;
}

int rename(const char *from, const char *to)
{
    int (*real)(const char *, const char *);
    FIND(real, "rename");
    const int result = real(from, to);
    interrupt_in("rename");
    return result;
}

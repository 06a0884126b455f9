/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* RTLD_NEXT, dladdr() */
#include "file_faults.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

const fault faults[FAULTS] = {
    { "EINTR", FAULT_ONCE, EINTR },
    { "EINTR where it is tried again", FAULT_RETRY, EINTR },
    { "EIO", FAULT_ONCE, EIO },
    { "ENOSPC", FAULT_ONCE, ENOSPC },
    { "EMFILE", FAULT_ONCE, EMFILE },
    { "EIO from then on", FAULT_FROM, EIO },
    { "half a transfer", FAULT_SHORT, 0 },
    { "tiny transfers", FAULT_TINY, 0 },
};

static struct {
    const fault *wanted; /* NULL: all calls succeed */
    size_t at, calls;
    const void *library, *program; /* where they were loaded */
} injector;

static const void *module_of(const void *address)
{
    Dl_info info;
    return dladdr(address, &info) ? info.dli_fbase : NULL;
}

void faults_arm(const fault *wanted, size_t at)
{
    injector.library = module_of(dlsym(RTLD_DEFAULT, "ratecl_version"));
    injector.program = module_of(&injector);
    injector.calls = 0;
    injector.at = at;
    injector.wanted = wanted;
}

size_t faults_disarm(void)
{
    injector.wanted = NULL;
    return injector.calls;
}

enum { CHANGES = 1, TRANSFERS = 2, RETRIED = 4 }; /* what a call does */

/* Count a call of the library, or of its sources in this program; true if it is one that goes wrong. */
static bool is_due(const void *caller, int what)
{
    const fault *wanted = injector.wanted;
    const void *module = wanted ? module_of(caller) : NULL;
    if (!wanted || (module != injector.library && module != injector.program))
        return false;
    if ((wanted->kind == FAULT_KILL && !(what & CHANGES)) ||
        (wanted->kind == FAULT_RETRY && !(what & (TRANSFERS | RETRIED))) ||
        ((wanted->kind == FAULT_SHORT || wanted->kind == FAULT_TINY) && !(what & TRANSFERS)))
        return false;
    injector.calls++;
    return injector.calls == injector.at ||
           (injector.calls > injector.at && (wanted->kind == FAULT_FROM || wanted->kind == FAULT_TINY));
}

/* True if the call is to fail, with errno. */
static bool fails(const void *caller, int what)
{
    if (!is_due(caller, what))
        return false;
    if (injector.wanted->kind == FAULT_KILL)
        raise(SIGKILL);
    errno = injector.wanted->error;
    return true;
}

/* How many of so many bytes are transferred; -1, with errno, for none. */
static ssize_t transferred(const void *caller, size_t bytes, int what)
{
    enum { TINY = 7 };
    if (!is_due(caller, what | TRANSFERS))
        return (ssize_t)bytes;
    if (injector.wanted->kind == FAULT_SHORT || injector.wanted->kind == FAULT_KILL)
        return (ssize_t)(bytes / 2 > 0 ? bytes / 2 : bytes);
    if (injector.wanted->kind == FAULT_TINY)
        return bytes < TINY ? (ssize_t)bytes : TINY;
    errno = injector.wanted->error;
    return -1;
}

#define CALLER __builtin_return_address(0)
#define NEXT(function)            \
    __typeof__(&(function)) next; \
    *(void **)(void *)&next = dlsym(RTLD_NEXT, NAME_OF(function))

/* With 64-bit offsets, the headers rename some functions. */
#if defined(_FILE_OFFSET_BITS) && _FILE_OFFSET_BITS == 64 && defined(__GLIBC__)
#define NAME_OF(function) #function "64"
#else
#define NAME_OF(function) #function
#endif

int openat(int folder, const char *name, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    NEXT(openat);
    return fails(CALLER, RETRIED | (flags & O_CREAT ? CHANGES : 0)) ? -1 : next(folder, name, flags, mode);
}

int fstat(int file, struct stat *status)
{
    NEXT(fstat);
    return fails(CALLER, 0) ? -1 : next(file, status);
}

int fstatat(int folder, const char *name, struct stat *status, int flags)
{
    NEXT(fstatat);
    return fails(CALLER, 0) ? -1 : next(folder, name, status, flags);
}

struct dirent *readdir(DIR *stream)
{
    NEXT(readdir);
    return fails(CALLER, 0) ? NULL : next(stream);
}

#undef NAME_OF
#define NAME_OF(function) #function

ssize_t read(int file, void *to, size_t bytes)
{
    NEXT(read);
    const ssize_t count = transferred(CALLER, bytes, 0);
    return count < 0 ? -1 : next(file, to, (size_t)count);
}

ssize_t write(int file, const void *from, size_t bytes)
{
    NEXT(write);
    const size_t before = injector.calls;
    const ssize_t count = transferred(CALLER, bytes, CHANGES);
    const ssize_t written = count < 0 ? -1 : next(file, from, (size_t)count);
    if (injector.wanted && injector.wanted->kind == FAULT_KILL && injector.calls > before &&
        injector.calls == injector.at)
        raise(SIGKILL);
    return written;
}

/* As on Linux, the file is closed whatever is said. */
int close(int file)
{
    NEXT(close);
    const bool bad = fails(CALLER, CHANGES);
    const int error = errno, result = next(file);
    if (!bad)
        return result;
    errno = error;
    return -1;
}

int closedir(DIR *stream)
{
    NEXT(closedir);
    const bool bad = fails(CALLER, 0);
    const int error = errno, result = next(stream);
    if (!bad)
        return result;
    errno = error;
    return -1;
}

DIR *fdopendir(int folder)
{
    NEXT(fdopendir);
    return fails(CALLER, 0) ? NULL : next(folder);
}

int fsync(int file)
{
    NEXT(fsync);
    return fails(CALLER, CHANGES | RETRIED) ? -1 : next(file);
}

int mkdirat(int folder, const char *name, mode_t mode)
{
    NEXT(mkdirat);
    return fails(CALLER, CHANGES) ? -1 : next(folder, name, mode);
}

int renameat(int from, const char *old, int to, const char *name)
{
    NEXT(renameat);
    return fails(CALLER, CHANGES) ? -1 : next(from, old, to, name);
}

int unlinkat(int folder, const char *name, int flags)
{
    NEXT(unlinkat);
    return fails(CALLER, CHANGES) ? -1 : next(folder, name, flags);
}

int faccessat(int folder, const char *name, int mode, int flags)
{
    NEXT(faccessat);
    return fails(CALLER, 0) ? -1 : next(folder, name, mode, flags);
}

int futimens(int file, const struct timespec times[2])
{
    NEXT(futimens);
    return fails(CALLER, 0) ? -1 : next(file, times);
}

int flock(int file, int operation)
{
    NEXT(flock);
    return fails(CALLER, 0) ? -1 : next(file, operation);
}

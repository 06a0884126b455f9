/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* O_PATH, flock() */
#include "folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#ifndef O_PATH
#define O_PATH O_RDONLY
#endif

/* How the names of files begin that are being written, or were when their process ended. */
static const char unfinished_prefix[] = "unfinished-";
enum { UNFINISHED_BYTES = 64, UNFINISHED_SECONDS = 3600 };

/* ---- The path ---- */

static bool compose(char path[RC_PATH_BYTES], const char *folder, const char *below)
{
    const int length = snprintf(path, RC_PATH_BYTES, "%s%s", folder, below);
    errno = length < RC_PATH_BYTES ? ENOENT : ENAMETOOLONG;
    return length > 0 && length < RC_PATH_BYTES;
}

bool rc_cl_user_folder(char path[RC_PATH_BYTES])
{
    const char *own = getenv("RATECL_CACHE"), *caches = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (own)
        return compose(path, own, "");
    if (caches && *caches)
        return compose(path, caches, "/ratecl");
    errno = ENOENT;
    return home && *home && compose(path, home, "/.cache/ratecl");
}

/* ---- Descriptors ---- */

void rc_cl_user_close(int descriptor)
{
    const int error = errno;
    close(descriptor);
    errno = error;
}

const char *rc_cl_user_error(int error)
{
    if (error == EPERM)
        return "expected a regular file in a folder, both owned by you or root, writable by nobody else, and "
               "no symbolic links";
    return strerror(error);
}

static int open_at(int folder, const char *name, int flags)
{
    int descriptor;
    do
        descriptor = openat(folder, name, flags | O_CLOEXEC | O_NOCTTY, 0600);
    while (descriptor < 0 && errno == EINTR);
    return descriptor;
}

static bool is_trusted_owner(uid_t owner)
{
    return owner == 0 || owner == geteuid();
}

/* True if the descriptor is of this type, and only the user or root can have written to it. */
static bool is_trusted(int descriptor, mode_t type, struct stat *status)
{
    if (fstat(descriptor, status) != 0)
        return false;
    errno = EPERM;
    return (status->st_mode & S_IFMT) == type && is_trusted_owner(status->st_uid) &&
           (status->st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

/* ---- The folder ---- */

/* Open a folder in the folder `above`. The last one of the path may not be a link. */
static int enter(int above, const char *name, bool is_last, bool make)
{
    const int flags = O_DIRECTORY | (is_last ? O_RDONLY : O_PATH);
    int folder = open_at(above, name, flags | O_NOFOLLOW);
    if (folder < 0 && errno == ENOENT && make && (mkdirat(above, name, 0700) == 0 || errno == EEXIST))
        folder = open_at(above, name, flags | O_NOFOLLOW);
    if (folder >= 0 || (errno != ENOTDIR && errno != ELOOP))
        return folder;
    struct stat status;
    if (fstatat(above, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
        return -1;
    errno = S_ISLNK(status.st_mode) ? EPERM : ENOTDIR;
    if (S_ISLNK(status.st_mode) && !is_last && is_trusted_owner(status.st_uid))
        return open_at(above, name, flags);
    return -1;
}

/* Open the folder at the end of a path, one name after the other. */
static int walk(const char *path, bool make)
{
    char name[NAME_MAX + 1];
    const char *start = *path == '/' ? "/" : ".";
    path += strspn(path, "/");
    int folder = open_at(AT_FDCWD, start, O_DIRECTORY | (*path ? O_PATH : O_RDONLY));
    while (folder >= 0 && *path) {
        const size_t length = strcspn(path, "/");
        const char *after = path + length + strspn(path + length, "/");
        int next = -1;
        errno = ENAMETOOLONG;
        if (length < sizeof name) {
            memcpy(name, path, length);
            name[length] = '\0';
            next = enter(folder, name, !*after, make);
        }
        rc_cl_user_close(folder);
        folder = next;
        path = after;
    }
    return folder;
}

int rc_cl_user_folder_open(bool make)
{
    char path[RC_PATH_BYTES];
    struct stat status;
    if (!rc_cl_user_folder(path))
        return -1;
    const int folder = walk(path, make);
    if (folder < 0 || is_trusted(folder, S_IFDIR, &status))
        return folder;
    rc_cl_user_close(folder);
    return -1;
}

bool rc_cl_user_folder_writable(int folder)
{
    return faccessat(folder, ".", W_OK | X_OK, 0) == 0;
}

void rc_cl_user_folder_lock(int folder)
{
    const struct timespec pause = { .tv_nsec = 5000000 };
    enum { ATTEMPTS = 2000 };
    for (int k = 0; k < ATTEMPTS && flock(folder, LOCK_EX | LOCK_NB) != 0; ++k) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return; /* a file system without locks */
        nanosleep(&pause, NULL);
    }
}

void rc_cl_user_folder_visit(int folder, rc_file_visitor visit, void *user)
{
    /* A descriptor of its own, which the stream closes. */
    const int list = open_at(folder, ".", O_DIRECTORY | O_RDONLY);
    DIR *stream = list < 0 ? NULL : fdopendir(list);
    if (!stream) {
        if (list >= 0)
            close(list);
        return;
    }
    for (struct dirent *entry; (entry = readdir(stream));) {
        struct stat status;
        if (fstatat(folder, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode))
            visit(folder, entry->d_name, &status, user);
    }
    closedir(stream);
}

/* ---- Reading ---- */

static char *read_all(int file, size_t size, size_t *bytes)
{
    char *content = malloc(size + 1);
    size_t done = 0;
    while (content && done < size) {
        const ssize_t got = read(file, content + done, size - done);
        if (got == 0)
            break; /* it became shorter */
        if (got > 0) {
            done += (size_t)got;
        } else if (errno != EINTR) {
            free(content);
            return NULL;
        }
    }
    if (content)
        content[done] = '\0';
    *bytes = done;
    return content;
}

char *rc_cl_user_file_read(int folder, const char *name, int64_t max_bytes, bool used, size_t *bytes)
{
    /* Without O_NONBLOCK, opening a FIFO would wait for its writer. */
    const int file = open_at(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0) {
        if (errno == ELOOP || errno == ENXIO)
            errno = EPERM; /* a link, or a socket */
        return NULL;
    }
    struct stat status;
    char *content = NULL;
    if (is_trusted(file, S_IFREG, &status)) {
        errno = EFBIG;
        if (status.st_size <= max_bytes)
            content = read_all(file, (size_t)status.st_size, bytes);
    }
    if (content && used)
        futimens(file, NULL);
    rc_cl_user_close(file);
    return content;
}

/* ---- Writing ---- */

static bool write_all(int file, const rc_part *part)
{
    for (size_t done = 0; done < part->bytes;) {
        const ssize_t written = write(file, (const char *)part->content + done, part->bytes - done);
        if (written > 0)
            done += (size_t)written;
        else if (written == 0 || errno != EINTR) {
            errno = written == 0 ? ENOSPC : errno;
            return false;
        }
    }
    return true;
}

/* Create a file that nobody else has; the clock makes its name differ from other threads' and machines'. */
static int create_unfinished(int folder, char name[UNFINISHED_BYTES])
{
    enum { ATTEMPTS = 100 };
    int file = -1;
    errno = EEXIST;
    for (int k = 0; k < ATTEMPTS && file < 0 && errno == EEXIST; ++k) {
        struct timespec now = { 0 };
        clock_gettime(CLOCK_REALTIME, &now);
        snprintf(name, UNFINISHED_BYTES, "%s%ld-%lld-%ld", unfinished_prefix, (long)getpid(),
                 (long long)now.tv_sec, now.tv_nsec);
        file = open_at(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW);
    }
    return file;
}

static bool sync_file(int file)
{
    int failed;
    do
        failed = fsync(file);
    while (failed && errno == EINTR);
    return !failed || errno == EINVAL; /* a file system that cannot */
}

static void remove_abandoned(int folder, const char *name, const struct stat *status, void *user)
{
    const time_t *now = user;
    const bool is_old =
        status->st_mtime < *now - UNFINISHED_SECONDS || status->st_mtime > *now + UNFINISHED_SECONDS;
    if (is_old && strncmp(name, unfinished_prefix, strlen(unfinished_prefix)) == 0)
        unlinkat(folder, name, 0);
}

bool rc_cl_user_file_replace(int folder, const char *name, const rc_part *parts, size_t count, bool durable)
{
    char unfinished[UNFINISHED_BYTES];
    const int file = create_unfinished(folder, unfinished);
    if (file < 0)
        return false;
    bool good = true;
    for (size_t k = 0; k < count; ++k)
        good = good && write_all(file, &parts[k]);
    good = good && (!durable || sync_file(file));
    if (good)
        good = close(file) == 0;
    else
        rc_cl_user_close(file);
    good = good && renameat(folder, unfinished, folder, name) == 0;
    if (!good) {
        const int error = errno;
        unlinkat(folder, unfinished, 0);
        errno = error;
        return false;
    }
    time_t now = time(NULL);
    rc_cl_user_folder_visit(folder, remove_abandoned, &now);
    return true;
}

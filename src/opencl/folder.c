/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L
#include "folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static bool compose(char path[RC_PATH_BYTES], const char *folder, const char *below)
{
    const int length = snprintf(path, RC_PATH_BYTES, "%s%s", folder, below);
    return length > 0 && length < RC_PATH_BYTES;
}

bool rc_cl_user_folder(char path[RC_PATH_BYTES])
{
    const char *own = getenv("RATECL_CACHE"), *caches = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (own)
        return compose(path, own, "");
    if (caches && *caches)
        return compose(path, caches, "/ratecl");
    return home && *home && compose(path, home, "/.cache/ratecl");
}

static bool is_folder(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

bool rc_cl_user_folder_make(char path[RC_PATH_BYTES])
{
    if (!rc_cl_user_folder(path))
        return false;
    for (char *end = path + 1; *end; ++end)
        if (*end == '/') {
            *end = '\0';
            const bool there = is_folder(path) || mkdir(path, 0700) == 0 || errno == EEXIST;
            *end = '/';
            if (!there)
                return false;
        }
    return is_folder(path) || mkdir(path, 0700) == 0 || errno == EEXIST;
}

static bool compose_file(char path[RC_PATH_BYTES], const char *folder, const char *name)
{
    const int length = snprintf(path, RC_PATH_BYTES, "%s/%s", folder, name);
    errno = ENAMETOOLONG;
    return length > 0 && length < RC_PATH_BYTES;
}

static char *read_all(int file, int64_t most, size_t *bytes)
{
    struct stat status;
    if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode))
        return NULL;
    const size_t size = (size_t)(status.st_size < most ? status.st_size : most);
    char *content = malloc(size + 1);
    *bytes = 0;
    for (ssize_t got = 1; content && got > 0; *bytes += got > 0 ? (size_t)got : 0)
        got = read(file, content + *bytes, size - *bytes);
    if (content)
        content[*bytes] = '\0';
    return content;
}

char *rc_cl_user_file_read(const char *name, int64_t most, bool used, size_t *bytes)
{
    char folder[RC_PATH_BYTES], path[RC_PATH_BYTES];
    if (!rc_cl_user_folder(folder) || !compose_file(path, folder, name))
        return NULL;
    errno = 0;
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return NULL;
    char *content = read_all(file, most, bytes);
    if (used)
        futimens(file, NULL);
    close(file);
    return content;
}

static bool write_all(int file, const rc_part *part)
{
    for (size_t done = 0; done < part->bytes;) {
        const ssize_t written = write(file, (const char *)part->content + done, part->bytes - done);
        if (written < 0)
            return false;
        done += (size_t)written;
    }
    return true;
}

bool rc_cl_user_file_replace(const char *name, const rc_part *parts, size_t count)
{
    char folder[RC_PATH_BYTES], path[RC_PATH_BYTES], unfinished[RC_PATH_BYTES];
    if (!rc_cl_user_folder_make(folder) || !compose_file(path, folder, name) ||
        !compose_file(unfinished, folder, RC_UNFINISHED "XXXXXX"))
        return false;
    const int file = mkstemp(unfinished);
    if (file < 0)
        return false;
    bool good = true;
    for (size_t k = 0; k < count; ++k)
        good = good && write_all(file, &parts[k]);
    good = close(file) == 0 && good && rename(unfinished, path) == 0;
    if (!good) {
        const int why = errno;
        unlink(unfinished);
        errno = why;
    }
    return good;
}

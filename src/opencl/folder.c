/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L
#include "folder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

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

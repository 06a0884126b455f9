/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_folder.h"

#include "../../src/opencl/folder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *file;
static size_t file_bytes;

void fake_file_remove(void)
{
    free(file);
    file = NULL;
}

/* Join parts in a block of just their size, so that reading beyond them is noticed. */
static char *join(const rc_part *parts, size_t count, size_t *bytes)
{
    *bytes = 0;
    for (size_t k = 0; k < count; ++k)
        *bytes += parts[k].bytes;
    char *content = malloc(*bytes + 1), *end = content;
    if (!content)
        abort();
    for (size_t k = 0; k < count; ++k)
        if (parts[k].bytes > 0) {
            memcpy(end, parts[k].content, parts[k].bytes);
            end += parts[k].bytes;
        }
    *end = '\0';
    return content;
}

void fake_file_put(const void *content, size_t bytes)
{
    const rc_part part = { content, bytes };
    char *copy = join(&part, 1, &file_bytes);
    fake_file_remove();
    file = copy;
}

const char *fake_file(size_t *bytes)
{
    *bytes = file_bytes;
    return file;
}

bool rc_cl_user_folder(char path[RC_PATH_BYTES])
{
    snprintf(path, RC_PATH_BYTES, "folder");
    return true;
}

int rc_cl_user_folder_open(bool make)
{
    (void)make;
    return 0;
}

bool rc_cl_user_folder_writable(int folder)
{
    (void)folder;
    return true;
}

void rc_cl_user_folder_lock(int folder)
{
    (void)folder;
}

void rc_cl_user_folder_visit(int folder, rc_file_visitor visit, void *user)
{
    (void)folder;
    (void)visit;
    (void)user;
}

char *rc_cl_user_file_read(int folder, const char *name, int64_t max_bytes, bool used, size_t *bytes)
{
    (void)folder;
    (void)name;
    (void)used;
    errno = file ? EFBIG : ENOENT;
    if (!file || (int64_t)file_bytes > max_bytes)
        return NULL;
    const rc_part part = { file, file_bytes };
    return join(&part, 1, bytes);
}

bool rc_cl_user_file_replace(int folder, const char *name, const rc_part *parts, size_t count, bool durable)
{
    (void)folder;
    (void)name;
    (void)durable;
    size_t bytes;
    char *content = join(parts, count, &bytes);
    fake_file_remove();
    file = content;
    file_bytes = bytes;
    return true;
}

void rc_cl_user_close(int descriptor)
{
    (void)descriptor;
}

const char *rc_cl_user_error(int error)
{
    return strerror(error);
}

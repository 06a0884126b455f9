/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* nftw() */
#include "user_folder.h"

#include "suite.h"

#include <dirent.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

char user_folder[64], user_elsewhere[80];

void user_folder_make(void)
{
    snprintf(user_folder, sizeof user_folder, "/tmp/ratecl-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(user_folder));
    snprintf(user_elsewhere, sizeof user_elsewhere, "%s.elsewhere", user_folder);
    ck_assert_int_eq(mkdir(user_elsewhere, 0700), 0);
    ck_assert_int_eq(setenv("RATECL_CACHE", user_folder, 1), 0);
}

/* Call `visit`, if there is one, for each file of a folder of which the name begins and ends so. */
static int visit_files(const char *folder, const char *prefix, const char *suffix, file_function visit)
{
    int count = 0;
    DIR *stream = opendir(folder);
    if (!stream)
        return 0;
    for (struct dirent *entry; (entry = readdir(stream));) {
        char path[400];
        const size_t length = strlen(entry->d_name), end = strlen(suffix);
        if (entry->d_name[0] == '.' || strncmp(entry->d_name, prefix, strlen(prefix)) != 0 || length < end ||
            strcmp(entry->d_name + length - end, suffix) != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        count++;
        if (visit)
            visit(path);
    }
    closedir(stream);
    return count;
}

int each_file(const char *suffix, file_function visit)
{
    return visit_files(user_folder, "", suffix, visit);
}

int files_that_begin(const char *folder, const char *prefix)
{
    return visit_files(folder, prefix, "", NULL);
}

void remove_file(const char *path)
{
    ck_assert_int_eq(unlink(path), 0);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

void user_folder_remove(void)
{
    ck_assert_int_eq(nftw(user_folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
    ck_assert_int_eq(nftw(user_elsewhere, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
    ck_assert_int_eq(setenv("RATECL_CACHE", "", 1), 0);
}

unsigned char *read_file(const char *path, size_t *bytes)
{
    struct stat status;
    ck_assert_int_eq(stat(path, &status), 0);
    *bytes = (size_t)status.st_size;
    unsigned char *content = suite_allocate(*bytes + 1);
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fread(content, 1, *bytes, file), *bytes);
    fclose(file);
    return content;
}

void write_file(const char *path, const void *content, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(content, 1, bytes, file), bytes);
    ck_assert_int_eq(fclose(file), 0);
}

void seal_line(char *line, size_t size, const char *beginning, const char *parameters)
{
    const int length = snprintf(line, size, "%s%s\t", beginning, parameters);
    ck_assert_int_lt(length + 18, (int)size);
    uint64_t checksum = UINT64_C(0xcbf29ce484222325);
    for (int k = 0; k < length; k++)
        checksum = (checksum ^ (unsigned char)line[k]) * UINT64_C(0x100000001b3);
    snprintf(line + length, size - (size_t)length, "%016" PRIx64 "\n", checksum);
}

/* ---- What must not be trusted ---- */

/* Move a file or folder elsewhere, to where `path` can point. */
static bool move_away(const char *path, char target[400])
{
    snprintf(target, 400, "%s%s", user_elsewhere, strrchr(path, '/'));
    return rename(path, target) == 0;
}

static bool make_link(const char *path)
{
    char target[400];
    return move_away(path, target) && symlink(target, path) == 0;
}

static bool make_group_writable(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && chmod(path, (status.st_mode & 0777) | S_IWGRP) == 0;
}

static bool make_world_writable(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && chmod(path, (status.st_mode & 0777) | S_IWOTH) == 0;
}

static bool make_foreign(const char *path)
{
    enum { ANOTHER_USER = 12345 };
    return chown(path, ANOTHER_USER, (gid_t)-1) == 0;
}

static bool make_fifo(const char *path)
{
    char target[400];
    return move_away(path, target) && mkfifo(path, 0600) == 0;
}

/* One that gives zeros without end. */
static bool make_device(const char *path)
{
    char target[400];
    return move_away(path, target) && mknod(path, S_IFCHR | 0600, makedev(1, 5)) == 0;
}

static bool make_socket(const char *path)
{
    char target[400];
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    const int made = socket(AF_UNIX, SOCK_STREAM, 0);
    const bool bound = made >= 0 && move_away(path, target) &&
                       bind(made, (const struct sockaddr *)&address, sizeof address) == 0;
    close(made);
    return bound;
}

static bool make_folder(const char *path)
{
    char target[400];
    return move_away(path, target) && mkdir(path, 0700) == 0;
}

static bool make_huge(const char *path)
{
    return truncate(path, (off_t)1 << 34) == 0;
}

const hostile hostile_files[HOSTILE_FILES] = {
    { "a link", make_link },
    { "a file that the group may write", make_group_writable },
    { "a file that all may write", make_world_writable },
    { "a file of another user", make_foreign },
    { "a FIFO", make_fifo },
    { "a device", make_device },
    { "a socket", make_socket },
    { "a folder", make_folder },
    { "a huge file", make_huge },
};

const hostile hostile_folders[HOSTILE_FOLDERS] = {
    { "a link to a folder", make_link },
    { "a folder that the group may write to", make_group_writable },
    { "a folder that all may write to", make_world_writable },
    { "a folder of another user", make_foreign },
    { "a FIFO for a folder", make_fifo },
    { "a socket for a folder", make_socket },
};

int open_descriptors(void)
{
    int count = 0;
    DIR *stream = opendir("/proc/self/fd");
    while (stream && readdir(stream))
        count++;
    if (stream)
        closedir(stream);
    return count;
}

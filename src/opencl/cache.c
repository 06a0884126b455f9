/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L
#include "cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "folder.h"

/* All files together; those not used for longest go first. */
static const int64_t limit_bytes = 64 << 20;
static const char suffix[] = ".program";
enum { UNFINISHED_SECONDS = 3600 };

/* ---- Whether there is a cache ---- */

/* Platforms that keep compiled programs on disk themselves: a second copy would gain nothing there. */
static const char *const keeping[] = {
    "Portable Computing Language", /* POCL_CACHE_DIR; to give a binary it compiles each kernel a second time
                                    */
    "NVIDIA CUDA",                 /* ~/.nv/ComputeCache */
    "rusticl",                     /* ~/.cache/mesa_shader_cache, as Clover */
    "Clover",
};

static bool keeps_programs(const char *platform)
{
    for (size_t k = 0; k < sizeof keeping / sizeof *keeping; ++k)
        if (strcmp(platform, keeping[k]) == 0)
            return true;
    return false;
}

void rc_cl_cache_open(rc_cl_cache *cache, cl_device_id device, ratecl_program_cache wanted)
{
    cl_platform_id platform;
    char name[256], version[256], device_name[256], device_version[256], driver[128];
    if (clGetDeviceInfo(device, CL_DEVICE_PLATFORM, sizeof platform, &platform, NULL) != CL_SUCCESS ||
        clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof name, name, NULL) != CL_SUCCESS ||
        clGetPlatformInfo(platform, CL_PLATFORM_VERSION, sizeof version, version, NULL) != CL_SUCCESS ||
        clGetDeviceInfo(device, CL_DEVICE_NAME, sizeof device_name, device_name, NULL) != CL_SUCCESS ||
        clGetDeviceInfo(device, CL_DEVICE_VERSION, sizeof device_version, device_version, NULL) !=
            CL_SUCCESS ||
        clGetDeviceInfo(device, CL_DRIVER_VERSION, sizeof driver, driver, NULL) != CL_SUCCESS)
        return;
    const int length = snprintf(cache->identity, sizeof cache->identity, "ratecl %s\n%s\n%s\n%s\n%s\n%s\n",
                                ratecl_version(), name, version, device_name, device_version, driver);
    const bool complete = length > 0 && (size_t)length < sizeof cache->identity;
    const bool on = wanted == RATECL_PROGRAM_CACHE_ON ||
                    (wanted == RATECL_PROGRAM_CACHE_DEFAULT && !keeps_programs(name));
    char folder[RC_PATH_BYTES];
    cache->on = on && complete && rc_cl_user_folder(folder);
}

/* ---- A file: header, key, binary ---- */

typedef struct header {
    char magic[16];
    uint64_t key_bytes, binary_bytes;
    uint64_t checksum; /* of key and binary */
} header;

static const char magic[16] = "ratecl program 1";

/* Fowler, Noll and Vo's hash: a single wrong byte always changes it. */
static uint64_t hash(uint64_t start, const void *bytes, size_t count)
{
    const unsigned char *byte = bytes;
    for (size_t k = 0; k < count; ++k)
        start = (start ^ byte[k]) * UINT64_C(0x100000001b3);
    return start;
}
static const uint64_t hash_start = UINT64_C(0xcbf29ce484222325);

/* All that a binary depends on; the caller frees it. */
static char *key_of(const rc_cl_cache *cache, const rc_cl_recipe *recipe, size_t *bytes)
{
    const char *const parts[] = { cache->identity,  recipe->options,  "\n",
                                  recipe->texts[0], recipe->texts[1], recipe->texts[2] };
    enum { PARTS = sizeof parts / sizeof *parts };
    size_t length = 0;
    for (size_t k = 0; k < PARTS; ++k)
        length += strlen(parts[k]);
    char *key = malloc(length + 1), *end = key;
    for (size_t k = 0; key && k < PARTS; ++k) {
        const size_t part = strlen(parts[k]);
        memcpy(end, parts[k], part + 1);
        end += part;
    }
    *bytes = length;
    return key;
}

enum { NAME_BYTES = 16 + sizeof suffix };

static void name_of(const char *key, size_t key_bytes, char name[NAME_BYTES])
{
    snprintf(name, NAME_BYTES, "%016" PRIx64 "%s", hash(hash_start, key, key_bytes), suffix);
}

/* ---- Reading ---- */

/* The binary in a file's bytes, where they are those of this key. */
static const unsigned char *binary_in(const char *content, size_t bytes, const char *key, size_t key_bytes,
                                      size_t *binary_bytes)
{
    header head;
    if (bytes < sizeof head)
        return NULL;
    memcpy(&head, content, sizeof head);
    const size_t rest = bytes - sizeof head;
    const unsigned char *body = (const unsigned char *)content + sizeof head;
    if (memcmp(head.magic, magic, sizeof magic) != 0 || head.key_bytes != key_bytes || rest < key_bytes ||
        head.binary_bytes != rest - key_bytes || head.binary_bytes == 0 ||
        memcmp(body, key, key_bytes) != 0 || head.checksum != hash(hash_start, body, rest))
        return NULL;
    *binary_bytes = rest - key_bytes;
    return body + key_bytes;
}

static cl_program program_of(cl_context context, cl_device_id device, const unsigned char *binary,
                             size_t bytes, const char *options)
{
    cl_int accepted = CL_SUCCESS, code;
    cl_program program = clCreateProgramWithBinary(context, 1, &device, &bytes, &binary, &accepted, &code);
    if (!program)
        return NULL;
    if (accepted == CL_SUCCESS && code == CL_SUCCESS &&
        clBuildProgram(program, 1, &device, options, NULL, NULL) == CL_SUCCESS)
        return program;
    clReleaseProgram(program);
    return NULL;
}

cl_program rc_cl_cache_load(const rc_cl_cache *cache, cl_context context, cl_device_id device,
                            const rc_cl_recipe *recipe)
{
    if (!cache->on)
        return NULL;
    size_t key_bytes, bytes, binary_bytes;
    char *key = key_of(cache, recipe, &key_bytes), name[NAME_BYTES];
    if (!key)
        return NULL;
    name_of(key, key_bytes, name);
    cl_program program = NULL;
    char *content = rc_cl_user_file_read(name, limit_bytes, true, &bytes);
    const unsigned char *binary = content ? binary_in(content, bytes, key, key_bytes, &binary_bytes) : NULL;
    if (binary)
        program = program_of(context, device, binary, binary_bytes, recipe->options);
    free(content);
    free(key);
    return program;
}

/* ---- The bound ---- */

typedef struct found {
    char name[64];
    int64_t bytes;
    struct timespec used;
} found;

static int by_use(const void *left, const void *right)
{
    const found *a = left, *b = right;
    if (a->used.tv_sec != b->used.tv_sec)
        return a->used.tv_sec < b->used.tv_sec ? -1 : 1;
    if (a->used.tv_nsec != b->used.tv_nsec)
        return a->used.tv_nsec < b->used.tv_nsec ? -1 : 1;
    return strcmp(a->name, b->name);
}

static bool ends_so(const char *name, const char *end)
{
    const size_t length = strlen(name), end_length = strlen(end);
    return length >= end_length && strcmp(name + length - end_length, end) == 0;
}

/* A program's file; one that nobody will finish is removed. */
static bool describe(int folder, const char *name, found *file)
{
    struct stat status;
    if (strlen(name) >= sizeof file->name || fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(status.st_mode))
        return false;
    if (strncmp(name, RC_UNFINISHED, strlen(RC_UNFINISHED)) == 0) {
        if (status.st_mtime < time(NULL) - UNFINISHED_SECONDS)
            unlinkat(folder, name, 0);
        return false;
    }
    if (!ends_so(name, suffix))
        return false;
    memcpy(file->name, name, strlen(name) + 1);
    file->bytes = status.st_size;
    file->used = status.st_mtim;
    return true;
}

/* Remove what was not used for longest until the rest is within the bound. */
static void keep_bound(void)
{
    char folder[RC_PATH_BYTES];
    DIR *stream = rc_cl_user_folder(folder) ? opendir(folder) : NULL;
    if (!stream)
        return;
    found *files = NULL;
    size_t count = 0, capacity = 0;
    int64_t total = 0;
    for (struct dirent *entry; (entry = readdir(stream));) {
        if (count == capacity) {
            capacity = capacity ? 2 * capacity : 64;
            found *longer = realloc(files, capacity * sizeof *files);
            if (!longer)
                break;
            files = longer;
        }
        if (describe(dirfd(stream), entry->d_name, &files[count]))
            total += files[count++].bytes;
    }
    if (total > limit_bytes)
        qsort(files, count, sizeof *files, by_use);
    for (size_t k = 0; k < count && total > limit_bytes; ++k) {
        unlinkat(dirfd(stream), files[k].name, 0);
        total -= files[k].bytes;
    }
    free(files);
    closedir(stream);
}

/* ---- Writing ---- */

/* The binary of a program that was built for one device; the caller frees it. */
static unsigned char *binary_of(cl_program program, size_t *bytes)
{
    *bytes = 0;
    if (clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof *bytes, bytes, NULL) != CL_SUCCESS ||
        *bytes == 0 || (int64_t)*bytes > limit_bytes / 4)
        return NULL;
    unsigned char *binary = malloc(*bytes);
    if (binary && clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL) == CL_SUCCESS)
        return binary;
    free(binary);
    return NULL;
}

bool rc_cl_cache_store(const rc_cl_cache *cache, cl_program program, const rc_cl_recipe *recipe)
{
    if (!cache->on)
        return false;
    size_t key_bytes, binary_bytes;
    char *key = key_of(cache, recipe, &key_bytes);
    unsigned char *binary = key ? binary_of(program, &binary_bytes) : NULL;
    bool kept = false;
    if (binary) {
        char name[NAME_BYTES];
        header head = { .key_bytes = key_bytes, .binary_bytes = binary_bytes };
        memcpy(head.magic, magic, sizeof magic);
        head.checksum = hash(hash(hash_start, key, key_bytes), binary, binary_bytes);
        const rc_part parts[] = { { &head, sizeof head }, { key, key_bytes }, { binary, binary_bytes } };
        name_of(key, key_bytes, name);
        kept = rc_cl_user_file_replace(name, parts, 3);
    }
    if (kept)
        keep_bound();
    free(binary);
    free(key);
    return kept;
}

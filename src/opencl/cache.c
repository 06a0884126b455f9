/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L
#include "cache.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "folder.h"
#include "hash.h"

/* All files together; those not used for longest go first. */
static const int64_t limit_bytes = 64 << 20;
static const char suffix[] = ".program";

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
    snprintf(name, NAME_BYTES, "%016" PRIx64 "%s", rc_hash(RC_HASH_START, key, key_bytes), suffix);
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
        memcmp(body, key, key_bytes) != 0 || head.checksum != rc_hash(RC_HASH_START, body, rest))
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

static char *read_file(const char *name, size_t *bytes)
{
    const int folder = rc_cl_user_folder_open(false);
    if (folder < 0)
        return NULL;
    char *content = rc_cl_user_file_read(folder, name, limit_bytes, true, bytes);
    rc_cl_user_close(folder);
    return content;
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
    char *content = read_file(name, &bytes);
    const unsigned char *binary = content ? binary_in(content, bytes, key, key_bytes, &binary_bytes) : NULL;
    if (binary)
        program = program_of(context, device, binary, binary_bytes, recipe->options);
    free(content);
    free(key);
    return program;
}

/* ---- The bound ---- */

typedef struct found {
    char name[NAME_BYTES];
    int64_t bytes;
    struct timespec used;
} found;

typedef struct found_list {
    found *files;
    size_t count, capacity;
    int64_t total_bytes;
} found_list;

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

/* Add a program's file to the list; where memory runs out, it stays unlisted. */
static void list_program(int folder, const char *name, const struct stat *status, void *user)
{
    (void)folder;
    found_list *list = user;
    if (strlen(name) != NAME_BYTES - 1 || !ends_so(name, suffix))
        return;
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity ? 2 * list->capacity : 64;
        found *longer = realloc(list->files, capacity * sizeof *longer);
        if (!longer)
            return;
        list->files = longer;
        list->capacity = capacity;
    }
    found *file = &list->files[list->count++];
    memcpy(file->name, name, NAME_BYTES);
    file->bytes = status->st_size;
    file->used = status->st_mtim;
    list->total_bytes += status->st_size;
}

/* Remove what was not used for longest until the rest is within the bound. */
static void keep_bound(int folder)
{
    found_list list = { NULL, 0, 0, 0 };
    rc_cl_user_folder_visit(folder, list_program, &list);
    if (list.total_bytes > limit_bytes)
        qsort(list.files, list.count, sizeof *list.files, by_use);
    for (size_t k = 0; k < list.count && list.total_bytes > limit_bytes; ++k) {
        unlinkat(folder, list.files[k].name, 0);
        list.total_bytes -= list.files[k].bytes;
    }
    free(list.files);
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

/* Whatever damage a crash of the machine does, the checksum finds: waiting for the disk would gain nothing.
 */
static bool write_file(const char *name, const rc_part *parts, size_t count)
{
    const int folder = rc_cl_user_folder_open(true);
    if (folder < 0)
        return false;
    const bool kept = rc_cl_user_file_replace(folder, name, parts, count, false);
    if (kept)
        keep_bound(folder);
    rc_cl_user_close(folder);
    return kept;
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
        head.checksum = rc_hash(rc_hash(RC_HASH_START, key, key_bytes), binary, binary_bytes);
        const rc_part parts[] = { { &head, sizeof head }, { key, key_bytes }, { binary, binary_bytes } };
        name_of(key, key_bytes, name);
        kept = write_file(name, parts, 3);
    }
    free(binary);
    free(key);
    return kept;
}

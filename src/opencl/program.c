/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel sources, embedded or from a developer's folder, and their programs. */
#define _POSIX_C_SOURCE 200809L
#include "program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "cl.h"
#include "workers.h"

/* The whole of a file; the caller frees it. */
static ratecl_status read_file(const char *folder, const char *file, char **text)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *stream = fopen(path, "rb");
    if (!stream)
        return rc_fail(RATECL_ERROR_BUILD, "RATECL_KERNELS names %s: expected %s to be readable", folder,
                       path);
    size_t used = 0, capacity = 1 << 16;
    char *content = malloc(capacity);
    while (content) {
        used += fread(content + used, 1, capacity - 1 - used, stream);
        if (used + 1 < capacity)
            break;
        char *longer = realloc(content, capacity *= 2);
        if (!longer)
            free(content);
        content = longer;
    }
    const bool bad = content && ferror(stream);
    fclose(stream);
    if (!content)
        return rc_fail_memory(capacity);
    if (bad) {
        free(content);
        return rc_fail(RATECL_ERROR_BUILD, "%s could not be read", path);
    }
    content[used] = '\0';
    *text = content;
    return RATECL_OK;
}

/* The text of a kernel file; *owned is to be freed, and NULL for an embedded one. */
static ratecl_status source_of(const char *file, const char **text, char **owned)
{
    *owned = NULL;
    const char *folder = getenv("RATECL_KERNELS");
    if (folder && *folder) {
        RC_TRY(read_file(folder, file, owned));
        *text = *owned;
        return RATECL_OK;
    }
    for (const rc_kernel_source *source = rc_kernel_sources; source->file; ++source)
        if (strcmp(source->file, file) == 0)
            *text = source->text;
    return RATECL_OK;
}

/* True if a folder's file system has no room; a folder that is not there yet counts as its parent. */
static bool is_full(const char *folder)
{
    enum { ROOM_BYTES = 1 << 20 };
    char path[4096];
    struct statvfs facts;
    snprintf(path, sizeof path, "%s", folder);
    while (statvfs(path, &facts) != 0) {
        char *slash = strrchr(path, '/');
        if (!slash || slash == path)
            return false;
        *slash = '\0';
    }
    return (uint64_t)facts.f_bavail * facts.f_frsize < ROOM_BYTES ||
           (facts.f_files > 0 && facts.f_favail == 0);
}

/* Drivers write what they compile to disk, and say nothing of use where that fails. PoCL takes the first of
 * the first three folders for which the variable is set. */
static void append_full_disk(void)
{
    static const struct {
        const char *variable, *below;
        bool cache;
    } folders[] = {
        { "POCL_CACHE_DIR", "", true },
        { "XDG_CACHE_HOME", "", true },
        { "HOME", "/.cache", true },
        { "TMPDIR", "", false },
    };
    bool cache_found = false;
    for (size_t k = 0; k < sizeof folders / sizeof *folders; ++k) {
        char folder[4096], hint[sizeof folder + 256];
        const char *value = getenv(folders[k].variable);
        if (!value || !*value || (folders[k].cache && cache_found))
            continue;
        cache_found |= folders[k].cache;
        snprintf(folder, sizeof folder, "%s%s", value, folders[k].below);
        snprintf(
            hint, sizeof hint,
            "\nThe disk of %s (%s) is full: drivers keep what they compile there. Free some space, or set "
            "POCL_CACHE_DIR (for PoCL) or XDG_CACHE_HOME to a folder on another disk.",
            folder, folders[k].variable);
        if (is_full(folder))
            rc_message_append(hint);
    }
}

static void append_build_log(const rc_cl_context *context, cl_program program)
{
    size_t bytes = 0;
    if (clGetProgramBuildInfo(program, context->device, CL_PROGRAM_BUILD_LOG, 0, NULL, &bytes) != CL_SUCCESS)
        return;
    char *log = malloc(bytes + 1);
    if (log && clGetProgramBuildInfo(program, context->device, CL_PROGRAM_BUILD_LOG, bytes, log, NULL) ==
                   CL_SUCCESS) {
        log[bytes] = '\0';
        rc_message_append(log);
    }
    free(log);
}

static ratecl_status compile(const rc_cl_context *context, const rc_cl_recipe *recipe, cl_program *program)
{
    cl_int code;
    const char *sources[3]; /* OpenCL wants an array that is not const */
    memcpy(sources, recipe->texts, sizeof sources);
    *program = clCreateProgramWithSource(context->context, 3, sources, NULL, &code);
    if (!*program)
        return rc_cl_fail("clCreateProgramWithSource", code);
    code = clBuildProgram(*program, 1, &context->device, recipe->options, NULL, NULL);
    if (code == CL_SUCCESS)
        return RATECL_OK;
    /* The source has no part in these. CL_OUT_OF_RESOURCES may be a kernel's own fault, which the log tells.
     */
    if (code == CL_OUT_OF_HOST_MEMORY || code == CL_MEM_OBJECT_ALLOCATION_FAILURE) {
        clReleaseProgram(*program);
        return rc_cl_fail("clBuildProgram", code);
    }
    rc_message("%s did not compile (clBuildProgram gives %d) with %s:\n", recipe->file, (int)code,
               recipe->options);
    append_build_log(context, *program);
    append_full_disk();
    clReleaseProgram(*program);
    return RATECL_ERROR_BUILD;
}

/* Where a program came from, as the log tells it. */
typedef enum origin { OF_CONTEXT, COMPILED, COMPILED_AND_KEPT, COMPILED_UNDECLARED, LOADED } origin;
static const char *const origin_names[] = {
    [COMPILED] = "compiled",
    [COMPILED_AND_KEPT] = "compiled and kept",
    [COMPILED_UNDECLARED] = "compiled with more than declarations.cl",
    [LOADED] = "loaded",
};

static ratecl_status load_or_compile(const rc_cl_context *context, const rc_cl_recipe *recipe,
                                     cl_program *program, origin *from)
{
    *program = rc_cl_cache_load(&context->cache, context->context, context->device, recipe);
    *from = LOADED;
    if (*program)
        return RATECL_OK;
    RC_TRY(compile(context, recipe, program));
    *from = rc_cl_cache_store(&context->cache, *program, recipe) ? COMPILED_AND_KEPT : COMPILED;
    return RATECL_OK;
}

/* Platforms that read a header of all functions before each program, which takes longer than the program
 * itself, with what makes them skip it: declarations.cl is enough, and where it is not, the header is read.
 * PoCL 3.1 reads clang's opencl-c.h, a megabyte. */
typedef struct long_header {
    const char *platform, *skip;
} long_header;
static const long_header long_headers[] = {
    { "Portable Computing Language", "-D_OPENCL_H_" },
};

static const char *header_skip(const rc_cl_context *context)
{
    for (size_t k = 0; k < sizeof long_headers / sizeof *long_headers; ++k)
        if (strcmp(context->info.platform, long_headers[k].platform) == 0)
            return long_headers[k].skip;
    return NULL;
}

static ratecl_status build_declared(const rc_cl_context *context, const rc_cl_recipe *recipe,
                                    cl_program *program, origin *from)
{
    const char *skip = header_skip(context);
    if (skip) {
        char options[1024];
        snprintf(options, sizeof options, "%s %s", skip, recipe->options);
        rc_cl_recipe declared = *recipe;
        declared.options = options;
        const ratecl_status status = load_or_compile(context, &declared, program, from);
        if (status != RATECL_ERROR_BUILD)
            return status;
    }
    rc_cl_recipe plain = *recipe;
    plain.texts[0] = "";
    RC_TRY(load_or_compile(context, &plain, program, from));
    if (skip && *from != LOADED)
        *from = COMPILED_UNDECLARED;
    return RATECL_OK;
}

static ratecl_status build(const rc_cl_context *context, const char *file, const char *options,
                           cl_program *program, origin *from)
{
    const char *const files[] = { "declarations.cl", "prelude.cl", file };
    rc_cl_recipe recipe = { .file = file, .options = options, .texts = { "", "", "" } };
    char *owned[3] = { NULL, NULL, NULL };
    ratecl_status status = RATECL_OK;
    for (int k = 0; k < 3 && status == RATECL_OK; ++k)
        status = source_of(files[k], &recipe.texts[k], &owned[k]);
    if (status == RATECL_OK)
        status = build_declared(context, &recipe, program, from);
    for (int k = 0; k < 3; ++k)
        free(owned[k]);
    return status;
}

enum { KEY_BYTES = 1024 };

static void make_key(char key[KEY_BYTES], const char *file, const char *options)
{
    snprintf(key, KEY_BYTES, "%s %s", file, options);
}

/* Return the context's program of that key; NULL if there is none. The caller holds the lock. */
static cl_program find(const rc_cl_context *context, const char *key)
{
    for (const rc_cl_program *p = context->programs; p; p = p->next)
        if (strcmp(p->key, key) == 0)
            return p->program;
    return NULL;
}

/* Hand a program over to the context; it is released where that fails. The caller holds the lock. */
static ratecl_status keep(rc_cl_context *context, const char *key, cl_program program)
{
    rc_cl_program *made = calloc(1, sizeof *made);
    char *copy = malloc(strlen(key) + 1);
    if (!made || !copy) {
        free(made);
        free(copy);
        clReleaseProgram(program);
        return rc_fail_memory(strlen(key) + 1);
    }
    memcpy(copy, key, strlen(key) + 1);
    *made = (rc_cl_program){ context->programs, copy, program };
    context->programs = made;
    return RATECL_OK;
}

/* The context's program of that key, built if it is new; the caller holds the lock. */
static ratecl_status find_or_build(rc_cl_context *context, const char *file, const char *options,
                                   const char *key, cl_program *program, origin *from)
{
    *from = OF_CONTEXT;
    *program = find(context, key);
    if (*program)
        return RATECL_OK;
    RC_TRY(build(context, file, options, program, from));
    return keep(context, key, *program);
}

/* Told while no lock is held. */
static void tell(const rc_cl_context *context, origin from, const char *key)
{
    char line[1100];
    if (from == OF_CONTEXT || !context->log)
        return;
    snprintf(line, sizeof line, "program %s: %s", origin_names[from], key);
    context->log(line, context->log_user);
}

ratecl_status rc_cl_kernel(rc_cl_context *context, const char *file, const char *options, const char *name,
                           cl_kernel *kernel)
{
    char key[KEY_BYTES];
    make_key(key, file, options);
    cl_program program = NULL;
    origin from;
    pthread_mutex_lock(&context->lock);
    const ratecl_status status = find_or_build(context, file, options, key, &program, &from);
    cl_int code = CL_SUCCESS;
    cl_kernel made = status == RATECL_OK ? clCreateKernel(program, name, &code) : NULL;
    pthread_mutex_unlock(&context->lock);

    if (status != RATECL_OK)
        return status;
    if (!made)
        return rc_cl_fail("clCreateKernel", code);
    tell(context, from, key);
    *kernel = made;
    return RATECL_OK;
}

/* ---- Several programs at once ---- */

typedef struct job {
    char key[KEY_BYTES];
    const rc_cl_wanted *wanted;
    cl_program program; /* NULL where it did not compile */
    origin from;
} job;

typedef struct jobs {
    const rc_cl_context *context;
    job *all;
    size_t count, next; /* `next` is under the lock */
    pthread_mutex_t lock;
} jobs;

/* True if the driver compiles programs side by side. CPU drivers gain nothing from more than one thread:
 * PoCL 3.1 holds a lock of its own, and rusticl and Intel's runtime took as long with two on two cores. */
static bool compiles_in_parallel(const rc_cl_context *context)
{
    const ratecl_device_kind kind = context->info.kind;
    return kind == RATECL_DEVICE_GPU || kind == RATECL_DEVICE_ACCELERATOR;
}

/* Take jobs until none is left. */
static void run_jobs(void *argument, int part, int parts)
{
    jobs *shared = argument;
    (void)part;
    (void)parts;
    for (;;) {
        pthread_mutex_lock(&shared->lock);
        const size_t k = shared->next++;
        pthread_mutex_unlock(&shared->lock);
        if (k >= shared->count)
            return;
        job *mine = &shared->all[k];
        if (build(shared->context, mine->wanted->file, mine->wanted->options, &mine->program, &mine->from) !=
            RATECL_OK)
            mine->program = NULL;
    }
}

static void run_in_parallel(jobs *shared)
{
    rc_workers *workers = rc_workers_create();
    if (!workers)
        return;
    if (pthread_mutex_init(&shared->lock, NULL) == 0) {
        rc_workers_run(workers, run_jobs, shared);
        pthread_mutex_destroy(&shared->lock);
    }
    rc_workers_release(workers);
}

/* True if the program is neither in the context nor among the jobs. */
static bool is_new(const rc_cl_context *context, const jobs *so_far, const char *key)
{
    for (size_t k = 0; k < so_far->count; ++k)
        if (strcmp(so_far->all[k].key, key) == 0)
            return false;
    return !find(context, key);
}

void rc_cl_compile_ahead(rc_cl_context *context, const rc_cl_wanted *wanted, size_t count)
{
    jobs shared = { .context = context, .all = calloc(count + 1, sizeof *shared.all) };
    if (!shared.all)
        return;
    pthread_mutex_lock(&context->lock);
    for (size_t k = 0; k < count; ++k) {
        job *made = &shared.all[shared.count];
        make_key(made->key, wanted[k].file, wanted[k].options);
        made->wanted = &wanted[k];
        shared.count += is_new(context, &shared, made->key);
    }
    if (shared.count > 1 && compiles_in_parallel(context))
        run_in_parallel(&shared);
    for (size_t k = 0; k < shared.count; ++k)
        if (shared.all[k].program && keep(context, shared.all[k].key, shared.all[k].program) != RATECL_OK)
            shared.all[k].program = NULL;
    pthread_mutex_unlock(&context->lock);
    for (size_t k = 0; k < shared.count; ++k)
        if (shared.all[k].program)
            tell(context, shared.all[k].from, shared.all[k].key);
    free(shared.all);
}

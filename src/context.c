/* SPDX-License-Identifier: Apache-2.0 */
/* Which device a name means, and the context that holds it. */
#define _GNU_SOURCE /* strcasestr */

#include "context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef RATECL_WITH_OPENCL
#include "opencl/path.h"
#endif

/* ---- The list of devices ---- */

/* Describe the OpenMP path. */
static ratecl_status describe_cpu(ratecl_device_info *info)
{
    void *cpu;
    RC_TRY(rc_cpu_context_create(0, &cpu));
    rc_cpu_path.device_info(cpu, info);
    rc_cpu_path.context_release(cpu);
    return RATECL_OK;
}

/* List all OpenCL devices in the order of the platforms, then the OpenMP path. The caller frees the list.
 * Where a driver failed, *failure is its status and the OpenMP path has a note of it. */
static ratecl_status device_list(ratecl_device_info **list, size_t *count, ratecl_status *failure)
{
    ratecl_device_info cpu;
    *count = 0;
    *list = NULL;
    *failure = RATECL_OK;
    RC_TRY(describe_cpu(&cpu));
#ifdef RATECL_WITH_OPENCL
    *failure = rc_cl_device_list(list, count);
    if (*failure != RATECL_OK)
        snprintf(cpu.note, sizeof cpu.note, "OpenCL devices may be missing: %s", ratecl_last_error());
#endif
    ratecl_device_info *longer = realloc(*list, (*count + 1) * sizeof **list);
    if (!longer) {
        free(*list);
        return rc_fail_memory((*count + 1) * sizeof **list);
    }
    *list = longer;
    longer[*count] = cpu;
    *count += 1;
    return RATECL_OK;
}

/* "P.D": two whole numbers. */
static bool is_number_pair(const char *text)
{
    const size_t platform = strspn(text, "0123456789");
    if (platform == 0 || text[platform] != '.')
        return false;
    const size_t device = strspn(text + platform + 1, "0123456789");
    return device > 0 && text[platform + 1 + device] == '\0';
}

/* The first device of the best kind among the first `count`; `count` where there is none. */
static size_t best_of(const ratecl_device_info *list, size_t count)
{
    size_t best = count;
    for (size_t k = 0; k < count; ++k)
        if (best == count || list[k].kind < list[best].kind)
            best = k;
    return best;
}

/* The device that `name` means; `count` where there is none. The OpenMP path is the last one. */
static size_t find_device(const ratecl_device_info *list, size_t count, const char *name)
{
    const size_t opencl_count = count - 1;
    if (!name)
        return best_of(list, count);
    if (strcmp(name, "cpu") == 0)
        return opencl_count;
    if (strncmp(name, "opencl", 6) != 0 || (name[6] != '\0' && name[6] != ':'))
        return count;
    const char *text = name[6] ? name + 7 : "";
    size_t found;
    if (*text == '\0') {
        found = best_of(list, opencl_count);
    } else if (is_number_pair(text)) {
        for (found = 0; found < opencl_count && strcmp(list[found].id + 7, text) != 0;)
            ++found;
    } else {
        for (found = 0; found < opencl_count && !strcasestr(list[found].name, text) &&
                        !strcasestr(list[found].platform, text);)
            ++found;
    }
    return found < opencl_count ? found : count;
}

static const char *environment_device(void)
{
    const char *name = getenv("RATECL_DEVICE");
    return name && *name ? name : NULL;
}

/* Refuse a name that no device has; `failure` is the status of a driver that failed, or OK. */
static ratecl_status no_device(const ratecl_device_info *list, size_t count, const char *name,
                               ratecl_status failure)
{
    rc_message("no device is \"%s\": expected cpu, opencl, opencl:TEXT or opencl:PLATFORM.DEVICE; found",
               name);
    for (size_t k = 0; k < count; ++k) {
        char line[400];
        snprintf(line, sizeof line, "%s %s (%s, %s)", k ? "," : "", list[k].id, list[k].name,
                 list[k].platform);
        rc_message_append(line);
    }
#ifndef RATECL_WITH_OPENCL
    rc_message_append("; this build has no OpenCL");
#endif
    if (failure == RATECL_OK)
        return RATECL_ERROR_NO_DEVICE;
    rc_message_append("; ");
    rc_message_append(list[count - 1].note);
    return failure == RATECL_ERROR_MEMORY ? failure : RATECL_ERROR_NO_DEVICE;
}

int ratecl_has_opencl(void)
{
#ifdef RATECL_WITH_OPENCL
    return 1;
#else
    return 0;
#endif
}

size_t ratecl_device_count(void)
{
    ratecl_device_info *list;
    size_t count;
    ratecl_status failure;
    if (device_list(&list, &count, &failure) != RATECL_OK)
        return 1;
    free(list);
    return count;
}

void ratecl_device_info_init_sized(ratecl_device_info *info, size_t size)
{
    const ratecl_device_info empty = { .size = sizeof empty };
    rc_struct_init(info, size, &empty, sizeof empty);
}

static ratecl_status device_info_give(const ratecl_device_info *complete, ratecl_device_info *given)
{
    RC_TRY(rc_struct_check(given->size, "info.size"));
    rc_struct_give(given, given->size, complete, sizeof *complete);
    return RATECL_OK;
}

ratecl_status ratecl_device_get(size_t index, ratecl_device_info *info)
{
    RC_REFUSE_NULL(info);
    ratecl_device_info *list;
    size_t count;
    ratecl_status status, failure;
    RC_TRY(device_list(&list, &count, &failure));
    if (index < count) {
        list[index].chosen = index == find_device(list, count, environment_device());
        status = device_info_give(&list[index], info);
    } else {
        status = rc_fail(RATECL_ERROR_ARGUMENT, "index is %zu: expected less than %zu", index, count);
    }
    free(list);
    return status;
}

/* ---- Contexts ---- */

void ratecl_context_options_init_sized(ratecl_context_options *options, size_t size)
{
    const ratecl_context_options defaults = RATECL_CONTEXT_OPTIONS_INIT;
    rc_struct_init(options, size, &defaults, sizeof defaults);
}

ratecl_status rc_context_options_complete(const ratecl_context_options *given,
                                          ratecl_context_options *complete)
{
    *complete = (ratecl_context_options)RATECL_CONTEXT_OPTIONS_INIT;
    if (given)
        RC_TRY(RC_OPTIONS(complete, given, "options"));
    if (complete->threads < 0)
        return rc_fail(RATECL_ERROR_ARGUMENT, "options.threads is %d: expected at least 0",
                       complete->threads);
    if ((unsigned)complete->program_cache > RATECL_PROGRAM_CACHE_OFF)
        return rc_fail(RATECL_ERROR_ARGUMENT,
                       "options.program_cache is %d: expected RATECL_PROGRAM_CACHE_DEFAULT, ON or OFF",
                       (int)complete->program_cache);
    return RATECL_OK;
}

ratecl_status rc_context_wrap(const rc_path *path, void *state, const ratecl_context_options *options,
                              ratecl_context **context)
{
    ratecl_context *made = malloc(sizeof *made);
    if (!made) {
        path->context_release(state);
        return rc_fail_memory(sizeof *made);
    }
    atomic_init(&made->references, 1);
    made->path = path;
    made->state = state;
    made->log = options->log;
    made->log_user = options->log_user;
    made->note[0] = '\0';
    *context = made;
    if (made->log) {
        ratecl_device_info info = { .size = sizeof info };
        char line[400];
        path->device_info(state, &info);
        snprintf(line, sizeof line, "device %s: %s (%s)", info.id, info.name, info.platform);
        made->log(line, made->log_user);
    }
    return RATECL_OK;
}

/* Let the context tell its caller what a driver did; nothing if the note is empty. */
static void take_note(ratecl_context *context, const char *note)
{
    snprintf(context->note, sizeof context->note, "%s", note);
    if (*note && context->log)
        context->log(context->note, context->log_user);
}

static ratecl_status open_cpu(const ratecl_context_options *options, ratecl_context **context)
{
    void *state;
    RC_TRY(rc_cpu_context_create(options->threads, &state));
    return rc_context_wrap(&rc_cpu_path, state, options, context);
}

static ratecl_status context_open(const ratecl_device_info *device, const ratecl_context_options *options,
                                  ratecl_context **context)
{
#ifdef RATECL_WITH_OPENCL
    if (device->kind != RATECL_DEVICE_OPENMP) {
        void *state;
        RC_TRY(rc_cl_context_open(device, options, &state));
        return rc_context_wrap(&rc_cl_path, state, options, context);
    }
#else
    (void)device;
#endif
    return open_cpu(options, context);
}

/* Open the best device of the list, or the OpenMP path where that fails; the context has a note of failures.
 */
static ratecl_status open_best(const ratecl_device_info *list, size_t count,
                               const ratecl_context_options *options, ratecl_context **context)
{
    const ratecl_device_info *best = &list[best_of(list, count)];
    char note[sizeof best->note];
    snprintf(note, sizeof note, "%s", list[count - 1].note);
    ratecl_status status = context_open(best, options, context);
    if (status != RATECL_OK && best->kind != RATECL_DEVICE_OPENMP) {
        snprintf(note, sizeof note, "%s (%s) is not used: %s", best->id, best->name, ratecl_last_error());
        status = open_cpu(options, context);
    }
    if (status == RATECL_OK)
        take_note(*context, note);
    return status;
}

static ratecl_status open_named(const ratecl_device_info *list, size_t count, const char *name,
                                ratecl_status failure, const ratecl_context_options *options,
                                ratecl_context **context)
{
    const size_t found = find_device(list, count, name);
    return found < count ? context_open(&list[found], options, context)
                         : no_device(list, count, name, failure);
}

ratecl_status ratecl_context_create(const ratecl_context_options *given, ratecl_context **context)
{
    RC_REFUSE_NULL(context);
    ratecl_context_options options;
    RC_TRY(rc_context_options_complete(given, &options));
    const char *name = options.device ? options.device : environment_device();
    if (name && strcmp(name, "cpu") == 0) /* without a look at any OpenCL driver */
        return open_cpu(&options, context);

    ratecl_device_info *list;
    size_t count;
    ratecl_status failure;
    RC_TRY(device_list(&list, &count, &failure));
    const ratecl_status status = name ? open_named(list, count, name, failure, &options, context)
                                      : open_best(list, count, &options, context);
    free(list);
    return status;
}

ratecl_context *rc_context_retain(ratecl_context *context)
{
    atomic_fetch_add(&context->references, 1);
    return context;
}

void ratecl_context_release(ratecl_context *context)
{
    if (!context || atomic_fetch_sub(&context->references, 1) != 1)
        return;
    context->path->context_release(context->state);
    free(context);
}

ratecl_status ratecl_context_device(const ratecl_context *context, ratecl_device_info *info)
{
    RC_REFUSE_NULL(context);
    RC_REFUSE_NULL(info);
    ratecl_device_info complete = { .size = sizeof complete };
    context->path->device_info(context->state, &complete);
    memcpy(complete.note, context->note, sizeof complete.note);
    return device_info_give(&complete, info);
}

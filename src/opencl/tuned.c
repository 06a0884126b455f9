/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters that were found on a device, in the user's folder: a text file with one line for each precision
 * of each device, `precision device platform driver parameters`, with tabs between them. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cl.h"
#include "folder.h"

static const char file_name[] = "tuning.txt";
static const char head[] = "# What ratecl tune found: precision, device, platform, driver, parameters\n";
enum { PREFIX_BYTES = 640, FILE_BYTES = 1 << 20 };

/* The beginning of the device's line. */
static void prefix_of(const rc_cl_context *context, ratecl_precision precision, char prefix[PREFIX_BYTES])
{
    char driver[128] = "";
    clGetDeviceInfo(context->device, CL_DRIVER_VERSION, sizeof driver, driver, NULL);
    snprintf(prefix, PREFIX_BYTES, "%s\t%s\t%s\t%s\t", precision == RATECL_PRECISION_F64 ? "f64" : "f32",
             context->info.name, context->info.platform, driver);
    for (char *c = prefix; *c; ++c)
        if (*c == '\n' || *c == '\r')
            *c = ' ';
}

/* The line that begins so, in the text; NULL where there is none. */
static const char *find_line(const char *text, const char *prefix)
{
    const size_t length = strlen(prefix);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, prefix, length) == 0)
            return line;
    }
    return NULL;
}

/* ---- Reading ---- */

static void tell(const rc_cl_context *context, const char *what, const char *why)
{
    char line[RC_PATH_BYTES + RC_TUNING_BYTES];
    if (!context->log)
        return;
    snprintf(line, sizeof line, "%s: %s: %s", file_name, what, why);
    context->log(line, context->log_user);
}

/* Take a line's parameters, unless they are not such. */
static void take(rc_cl_context *context, ratecl_precision precision, const char *parameters)
{
    char *tuned = context->tuned[precision];
    rc_tuning tuning;
    const size_t length = strcspn(parameters, "\r\n");
    if (length >= RC_TUNING_BYTES) {
        tell(context, "ignored", "the device's line is too long");
        return;
    }
    memcpy(tuned, parameters, length);
    tuned[length] = '\0';
    if (rc_tuning_choose(&context->limits, precision, tuned, &tuning) == RATECL_OK) {
        tell(context, "used", tuned);
        return;
    }
    tuned[0] = '\0';
    if (rc_tuning_choose(&context->limits, precision, tuned, &tuning) == RATECL_OK)
        tell(context, "ignored", "the device's line has no consistent parameters");
}

void rc_cl_tuned_read(rc_cl_context *context)
{
    size_t bytes;
    char *text = rc_cl_user_file_read(file_name, FILE_BYTES, false, &bytes);
    for (int precision = RATECL_PRECISION_F32; text && precision <= RATECL_PRECISION_F64; ++precision) {
        char prefix[PREFIX_BYTES];
        prefix_of(context, (ratecl_precision)precision, prefix);
        const char *line = find_line(text, prefix);
        if (line)
            take(context, (ratecl_precision)precision, line + strlen(prefix));
    }
    free(text);
}

/* ---- Writing ---- */

static ratecl_status fail_to_write(const char *file)
{
    return rc_fail(RATECL_ERROR_ARGUMENT, "%s could not be written: %s", file, strerror(errno));
}

ratecl_status rc_cl_tuned_keep(const rc_cl_context *context, ratecl_precision precision, const char *all,
                               char *file, size_t file_bytes)
{
    char folder[RC_PATH_BYTES], prefix[PREFIX_BYTES];
    if (!rc_cl_user_folder(folder))
        return rc_fail(RATECL_ERROR_ARGUMENT,
                       "there is no folder to keep %s in: expected RATECL_CACHE, "
                       "XDG_CACHE_HOME or HOME in the environment",
                       file_name);
    snprintf(file, file_bytes, "%s/%s", folder, file_name);
    if (!rc_cl_user_folder_make(folder) || access(folder, W_OK | X_OK) != 0)
        return fail_to_write(file);
    if (!all)
        return RATECL_OK;
    size_t bytes;
    char *found = rc_cl_user_file_read(file_name, FILE_BYTES, false, &bytes);
    if (!found && errno == ENOMEM)
        return rc_fail_memory(FILE_BYTES);
    const char *text = found ? found : "";
    prefix_of(context, precision, prefix);
    const char *line = find_line(text, prefix);
    const char *end = line ? strchr(line, '\n') : NULL;
    const size_t before = line ? (size_t)(line - text) : strlen(text);
    const char *after = line ? (end ? end + 1 : "") : "";
    const bool open_line = !line && before > 0 && text[before - 1] != '\n';
    const rc_part parts[] = { { head, before > 0 ? 0 : strlen(head) },
                              { text, before },
                              { "\n", open_line },
                              { prefix, strlen(prefix) },
                              { all, strlen(all) },
                              { "\n", 1 },
                              { after, strlen(after) } };
    const bool kept = rc_cl_user_file_replace(file_name, parts, sizeof parts / sizeof *parts);
    free(found); /* which leaves errno as it is */
    return kept ? RATECL_OK : fail_to_write(file);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters that were found on a device, in the user's folder: a text file with one line for each precision
 * of each device, `precision device platform driver parameters checksum`, with tabs between them. The
 * checksum is the hash of all that precedes it in the line, in 16 hexadecimal digits. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl.h"
#include "folder.h"
#include "hash.h"

static const char file_name[] = "tuning.txt";
static const char head[] =
    "# What ratecl tune found: precision, device, platform, driver, parameters, checksum\n";
enum { PREFIX_BYTES = 640, FILE_BYTES = 1 << 20, CHECKSUM_DIGITS = 16 };

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

/* A part of the file; it may hold bytes of any value. */
typedef struct span {
    const char *begin, *end;
} span;

static bool begins_with(span text, const char *prefix)
{
    const size_t length = strlen(prefix);
    return (size_t)(text.end - text.begin) >= length && memcmp(text.begin, prefix, length) == 0;
}

/* Find the line that begins with `prefix`, without its newline. False if there is none. */
static bool find_line(span text, const char *prefix, span *line)
{
    for (const char *begin = text.begin; begin < text.end; begin = line->end + 1) {
        const char *newline = memchr(begin, '\n', (size_t)(text.end - begin));
        *line = (span){ begin, newline ? newline : text.end };
        if (begins_with(*line, prefix))
            return true;
    }
    return false;
}

static void checksum_of(const char *prefix, span parameters, char checksum[CHECKSUM_DIGITS + 1])
{
    uint64_t hash = rc_hash(RC_HASH_START, prefix, strlen(prefix));
    hash = rc_hash(hash, parameters.begin, (size_t)(parameters.end - parameters.begin));
    snprintf(checksum, CHECKSUM_DIGITS + 1, "%016" PRIx64, rc_hash(hash, "\t", 1));
}

/* ---- Reading ---- */

/* Take the parameters out of a line that begins with `prefix`. False if its checksum is missing or wrong. */
static bool take_parameters(span line, const char *prefix, span *parameters)
{
    char checksum[CHECKSUM_DIGITS + 1];
    parameters->begin = line.begin + strlen(prefix);
    if (line.end - parameters->begin < 1 + CHECKSUM_DIGITS)
        return false;
    parameters->end = line.end - CHECKSUM_DIGITS - 1;
    checksum_of(prefix, *parameters, checksum);
    return *parameters->end == '\t' && memcmp(parameters->end + 1, checksum, CHECKSUM_DIGITS) == 0;
}

static void tell(const rc_cl_context *context, const char *what, const char *why)
{
    char line[RC_PATH_BYTES + RC_TUNING_BYTES];
    if (!context->log)
        return;
    snprintf(line, sizeof line, "%s: %s: %s", file_name, what, why);
    context->log(line, context->log_user);
}

/* Use the parameters of the device's line, unless it is damaged or they are not consistent. */
static void use_line(rc_cl_context *context, ratecl_precision precision, span line, const char *prefix)
{
    char *tuned = context->tuned[precision];
    rc_tuning tuning;
    span parameters;
    if (!take_parameters(line, prefix, &parameters)) {
        tell(context, "ignored", "the device's line is damaged: expected a checksum that fits");
        return;
    }
    const size_t length = (size_t)(parameters.end - parameters.begin);
    if (length >= RC_TUNING_BYTES) {
        tell(context, "ignored", "the device's line is too long");
        return;
    }
    memcpy(tuned, parameters.begin, length);
    tuned[length] = '\0';
    if (rc_tuning_choose(&context->limits, precision, tuned, &tuning) == RATECL_OK) {
        tell(context, "used", tuned);
        return;
    }
    tuned[0] = '\0';
    if (rc_tuning_choose(&context->limits, precision, tuned, &tuning) == RATECL_OK)
        tell(context, "ignored", "the device's line has no consistent parameters");
}

/* Read the whole file; the caller frees it. NULL with errno: ENOENT where there is none. */
static char *read_file(int folder, span *text)
{
    size_t bytes = 0;
    char *content = rc_cl_user_file_read(folder, file_name, FILE_BYTES, false, &bytes);
    if (content)
        *text = (span){ content, content + bytes };
    return content;
}

void rc_cl_tuned_read(rc_cl_context *context)
{
    span text, line;
    const int folder = rc_cl_user_folder_open(false);
    char *content = folder < 0 ? NULL : read_file(folder, &text);
    if (!content && errno != ENOENT)
        tell(context, "ignored", rc_cl_user_error(errno));
    if (folder >= 0)
        rc_cl_user_close(folder);
    for (int precision = RATECL_PRECISION_F32; content && precision <= RATECL_PRECISION_F64; ++precision) {
        char prefix[PREFIX_BYTES];
        prefix_of(context, (ratecl_precision)precision, prefix);
        if (find_line(text, prefix, &line))
            use_line(context, (ratecl_precision)precision, line, prefix);
    }
    free(content);
}

/* ---- Writing ---- */

/* Write the file anew: with the device's line in the place of the one that is there, or at the end. */
static bool replace_line(int folder, span text, const char *prefix, const char *all)
{
    span line, parameters = { all, all + strlen(all) };
    char checksum[CHECKSUM_DIGITS + 1];
    checksum_of(prefix, parameters, checksum);
    if (!find_line(text, prefix, &line))
        line = (span){ text.end, text.end };
    const char *after = line.end < text.end ? line.end + 1 : text.end;
    const size_t before = (size_t)(line.begin - text.begin);
    const bool open_line = before > 0 && line.begin[-1] != '\n';
    const rc_part parts[] = { { head, before > 0 ? 0 : strlen(head) },
                              { text.begin, before },
                              { "\n", open_line },
                              { prefix, strlen(prefix) },
                              { all, strlen(all) },
                              { "\t", 1 },
                              { checksum, CHECKSUM_DIGITS },
                              { "\n", 1 },
                              { after, (size_t)(text.end - after) } };
    return rc_cl_user_file_replace(folder, file_name, parts, sizeof parts / sizeof *parts, true);
}

/* Write the device's line into the file of an open folder; without `all`, only see whether that can be. */
static bool keep_line(int folder, const char *prefix, const char *all)
{
    static const char nothing[] = "";
    span text = { nothing, nothing };
    if (!rc_cl_user_folder_writable(folder))
        return false;
    if (all)
        rc_cl_user_folder_lock(folder);
    char *content = read_file(folder, &text);
    bool kept = content || errno == ENOENT; /* what cannot be read would be lost */
    if (kept && all)
        kept = replace_line(folder, text, prefix, all);
    free(content); /* which leaves errno as it is */
    return kept;
}

ratecl_status rc_cl_tuned_keep(const rc_cl_context *context, ratecl_precision precision, const char *all,
                               char *file, size_t file_bytes)
{
    char path[RC_PATH_BYTES], prefix[PREFIX_BYTES];
    const bool given = rc_cl_user_folder(path);
    if (!given && errno != ENOENT)
        return rc_fail(RATECL_ERROR_ARGUMENT, "the folder to keep %s in cannot be opened: %s", file_name,
                       rc_cl_user_error(errno));
    if (!given)
        return rc_fail(RATECL_ERROR_ARGUMENT,
                       "there is no folder to keep %s in: expected RATECL_CACHE, "
                       "XDG_CACHE_HOME or HOME in the environment",
                       file_name);
    snprintf(file, file_bytes, "%s/%s", path, file_name);
    prefix_of(context, precision, prefix);
    const int folder = rc_cl_user_folder_open(true);
    const bool kept = folder >= 0 && keep_line(folder, prefix, all);
    if (folder >= 0)
        rc_cl_user_close(folder);
    if (!kept && errno == ENOMEM)
        return rc_fail_memory(FILE_BYTES);
    return kept
               ? RATECL_OK
               : rc_fail(RATECL_ERROR_ARGUMENT, "%s could not be written: %s", file, rc_cl_user_error(errno));
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "status.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_BYTES = 8192 };
static _Thread_local char last_error[MESSAGE_BYTES];

const char *ratecl_last_error(void)
{
    return last_error;
}

const char *ratecl_version(void)
{
    return RATECL_VERSION;
}

const char *ratecl_status_name(ratecl_status status)
{
    static const char *const names[] = {
        [RATECL_OK] = "RATECL_OK",
        [RATECL_ERROR_ARGUMENT] = "RATECL_ERROR_ARGUMENT",
        [RATECL_ERROR_DOMAIN] = "RATECL_ERROR_DOMAIN",
        [RATECL_ERROR_NO_DEVICE] = "RATECL_ERROR_NO_DEVICE",
        [RATECL_ERROR_UNSUPPORTED] = "RATECL_ERROR_UNSUPPORTED",
        [RATECL_ERROR_MEMORY] = "RATECL_ERROR_MEMORY",
        [RATECL_ERROR_BUILD] = "RATECL_ERROR_BUILD",
        [RATECL_ERROR_DEVICE] = "RATECL_ERROR_DEVICE",
    };
    const size_t index = (size_t)status;
    return index < sizeof names / sizeof *names ? names[index] : "unknown status";
}

void rc_message(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(last_error, sizeof last_error, format, arguments);
    va_end(arguments);
}

void rc_message_append(const char *text)
{
    const size_t used = strlen(last_error);
    snprintf(last_error + used, sizeof last_error - used, "%s", text);
}

/* A size beyond this one is that of a struct that was never initialised. */
enum { STRUCT_BYTES_MAX = 1 << 16 };

static bool is_struct_size(size_t size)
{
    return size >= sizeof size && size <= STRUCT_BYTES_MAX;
}

ratecl_status rc_struct_check(size_t size, const char *argument)
{
    if (is_struct_size(size))
        return RATECL_OK;
    return rc_fail(RATECL_ERROR_ARGUMENT,
                   "%s is %zu: expected the size of the struct, as its INIT macro or init function sets it",
                   argument, size);
}

void rc_struct_give(void *given, size_t size, const void *complete, size_t complete_size)
{
    const size_t known = size < complete_size ? size : complete_size;
    memcpy(given, complete, known);
    memset((char *)given + known, 0, size - known);
    memcpy(given, &size, sizeof size); /* every struct begins with its size */
}

void rc_struct_init(void *given, size_t size, const void *complete, size_t complete_size)
{
    if (given && is_struct_size(size))
        rc_struct_give(given, size, complete, complete_size);
}

ratecl_status rc_options_copy(void *complete, size_t complete_size, const void *given, size_t given_size,
                              const char *name)
{
    char argument[64];
    snprintf(argument, sizeof argument, "%s.size", name);
    RC_TRY(rc_struct_check(given_size, argument));
    const unsigned char *bytes = given;
    for (size_t k = complete_size; k < given_size; ++k)
        if (bytes[k] != 0)
            return rc_fail(
                RATECL_ERROR_ARGUMENT,
                "%s.size is %zu: expected at most %zu, or zeros in the fields that this version of "
                "the library does not know",
                name, given_size, complete_size);
    memcpy(complete, given, given_size < complete_size ? given_size : complete_size);
    memcpy(complete, &complete_size, sizeof complete_size);
    return RATECL_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RATECL_SRC_STATUS_H
#define RATECL_SRC_STATUS_H

#include <ratecl/ratecl.h>

/* Set the calling thread's message. */
void rc_message(const char *format, ...) __attribute__((format(printf, 1, 2)));
void rc_message_append(const char *text);

/* Set the message and give `status`: `return rc_fail(...)`. */
#define rc_fail(status, ...) (rc_message(__VA_ARGS__), (ratecl_status)(status))

/* The same, when an allocation of so many bytes failed. */
#define rc_fail_memory(bytes) \
    rc_fail(RATECL_ERROR_MEMORY, "failed to allocate %zu bytes of host memory", (size_t)(bytes))

/* Hand a failure up. */
#define RC_TRY(call)                             \
    do {                                         \
        const ratecl_status rc_status_ = (call); \
        if (rc_status_ != RATECL_OK)             \
            return rc_status_;                   \
    } while (0)

#define RC_REFUSE_NULL(argument)                                                                \
    do {                                                                                        \
        if (!(argument))                                                                        \
            return rc_fail(RATECL_ERROR_ARGUMENT, "%s is NULL: expected a pointer", #argument); \
    } while (0)

/* ---- Structs of callers that were compiled against any version of the headers ---- */

/* Overlay the defaults in `complete` with the fields of `given` that its caller's version knows. */
#define RC_OPTIONS(complete, given, name) \
    rc_options_copy((complete), sizeof *(complete), (given), (given)->size, (name))
ratecl_status rc_options_copy(void *complete, size_t complete_size, const void *given, size_t given_size,
                              const char *name);

/* Check the size that a caller gives for a struct; `argument` names it in the message, "info.size". */
ratecl_status rc_struct_check(size_t size, const char *argument);

/* Copy `complete` into the caller's struct of `size` bytes, a checked size: truncate it where the caller's is
 * shorter, follow it by zeros where it is longer, and store `size` as its size. */
void rc_struct_give(void *given, size_t size, const void *complete, size_t complete_size);

/* Do the same for an init function, which has no status to return: write nothing if `given` is NULL or the
 * size is not that of a struct. */
void rc_struct_init(void *given, size_t size, const void *complete, size_t complete_size);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#define _XOPEN_SOURCE 700

#include "npy_output.h"

#include "command.h"
#include "interrupt.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bytes that are written between two reports of progress. */
enum { WRITE_BLOCK = 1 << 22 };

enum { PREAMBLE = 10, ALIGNMENT = 64, HEADER_MAX = 4 * ALIGNMENT };

static const char pattern[] = ".XXXXXX";

/* ---- The name ---- */

static char *join(const char *first, const char *second, const char *third)
{
    const size_t size = strlen(first) + strlen(second) + strlen(third) + 1;
    char *joined = malloc(size);
    if (joined)
        snprintf(joined, size, "%s%s%s", first, second, third);
    return joined;
}

/* The path of a file that may be new, absolute and without links; NULL with errno set. */
static char *resolve(const char *path)
{
    struct stat facts;
    char *whole = realpath(path, NULL);
    if (whole || errno != ENOENT)
        return whole;
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    if (name[0] == '\0' || lstat(path, &facts) == 0) { /* the latter: a link to nothing */
        errno = ENOENT;
        return NULL;
    }
    char *given = slash ? strndup(path, (size_t)(name - path)) : strdup(".");
    char *folder = given ? realpath(given, NULL) : NULL;
    whole = folder ? join(folder, "/", name) : NULL;
    free(given);
    free(folder);
    return whole;
}

/* Make the temporary file; its descriptor, or -1 with errno set. */
static int make_temporary(struct npy_output *output)
{
    memcpy(output->temporary + strlen(output->target), pattern, sizeof pattern);
    interrupt_hold();
    const int descriptor = mkstemp(output->temporary);
    output->written = descriptor >= 0;
    if (output->written)
        interrupt_add(output->temporary);
    interrupt_release();
    return descriptor;
}

static void remove_temporary(struct npy_output *output)
{
    if (!output->written)
        return;
    interrupt_hold();
    unlink(output->temporary);
    interrupt_drop(output->temporary);
    interrupt_release();
    output->written = false;
}

/* Whether a file can be made in the target's folder, found out by making one; false with errno set. */
static bool try_folder(struct npy_output *output)
{
    output->target = resolve(output->path);
    output->temporary = output->target ? join(output->target, pattern, "") : NULL;
    const int descriptor = output->temporary ? make_temporary(output) : -1;
    if (descriptor < 0)
        return false;
    close(descriptor);
    remove_temporary(output);
    return true;
}

static int refuse(const char *path, const char *why)
{
    complain("%s: it cannot be written: %s", path, why);
    return COMMAND_WRONG;
}

int npy_output_open(struct npy_output *output, const char *path)
{
    struct stat facts;
    const mode_t mask = umask(0);
    umask(mask);
    *output = (struct npy_output){ .path = path, .mode = 0666 & ~(unsigned)mask };
    if (strcmp(path, "-") == 0)
        return refuse(path, "expected a file, not standard output");
    if (stat(path, &facts) == 0) {
        output->mode = (unsigned)facts.st_mode & 0777;
        if (S_ISDIR(facts.st_mode))
            return refuse(path, "it is a directory");
        if (!S_ISREG(facts.st_mode))
            return refuse(path, "it is a pipe or a device; expected a regular file or a new one");
        if (access(path, W_OK) != 0) /* renaming alone would replace it all the same */
            return refuse(path, strerror(errno));
    }
    return try_folder(output) ? COMMAND_DONE : refuse(path, strerror(errno));
}

bool npy_output_is_file(const struct npy_output *output, const struct npy_file *file)
{
    struct stat facts;
    return stat(output->target, &facts) == 0 && (uint64_t)facts.st_dev == file->identity[0] &&
           (uint64_t)facts.st_ino == file->identity[1];
}

bool npy_output_is_output(const struct npy_output *output, const struct npy_output *other)
{
    return strcmp(output->target, other->target) == 0;
}

/* ---- The content ---- */

static size_t element_bytes(const struct npy_output *output)
{
    return output->layout.element == RATECL_F64 ? sizeof(double) : sizeof(float);
}

void npy_output_describe(struct npy_output *output, const struct npy_file *like, ratecl_precision precision)
{
    const int64_t *shape = like->shape;
    ratecl_layout_init(&output->layout, precision == RATECL_PRECISION_F64 ? RATECL_F64 : RATECL_F32, shape[0],
                       shape[1], shape[2]);
    npy_set_strides(like, false, &output->layout);
    output->axes = like->header.axes;
    memcpy(output->lengths, like->header.lengths, sizeof output->lengths);
}

bool npy_output_allocate(struct npy_output *output)
{
    uint64_t bytes = element_bytes(output);
    for (int axis = 0; axis < output->axes; axis++) {
        const uint64_t length = (uint64_t)output->lengths[axis];
        if (length > SIZE_MAX / bytes)
            return false;
        bytes *= length;
    }
    output->bytes = bytes;
    output->elements = malloc((size_t)bytes);
    return output->elements != NULL;
}

/* Write the header, padded so that the elements behind it are aligned; gives its length. */
static size_t format_header(const struct npy_output *output, char header[HEADER_MAX])
{
    static const char magic[] = { '\x93', 'N', 'U', 'M', 'P', 'Y', 1, 0 };
    char *text = header + PREAMBLE;
    const size_t room = HEADER_MAX - PREAMBLE;
    int used = snprintf(text, room, "{'descr': '<f%d', 'fortran_order': False, 'shape': (",
                        (int)element_bytes(output));
    for (int axis = 0; axis < output->axes; axis++)
        used += snprintf(text + used, room - (size_t)used, "%" PRId64 "%s", output->lengths[axis],
                         axis < output->axes - 1 ? ", " : "), }");
    const size_t length = (PREAMBLE + (size_t)used + ALIGNMENT) / ALIGNMENT * ALIGNMENT;
    memset(text + used, ' ', length - PREAMBLE - (size_t)used);
    header[length - 1] = '\n';
    memcpy(header, magic, sizeof magic);
    header[8] = (char)((length - PREAMBLE) & 0xff);
    header[9] = (char)((length - PREAMBLE) >> 8);
    return length;
}

/* In place; elements of 4 or 8 bytes. */
static void make_little_endian(const struct npy_output *output)
{
    const size_t bytes = element_bytes(output);
    if (__BYTE_ORDER__ != __ORDER_BIG_ENDIAN__)
        return;
    unsigned char *end = (unsigned char *)output->elements + output->bytes;
    for (unsigned char *at = output->elements; at < end; at += bytes)
        for (size_t k = 0; k < bytes / 2; k++) {
            const unsigned char low = at[k];
            at[k] = at[bytes - 1 - k];
            at[bytes - 1 - k] = low;
        }
}

static bool write_whole(int descriptor, const char *bytes, size_t count)
{
    while (count > 0) {
        const ssize_t put = write(descriptor, bytes, count);
        if (put == 0)
            errno = EIO;
        if (put == 0 || (put < 0 && errno != EINTR))
            return false;
        if (put > 0) {
            bytes += put;
            count -= (size_t)put;
        }
    }
    return true;
}

static bool write_content(const struct npy_output *output, int descriptor, struct progress *progress)
{
    char header[HEADER_MAX];
    if (fchmod(descriptor, (mode_t)output->mode) != 0 ||
        !write_whole(descriptor, header, format_header(output, header)))
        return false;
    make_little_endian(output);
    for (uint64_t done = 0; done < output->bytes;) {
        const uint64_t left = output->bytes - done;
        const size_t block = left < WRITE_BLOCK ? (size_t)left : WRITE_BLOCK;
        if (!write_whole(descriptor, (const char *)output->elements + done, block))
            return false;
        done += block;
        progress_fraction(progress, (double)done / (double)output->bytes);
    }
    return true;
}

/* Some file systems tell only at close() that there was no room. */
bool npy_output_write(struct npy_output *output, struct progress *progress)
{
    const int descriptor = make_temporary(output);
    if (descriptor < 0 || !write_content(output, descriptor, progress))
        output->error = errno;
    if (descriptor >= 0 && close(descriptor) != 0 && output->error == 0)
        output->error = errno;
    return output->error == 0;
}

bool npy_output_commit(struct npy_output *output)
{
    interrupt_hold();
    if (rename(output->temporary, output->target) == 0) {
        output->written = false;
        interrupt_drop(output->temporary);
    } else {
        output->error = errno;
    }
    interrupt_release();
    return output->error == 0;
}

void npy_output_close(struct npy_output *output)
{
    remove_temporary(output);
    free(output->elements);
    free(output->target);
    free(output->temporary);
    *output = (struct npy_output){ 0 };
}

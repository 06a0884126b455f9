/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L

#include "npy.h"

#include "command.h"
#include "file_kind.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CONVERT_BLOCK = 1 << 20, /* elements that are converted between two reports of progress */
    READ_BLOCK = 1 << 22,    /* bytes of a stream that are read at once, at most */
    STREAM_START = 1 << 17,  /* of a stream, what is read for its header: version 1.0 has up to 64 KiB */
};

enum { MACHINE_BIG_ENDIAN = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ };

/* ---- Opening ---- */

static int complain_about(const struct npy_file *file, int status, const char *what)
{
    complain("%s: %s", file->name, what);
    return status;
}

/* Read what there is, up to `size` bytes; return their count, 0 at the end, or -1 with errno set. */
static ssize_t read_some(int descriptor, unsigned char *bytes, uint64_t size)
{
    const uint64_t most = 1u << 30;
    ssize_t got;
    do
        got = read(descriptor, bytes, (size_t)(size < most ? size : most));
    while (got < 0 && errno == EINTR);
    return got;
}

/* Read until `size` bytes are there or the file ends; return their count, or -1 with errno set. */
static int64_t read_up_to(int descriptor, unsigned char *bytes, uint64_t size)
{
    uint64_t done = 0;
    while (done < size) {
        const ssize_t got = read_some(descriptor, bytes + done, size - done);
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += (uint64_t)got;
    }
    return (int64_t)done;
}

/* Map the file or, where its file system cannot, read it. */
static int take_bytes(struct npy_file *file, int descriptor)
{
    if (file->size > SIZE_MAX)
        return complain_about(file, COMMAND_FAILED, "it is larger than this machine's address space");
    void *bytes = mmap(NULL, (size_t)file->size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    file->mapped = bytes != MAP_FAILED;
    file->bytes = file->mapped ? bytes : malloc((size_t)file->size);
    if (!file->bytes)
        return complain_about(file, COMMAND_FAILED, "memory ran out");
    if (file->mapped)
        return COMMAND_DONE;
    const int64_t got = read_up_to(descriptor, file->bytes, file->size);
    if (got < 0)
        return complain_about(file, COMMAND_WRONG, strerror(errno));
    if ((uint64_t)got < file->size)
        return complain_about(file, COMMAND_WRONG, "it became shorter while it was read");
    return COMMAND_DONE;
}

static int take_stream(struct npy_file *file)
{
    if (isatty(STDIN_FILENO))
        return complain_about(file, COMMAND_WRONG, "it is a terminal; expected a NumPy file or a pipe");
    file->bytes = malloc(STREAM_START);
    if (!file->bytes)
        return complain_about(file, COMMAND_FAILED, "memory ran out");
    const int64_t got = read_up_to(STDIN_FILENO, file->bytes, STREAM_START);
    if (got < 0)
        return complain_about(file, COMMAND_WRONG, strerror(errno));
    file->size = (uint64_t)got;
    file->streamed = got == STREAM_START;
    return COMMAND_DONE;
}

static int read_header(struct npy_file *file)
{
    char message[NPY_MESSAGE_SIZE];
    struct file_kind kind;
    if (file_kind_find(file->bytes, file->size, &kind)) {
        complain("%s: it is %s; expected a NumPy file (.npy): %s", file->name, kind.what, kind.remedy);
        return COMMAND_WRONG;
    }
    if (!npy_header_read(file->bytes, file->size, &file->header, message) ||
        (!file->streamed && !npy_header_check_size(&file->header, file->size, message)))
        return complain_about(file, COMMAND_WRONG, message);
    return COMMAND_DONE;
}

bool npy_axes_valid(const char *axes)
{
    const size_t count = strlen(axes);
    if (count < 2 || count > 3 || strspn(axes, NPY_AXES) < count)
        return false;
    return axes[0] != axes[1] && (count == 2 || (axes[2] != axes[0] && axes[2] != axes[1]));
}

static int axis_of(char letter)
{
    return (int)(strchr(NPY_AXES, letter) - NPY_AXES);
}

static int name_axes(struct npy_file *file, const char *axes)
{
    const int named = (int)strlen(axes), count = file->header.axes;
    if (named < count) {
        complain("%s: it has %d axes; expected %d, as --axes %s names", file->name, count, named, axes);
        return COMMAND_WRONG;
    }
    for (int axis = 0; axis < 3; ++axis)
        file->shape[axis] = 1;
    for (int k = 0, next = 0; k < named; ++k) {
        if (named > count && axes[k] == 'b')
            continue;
        file->axes[next] = axes[k];
        file->shape[axis_of(axes[k])] = file->header.lengths[next++];
    }
    return COMMAND_DONE;
}

/* Standard input is mapped where it is a file, read from its start. */
static int take_file(struct npy_file *file, int descriptor, const char *axes)
{
    struct stat facts;
    const bool input = descriptor == STDIN_FILENO;
    if (fstat(descriptor, &facts) != 0)
        return complain_about(file, COMMAND_WRONG, strerror(errno));
    if (S_ISDIR(facts.st_mode))
        return complain_about(file, COMMAND_WRONG, "it is a directory; expected a NumPy file");
    const bool regular = S_ISREG(facts.st_mode);
    if (!regular && !input)
        return complain_about(file, COMMAND_WRONG,
                              "it is a pipe or a device; expected a regular file in NumPy's format, or - for "
                              "standard input");
    file->identity[0] = (uint64_t)facts.st_dev;
    file->identity[1] = (uint64_t)facts.st_ino;
    int status = COMMAND_DONE;
    if (!regular || (input && lseek(descriptor, 0, SEEK_CUR) != 0)) {
        status = take_stream(file);
    } else {
        file->size = (uint64_t)facts.st_size;
        status = file->size > 0 ? take_bytes(file, descriptor) : COMMAND_DONE;
    }
    if (status == COMMAND_DONE)
        status = read_header(file);
    return status == COMMAND_DONE ? name_axes(file, axes) : status;
}

int npy_open(struct npy_file *file, const char *path, const char *axes)
{
    *file = (struct npy_file){ .name = path };
    if (strcmp(path, "-") == 0) {
        file->name = "standard input";
        return take_file(file, STDIN_FILENO, axes);
    }
    /* Without O_NONBLOCK, opening a pipe would wait for its writer. */
    const int descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (descriptor < 0)
        return complain_about(file, COMMAND_WRONG, strerror(errno));
    const int status = take_file(file, descriptor, axes);
    close(descriptor);
    return status;
}

void npy_set_strides(const struct npy_file *file, bool fortran, ratecl_layout *layout)
{
    const int count = file->header.axes;
    int64_t stride = 1;
    for (int k = 0; k < count; ++k) {
        const int at = fortran ? k : count - 1 - k;
        layout->strides[axis_of(file->axes[at])] = stride;
        stride *= file->header.lengths[at];
    }
    for (int axis = 0; axis < 3; ++axis)
        if (!strchr(file->axes, NPY_AXES[axis]))
            layout->strides[axis] = stride;
}

/* ---- Loading ---- */

/* Say why loading failed, once the progress line is gone. */
static int fail(const struct npy_file *file, struct progress *progress, int status, const char *what)
{
    progress_stop(progress);
    return complain_about(file, status, what);
}

/* Double the room for a stream, but to no more than it should need; false if memory ran out. What the header
 * says is not trusted: memory is taken as the data arrives. */
static bool make_room(struct npy_file *file, uint64_t *room, uint64_t most)
{
    const uint64_t wanted = *room < most / 2 ? 2 * *room : most;
    unsigned char *longer = wanted <= SIZE_MAX ? realloc(file->bytes, (size_t)wanted) : NULL;
    if (!longer)
        return false;
    file->bytes = longer;
    *room = wanted;
    return true;
}

/* Read the rest of a stream, and one byte more than it should have. */
static int read_stream(struct npy_file *file, struct progress *progress)
{
    const uint64_t most = file->header.data + file->header.data_bytes + 1;
    uint64_t room = file->size;
    while (file->size < most) {
        if (file->size == room && !make_room(file, &room, most))
            return fail(file, progress, COMMAND_FAILED, "memory ran out");
        const uint64_t left = room - file->size;
        const ssize_t got = read_some(STDIN_FILENO, (unsigned char *)file->bytes + file->size,
                                      left < READ_BLOCK ? left : READ_BLOCK);
        if (got < 0)
            return fail(file, progress, COMMAND_WRONG, strerror(errno));
        if (got == 0)
            break;
        file->size += (uint64_t)got;
        progress_fraction(progress, (double)file->size / (double)most);
    }
    char message[NPY_MESSAGE_SIZE];
    if (npy_header_check_size(&file->header, file->size, message))
        return COMMAND_DONE;
    if (file->size == most)
        snprintf(message, sizeof message,
                 "it has more than %" PRIu64 " bytes of data; expected as many for its "
                 "shape and element type",
                 file->header.data_bytes);
    return fail(file, progress, COMMAND_WRONG, message);
}

/* The bits of one number in the file. */
static inline uint64_t load_bits(const unsigned char *from, size_t bytes, bool big_endian)
{
    uint64_t bits = 0;
    for (size_t k = 0; k < bytes; k++)
        bits |= (uint64_t)from[k] << 8 * (big_endian ? bytes - 1 - k : k);
    return bits;
}

/* Copy numbers, which need not be aligned in the file, into the machine's order of bytes. */
static void copy_numbers(const struct npy_header *header, const unsigned char *from, void *to, size_t count)
{
    const size_t bytes = header->type->bytes;
    const size_t flip = header->big_endian == MACHINE_BIG_ENDIAN ? 0 : bytes - 1; /* bytes: a power of 2 */
    for (size_t index = 0; index < count; index++)
        for (size_t k = 0; k < bytes; k++)
            ((unsigned char *)to)[index * bytes + (k ^ flip)] = from[index * bytes + k];
}

/* NumPy counts each byte that is not 0 as true. */
static void convert_truths(const unsigned char *from, unsigned char *to, size_t count)
{
    for (size_t k = 0; k < count; ++k)
        to[k] = from[k] != 0;
}

static bool are_truths(const unsigned char *from, uint64_t count)
{
    unsigned char all = 0;
    for (uint64_t k = 0; k < count; ++k)
        all |= from[k];
    return all <= 1;
}

/* True if a double holds a whole number, of which `magnitude` is the absolute value. */
static inline bool is_exact(uint64_t magnitude)
{
    return magnitude < (uint64_t)1 << 53 || magnitude / (magnitude & -magnitude) < (uint64_t)1 << 53;
}

/* Convert integers: exactly to f64, of which those of 8 bytes may not be capable, or rounded to the nearest
 * f32. Return the index of the first that f64 does not hold, or `count`. */
static size_t convert_integers(const struct npy_header *header, ratecl_element element,
                               const unsigned char *from, void *to, size_t count)
{
    const size_t bytes = header->type->bytes;
    const uint64_t sign = header->type->code[0] == 'i' ? (uint64_t)1 << (8 * bytes - 1) : 0;
    for (size_t index = 0; index < count; index++) {
        const uint64_t bits = load_bits(from + index * bytes, bytes, header->big_endian);
        const bool negative = bits & sign;
        const uint64_t magnitude = negative ? (sign << 1) - bits : bits; /* of 8 bytes, sign << 1 is 0 */
        if (!is_exact(magnitude))
            return index;
        if (element == RATECL_F64)
            ((double *)to)[index] = negative ? -(double)magnitude : (double)magnitude;
        else
            ((float *)to)[index] = negative ? -(float)magnitude : (float)magnitude;
    }
    return count;
}

/* Name an element by its indices in the file, counted from 0, as NumPy takes them. */
static int refuse_integer(const struct npy_file *file, struct progress *progress, uint64_t index)
{
    const struct npy_header *header = &file->header;
    const size_t bytes = header->type->bytes;
    const uint64_t bits = load_bits((const unsigned char *)file->bytes + header->data + index * bytes, bytes,
                                    header->big_endian);
    const bool negative = header->type->code[0] == 'i' && bits >> 63;
    uint64_t at[3] = { 0 };
    for (int k = 0; k < header->axes; ++k) {
        const int axis = header->fortran ? k : header->axes - 1 - k;
        at[axis] = index % (uint64_t)header->lengths[axis];
        index /= (uint64_t)header->lengths[axis];
    }
    char last[32] = "", message[NPY_MESSAGE_SIZE];
    if (header->axes == 3)
        snprintf(last, sizeof last, ",%" PRIu64, at[2]);
    snprintf(message, sizeof message,
             "its element [%" PRIu64 ",%" PRIu64 "%s] is %s%" PRIu64
             ", which f64 does not hold; expected whole "
             "numbers up to 2^53 (NumPy's astype('f8') rounds)",
             at[0], at[1], last, negative ? "-" : "", negative ? -bits : bits);
    return fail(file, progress, COMMAND_WRONG, message);
}

static size_t element_bytes(ratecl_element element)
{
    static const size_t bytes[] = { [RATECL_F32] = 4, [RATECL_F64] = 8, [RATECL_F16] = 2, [RATECL_U8] = 1 };
    return bytes[element];
}

/* The file's size bounds what is allocated: 4 times as much. */
static int convert(struct npy_file *file, uint64_t count, struct progress *progress)
{
    const struct npy_header *header = &file->header;
    const unsigned char *from = (const unsigned char *)file->bytes + header->data;
    const uint64_t bytes = element_bytes(file->layout.element);
    if (count > SIZE_MAX / bytes)
        return fail(file, progress, COMMAND_FAILED, "memory ran out");
    file->converted = malloc((size_t)(count * bytes));
    if (!file->converted)
        return fail(file, progress, COMMAND_FAILED, "memory ran out");
    for (uint64_t first = 0; first < count; first += CONVERT_BLOCK) {
        const size_t block = count - first < CONVERT_BLOCK ? (size_t)(count - first) : CONVERT_BLOCK;
        const unsigned char *source = from + first * header->type->bytes;
        void *to = (char *)file->converted + first * bytes;
        size_t done = block;
        if (header->type->code[0] == 'b')
            convert_truths(source, to, block);
        else if (header->type->in_place)
            copy_numbers(header, source, to, block);
        else
            done = convert_integers(header, file->layout.element, source, to, block);
        if (done < block)
            return refuse_integer(file, progress, first + done);
        progress_fraction(progress, (double)(first + block) / (double)count);
    }
    return COMMAND_DONE;
}

int npy_load(struct npy_file *file, bool fp64, struct progress *progress)
{
    const struct npy_header *header = &file->header;
    const struct npy_type *type = header->type;
    const int status = file->streamed ? read_stream(file, progress) : COMMAND_DONE;
    if (status != COMMAND_DONE)
        return status;
    ratecl_layout_init(&file->layout, fp64 ? type->element : type->element_fp32, file->shape[0],
                       file->shape[1], file->shape[2]);
    npy_set_strides(file, header->fortran, &file->layout);
    const unsigned char *data = (const unsigned char *)file->bytes + header->data;
    const bool ordered = type->bytes == 1 || header->big_endian == MACHINE_BIG_ENDIAN;
    const bool aligned = (uintptr_t)data % type->bytes == 0;
    const uint64_t count = header->data_bytes / type->bytes;
    if (type->in_place && ordered && aligned && (type->code[0] != 'b' || are_truths(data, count)))
        return COMMAND_DONE;
    return convert(file, count, progress);
}

const void *npy_data(const struct npy_file *file)
{
    return file->converted ? file->converted : (const unsigned char *)file->bytes + file->header.data;
}

uint64_t npy_data_bytes(const struct npy_file *file)
{
    const int64_t *shape = file->layout.shape;
    return (uint64_t)shape[0] * (uint64_t)shape[1] * (uint64_t)shape[2] * element_bytes(file->layout.element);
}

void npy_close(struct npy_file *file)
{
    free(file->converted);
    if (file->mapped)
        munmap(file->bytes, (size_t)file->size);
    else
        free(file->bytes);
    *file = (struct npy_file){ 0 };
}

/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L

#include "npy.h"

#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Elements that are converted between two reports of progress. */
enum { CONVERT_BLOCK = 1 << 20 };

enum { MACHINE_BIG_ENDIAN = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ };

static int complain_about(const char *path, int status, const char *what)
{
    complain("%s: %s", path, what);
    return status;
}

static bool read_whole(int descriptor, unsigned char *bytes, uint64_t size)
{
    for (uint64_t done = 0; done < size;) {
        const uint64_t left = size - done, most = 1u << 30;
        const ssize_t got = read(descriptor, bytes + done, (size_t)(left < most ? left : most));
        if (got == 0)
            errno = EIO; /* it became shorter */
        if (got == 0 || (got < 0 && errno != EINTR))
            return false;
        if (got > 0)
            done += (uint64_t)got;
    }
    return true;
}

/* Map the file or, where its file system cannot, read it. */
static int take_bytes(struct npy_file *file, int descriptor)
{
    if (file->size > SIZE_MAX)
        return complain_about(file->path, COMMAND_FAILED, "it is larger than this machine's address space");
    void *bytes = mmap(NULL, (size_t)file->size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    file->mapped = bytes != MAP_FAILED;
    file->bytes = file->mapped ? bytes : malloc((size_t)file->size);
    if (!file->bytes)
        return complain_about(file->path, COMMAND_FAILED, "memory ran out");
    if (!file->mapped && !read_whole(descriptor, file->bytes, file->size))
        return complain_about(file->path, COMMAND_WRONG, strerror(errno));
    return COMMAND_DONE;
}

static int take_file(struct npy_file *file, int descriptor)
{
    struct stat facts;
    if (fstat(descriptor, &facts) != 0)
        return complain_about(file->path, COMMAND_WRONG, strerror(errno));
    if (S_ISDIR(facts.st_mode))
        return complain_about(file->path, COMMAND_WRONG, "it is a directory; expected a NumPy file");
    if (!S_ISREG(facts.st_mode))
        return complain_about(file->path, COMMAND_WRONG,
                              "it is a pipe or a device; expected a regular file in NumPy's format");
    file->size = (uint64_t)facts.st_size;
    const int status = file->size > 0 ? take_bytes(file, descriptor) : COMMAND_DONE;
    if (status != COMMAND_DONE)
        return status;

    char message[NPY_MESSAGE_SIZE];
    if (!npy_header_parse(file->bytes, file->size, &file->header, message))
        return complain_about(file->path, COMMAND_WRONG, message);
    return COMMAND_DONE;
}

int npy_open(struct npy_file *file, const char *path)
{
    *file = (struct npy_file){ .path = path };
    if (strcmp(path, "-") == 0)
        return complain_about(path, COMMAND_WRONG, "standard input cannot be evaluated; expected a file");
    /* Without O_NONBLOCK, opening a pipe would wait for its writer. */
    const int descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (descriptor < 0)
        return complain_about(path, COMMAND_WRONG, strerror(errno));
    const int status = take_file(file, descriptor);
    close(descriptor);
    return status;
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

/* Integers of up to 4 bytes are exact in f64; in f32 they are rounded to nearest. */
static void convert_integers(const struct npy_header *header, ratecl_element element,
                             const unsigned char *from, void *to, size_t count)
{
    const size_t bytes = header->type->bytes;
    const uint64_t sign = header->type->code[0] == 'i' ? (uint64_t)1 << (8 * bytes - 1) : 0;
    for (size_t index = 0; index < count; index++) {
        const uint64_t bits = load_bits(from + index * bytes, bytes, header->big_endian);
        const int64_t value = (int64_t)(bits ^ sign) - (int64_t)sign;
        if (element == RATECL_F64)
            ((double *)to)[index] = (double)value;
        else
            ((float *)to)[index] = (float)value;
    }
}

static size_t element_bytes(ratecl_element element)
{
    static const size_t bytes[] = { [RATECL_F32] = 4, [RATECL_F64] = 8, [RATECL_F16] = 2, [RATECL_U8] = 1 };
    return bytes[element];
}

/* The file's size bounds what is allocated: 4 times as much. */
static bool convert(struct npy_file *file, uint64_t count, struct progress *progress)
{
    const struct npy_header *header = &file->header;
    const unsigned char *from = (const unsigned char *)file->bytes + header->data;
    const uint64_t bytes = element_bytes(file->layout.element);
    if (count > SIZE_MAX / bytes)
        return false;
    file->converted = malloc((size_t)(count * bytes));
    if (!file->converted)
        return false;
    for (uint64_t first = 0; first < count; first += CONVERT_BLOCK) {
        const size_t block = count - first < CONVERT_BLOCK ? (size_t)(count - first) : CONVERT_BLOCK;
        const unsigned char *source = from + first * header->type->bytes;
        void *to = (char *)file->converted + first * bytes;
        if (header->type->in_place)
            copy_numbers(header, source, to, block);
        else
            convert_integers(header, file->layout.element, source, to, block);
        progress_fraction(progress, (double)(first + block) / (double)count);
    }
    return true;
}

bool npy_load(struct npy_file *file, bool fp64, struct progress *progress)
{
    const struct npy_header *header = &file->header;
    const struct npy_type *type = header->type;
    const int64_t B = header->shape[0], T = header->shape[1], N = header->shape[2];
    ratecl_layout_init(&file->layout, fp64 ? type->element : type->element_fp32, B, T, N);
    if (header->fortran) {
        file->layout.strides[0] = 1;
        file->layout.strides[1] = B;
        file->layout.strides[2] = B * T;
    }
    const bool ordered = type->bytes == 1 || header->big_endian == MACHINE_BIG_ENDIAN;
    const bool aligned = ((uintptr_t)file->bytes + header->data) % type->bytes == 0;
    if (type->in_place && ordered && aligned)
        return true;
    return convert(file, (uint64_t)B * (uint64_t)T * (uint64_t)N, progress);
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

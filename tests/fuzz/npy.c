/* SPDX-License-Identifier: Apache-2.0 */
/* A NumPy file: its header, and its elements as the command reads them. */
#define _GNU_SOURCE /* memfd_create */
#include "../../src/command/npy.h"
#include "../../src/command/command.h"
#include "../../src/command/file_kind.h"
#include "fuzz.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- What npy.c calls of the rest of the command ---- */

void complain(const char *format, ...)
{
    (void)format;
}

void progress_fraction(struct progress *progress, double fraction)
{
    (void)progress;
    MUST(fraction >= 0);
}

void progress_stop(struct progress *progress)
{
    (void)progress;
}

/* ---- The target ---- */

/* Read each byte of the elements, which the layout does not leave. */
static void read_all(const struct npy_file *file)
{
    const ratecl_layout *layout = &file->layout;
    const unsigned char *bytes = npy_data(file);
    const uint64_t count = npy_data_bytes(file);
    volatile unsigned char sum = 0;
    for (uint64_t k = 0; k < count; k++)
        sum = (unsigned char)(sum + bytes[k]);
    int64_t last = 0, elements = 1;
    for (int axis = 0; axis < 3; axis++) {
        MUST(layout->shape[axis] > 0);
        last += (layout->shape[axis] - 1) * layout->strides[axis];
        elements *= layout->shape[axis];
    }
    MUST(last == elements - 1 && count % (uint64_t)elements == 0);
}

static void load(const uint8_t *data, size_t size, const char *axes, bool fp64)
{
    char path[40];
    const int descriptor = memfd_create("npy", MFD_CLOEXEC);
    MUST(descriptor >= 0 && write(descriptor, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    struct npy_file file;
    struct progress progress = { 0 };
    if (npy_open(&file, path, axes) == COMMAND_DONE && npy_load(&file, fp64, &progress) == COMMAND_DONE)
        read_all(&file);
    npy_close(&file);
    close(descriptor);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const axes[] = { "btn", "tn", "nt", "ntb" };
    struct npy_header header;
    struct file_kind kind;
    char message[NPY_MESSAGE_SIZE] = "";
    if (file_kind_find(data, size, &kind))
        MUST(*kind.what && *kind.remedy);
    if (!npy_header_parse(data, size, &header, message)) {
        MUST(*message && strlen(message) < sizeof message);
        return 0;
    }
    MUST(header.data <= size && size - header.data == header.data_bytes);
    for (size_t k = 0; k < sizeof axes / sizeof *axes; k++)
        load(data, size, axes[k], k % 2 == 0);
    return 0;
}

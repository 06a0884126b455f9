/* SPDX-License-Identifier: Apache-2.0 */
#include "file_kind.h"

#include <stddef.h>
#include <string.h>

#define SAVE "save the array with numpy.save"
#define START(text) (text), sizeof(text) - 1

/* Each row gives the bytes that a kind of file begins with and, for zip archives, how the first member's name
 * ends. */
static const struct signature {
    const char *start;
    size_t length;
    const char *member_end;
    struct file_kind kind;
} signatures[] = {
    { START("PK\3\4"),
      ".npy",
      { "an .npz archive of NumPy arrays", "load it with numpy.load and save one array with numpy.save" } },
    { START("PK\3\4"),
      "data.pkl",
      { "a file of PyTorch", "load it with torch.load and save tensor.numpy() with numpy.save" } },
    { START("PK\3\4"), NULL, { "a zip archive", "unpack it" } },
    { START("PK\5\6"), NULL, { "an empty zip or .npz archive", SAVE } },
    { START("version https://git-lfs"),
      NULL,
      { "a Git LFS pointer, not the file itself", "fetch the file with 'git lfs pull'" } },
    { START("\x89HDF\r\n\x1a\n"), NULL, { "an HDF5 file", "read the data set with h5py and " SAVE } },
    { START("MATLAB 7.3 MAT-file"),
      NULL,
      { "a MATLAB 7.3 file, which is HDF5", "read the variable with h5py and " SAVE } },
    { START("MATLAB 5.0 MAT-file"),
      NULL,
      { "a MATLAB file", "read the variable with scipy.io.loadmat and " SAVE } },
    { START("\x1f\x8b"),
      NULL,
      { "compressed with gzip", "decompress it with gunzip, or pass - and pipe the output of 'gunzip -c'" } },
    { START("BZh"),
      NULL,
      { "compressed with bzip2", "decompress it, or pass - and pipe the output of 'bunzip2 -c'" } },
    { START("\xfd"
            "7zXZ"),
      NULL,
      { "compressed with xz", "decompress it, or pass - and pipe the output of 'unxz -c'" } },
    { START("\x28\xb5\x2f\xfd"),
      NULL,
      { "compressed with zstd", "decompress it, or pass - and pipe the output of 'unzstd -c'" } },
    { START("cnumpy"),
      NULL,
      { "a Python pickle", "load it with pickle if you trust its origin, and " SAVE } },
    { START("%%MatrixMarket"),
      NULL,
      { "a Matrix Market file", "read it with scipy.io.mmread and save the dense array with numpy.save" } },
    { START("<!DOCTYPE"), NULL, { "a web page", "download the file that the page offers" } },
    { START("<html"), NULL, { "a web page", "download the file that the page offers" } },
};

/* A local header of a zip archive: its member's name has 2 bytes of length at 26 and stands at 30. */
static bool member_ends(const unsigned char *bytes, uint64_t size, const char *end)
{
    enum { LENGTH = 26, NAME = 30 };
    const size_t end_length = strlen(end);
    if (size < NAME)
        return false;
    const size_t length = bytes[LENGTH] + 256u * bytes[LENGTH + 1];
    return length >= end_length && size >= NAME + length &&
           memcmp(bytes + NAME + length - end_length, end, end_length) == 0;
}

/* From protocol 2 on a pickle begins with its protocol and ends with a dot. */
static bool is_pickle(const unsigned char *bytes, uint64_t size)
{
    return size > 2 && bytes[0] == 0x80 && bytes[1] >= 2 && bytes[1] <= 5;
}

/* Lines of printable characters, such as a table of numbers. */
static bool is_text(const unsigned char *bytes, uint64_t size)
{
    const uint64_t looked_at = size < 512 ? size : 512;
    bool line = false;
    for (uint64_t k = 0; k < looked_at; ++k) {
        const bool space = bytes[k] == '\n' || bytes[k] == '\r' || bytes[k] == '\t';
        if (!space && (bytes[k] < 0x20 || bytes[k] > 0x7e))
            return false;
        line |= bytes[k] == '\n';
    }
    return line;
}

bool file_kind_find(const unsigned char *bytes, uint64_t size, struct file_kind *kind)
{
    for (size_t k = 0; k < sizeof signatures / sizeof *signatures; ++k) {
        const struct signature *signature = &signatures[k];
        if (size < signature->length || memcmp(bytes, signature->start, signature->length) != 0)
            continue;
        if (signature->member_end && !member_ends(bytes, size, signature->member_end))
            continue;
        *kind = signature->kind;
        return true;
    }
    if (is_pickle(bytes, size))
        *kind =
            (struct file_kind){ "a Python pickle", "load it with pickle if you trust its origin, and " SAVE };
    else if (is_text(bytes, size))
        *kind = (struct file_kind){ "text", "read it with numpy.loadtxt and " SAVE };
    else
        return false;
    return true;
}

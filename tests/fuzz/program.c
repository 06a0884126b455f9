/* SPDX-License-Identifier: Apache-2.0 */
/* A program's file in the cache: a damaged one is not loaded, and what is kept is loaded again. */
#include "../../src/opencl/hash.h"
#include "fake_folder.h"
#include "fake_opencl.h"
#include "fuzz.h"

#include <string.h>

static const rc_cl_cache cache = { .on = true, .identity = "fuzz\n" };
static const rc_cl_recipe recipe = { .file = "a.cl", .options = "-D A", .texts = { "one", "two", "" } };

/* A file: 16 bytes of mark, the key's and the binary's length, the checksum of both; the key, the binary. */
enum { HEAD_BYTES = 40, CHECKSUM_AT = 32 };

/* Load what is in the folder. What is accepted is the end of the file, behind a head that fits. */
static void load(void)
{
    cl_program program = rc_cl_cache_load(&cache, NULL, NULL, &recipe);
    if (!program)
        return;
    size_t bytes, binary_bytes;
    uint64_t key_bytes, checksum;
    const char *file = fake_file(&bytes);
    const unsigned char *binary = fake_binary(program, &binary_bytes);
    MUST(binary_bytes > 0 && bytes > HEAD_BYTES + binary_bytes);
    MUST(memcmp(binary, file + bytes - binary_bytes, binary_bytes) == 0);
    memcpy(&key_bytes, file + 16, sizeof key_bytes);
    memcpy(&checksum, file + CHECKSUM_AT, sizeof checksum);
    MUST(key_bytes == bytes - HEAD_BYTES - binary_bytes);
    MUST(checksum == rc_hash(RC_HASH_START, file + HEAD_BYTES, bytes - HEAD_BYTES));
    clReleaseProgram(program);
}

/* The same with a checksum that fits, which no search would find. */
static void load_sealed(const uint8_t *data, size_t size)
{
    if (size < HEAD_BYTES)
        return;
    uint8_t *copy = malloc(size);
    MUST(copy);
    memcpy(copy, data, size);
    const uint64_t checksum = rc_hash(RC_HASH_START, data + HEAD_BYTES, size - HEAD_BYTES);
    memcpy(copy + CHECKSUM_AT, &checksum, sizeof checksum);
    fake_file_put(copy, size);
    free(copy);
    load();
}

static void store(const uint8_t *data, size_t size)
{
    cl_program program = fake_program(data, size);
    const bool kept = rc_cl_cache_store(&cache, program, &recipe);
    clReleaseProgram(program);
    MUST(kept == (size > 0));
    if (!kept)
        return;
    program = rc_cl_cache_load(&cache, NULL, NULL, &recipe);
    MUST(program);
    size_t bytes;
    const unsigned char *binary = fake_binary(program, &bytes);
    MUST(bytes == size && memcmp(binary, data, size) == 0);
    clReleaseProgram(program);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fake_file_put(data, size);
    load();
    load_sealed(data, size);
    fake_file_remove();
    store(data, size);
    fake_file_remove();
    return 0;
}

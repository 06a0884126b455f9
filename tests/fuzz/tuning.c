/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters of the kernels: the text of RATECL_TUNING, and tuning.txt, where damage must not be believed and
 * nothing of the others be lost. */
#include "../../src/opencl/hash.h"
#include "fake_folder.h"
#include "fake_opencl.h"
#include "fuzz.h"

#include <inttypes.h>
#include <string.h>

static const char beginning[] = "f32\ta device\ta platform\tdriver\t";

/* What is accepted means the same when it is printed, and is within what the device can do. */
static void apply(const char *text)
{
    static const ratecl_device_kind kinds[] = { RATECL_DEVICE_CPU, RATECL_DEVICE_GPU,
                                                RATECL_DEVICE_SOFTWARE };
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int precision = RATECL_PRECISION_F32; precision <= RATECL_PRECISION_F64; precision++) {
            rc_cl_context context;
            rc_tuning tuning, again;
            char printed[RC_TUNING_BYTES], once_more[RC_TUNING_BYTES];
            fake_context(&context, "driver", NULL, NULL);
            context.limits.kind = kinds[k];
            context.limits.group_lanes = k == 0 ? 4096 : 256;
            context.limits.local_bytes = k == 0 ? 1 << 20 : 32768;
            if (rc_tuning_choose(&context.limits, (ratecl_precision)precision, "", &tuning) != RATECL_OK)
                abort();
            if (rc_tuning_apply(&tuning, text, "the text") != RATECL_OK) {
                MUST(*ratecl_last_error());
                continue;
            }
            rc_tuning_print(&tuning, printed);
            MUST(rc_tuning_apply(&again, printed, "the text") == RATECL_OK);
            rc_tuning_print(&again, once_more);
            MUST(strcmp(printed, once_more) == 0);
            MUST(rc_tuning_choose(&context.limits, (ratecl_precision)precision, text, &tuning) == RATECL_OK);
            MUST(tuning.sweep_lanes <= (int32_t)context.limits.group_lanes);
            MUST(tuning.merge_lanes <= (int32_t)context.limits.group_lanes);
            MUST(tuning.tile_lanes <= (int32_t)context.limits.group_lanes);
        }
}

static void read_file(rc_cl_context *context)
{
    fake_context(context, "driver", NULL, NULL);
    rc_cl_tuned_read(context);
}

/* The device's line in the file; its end is the newline's place. */
static const char *line_in(const char *text, size_t bytes, const char **end)
{
    for (const char *line = text; line < text + bytes; line = *end + 1) {
        *end = memchr(line, '\n', (size_t)(text + bytes - line));
        if (!*end)
            *end = text + bytes;
        if ((size_t)(*end - line) >= sizeof beginning - 1 &&
            memcmp(line, beginning, sizeof beginning - 1) == 0)
            return line;
    }
    *end = text + bytes;
    return NULL;
}

/* Whatever is in the file: what is believed has its checksum. */
static void believe(const uint8_t *data, size_t size)
{
    rc_cl_context context;
    fake_file_put(data, size);
    read_file(&context);
    if (!*context.tuned[RATECL_PRECISION_F32])
        return;
    char checksum[17];
    size_t bytes;
    const char *end, *text = fake_file(&bytes), *line = line_in(text, bytes, &end);
    MUST(line && end - line > 16);
    snprintf(checksum, sizeof checksum, "%016" PRIx64,
             rc_hash(RC_HASH_START, line, (size_t)(end - line) - 16));
    MUST(memcmp(end - 16, checksum, 16) == 0);
}

/* A choice that is kept is found again, and all other lines stay. */
static void keep(const uint8_t *data, size_t size)
{
    static const char choice[] = "sweep_step=2,gradient_step=1";
    rc_cl_context context;
    char where[64];
    fake_file_put(data, size);
    read_file(&context);
    MUST(rc_cl_tuned_keep(&context, RATECL_PRECISION_F32, choice, where, sizeof where) == RATECL_OK);
    read_file(&context);
    MUST(strcmp(context.tuned[RATECL_PRECISION_F32], choice) == 0);

    size_t bytes;
    const char *old = (const char *)data, *end, *new_end, *text = fake_file(&bytes);
    const char *line = line_in(old, size, &end), *new_line = line_in(text, bytes, &new_end);
    const size_t before = (size_t)((line ? line : end) - old), new_before = (size_t)(new_line - text);
    MUST(new_line && new_before >= before);
    if (before > 0)
        MUST(memcmp(text, old, before) == 0);
    const size_t after = line && end < old + size ? (size_t)(old + size - end) : 1;
    MUST((size_t)(text + bytes - new_end) == after);
    if (after > 1)
        MUST(memcmp(new_end, end, after) == 0);
}

/* A line with these parameters and the right checksum is used as RATECL_TUNING is, or ignored. */
static void use(const char *parameters)
{
    rc_cl_context context;
    rc_tuning tuning;
    const size_t length = strlen(parameters), all = sizeof beginning - 1 + length + 18;
    char *line = malloc(all + 1);
    MUST(line);
    const int used = snprintf(line, all + 1, "%s%s\t", beginning, parameters);
    snprintf(line + used, 18, "%016" PRIx64 "\n", rc_hash(RC_HASH_START, line, (size_t)used));
    fake_file_put(line, all);
    free(line);
    read_file(&context);
    const char *tuned = context.tuned[RATECL_PRECISION_F32];
    MUST(!*tuned || strcmp(tuned, parameters) == 0);
    MUST(rc_tuning_choose(&context.limits, RATECL_PRECISION_F32, tuned, &tuning) == RATECL_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsetenv("RATECL_TUNING");
    char *text = malloc(size + 1);
    MUST(text);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    apply(text);
    if (!strchr(text, '\n'))
        use(text);
    believe(data, size);
    keep(data, size);
    fake_file_remove();
    free(text);
    return 0;
}

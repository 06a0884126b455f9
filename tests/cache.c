/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled programs on disk: found again, and never trusted. */
#include "program_origins.h"
#include "user_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- One evaluation, and where its programs came from ---- */

static void assert_compiled(const char *device, double expected)
{
    double value;
    const program_origins seen = program_evaluate(device, RATECL_PROGRAM_CACHE_ON, &value);
    ck_assert_int_gt(seen.compiled, 0);
    ck_assert_int_eq(seen.kept, seen.compiled);
    ck_assert_int_eq(seen.loaded, 0);
    ck_assert_mem_eq(&value, &expected, sizeof value);
}

static void assert_loaded(const char *device, double expected)
{
    double value;
    const program_origins seen = program_evaluate(device, RATECL_PROGRAM_CACHE_ON, &value);
    ck_assert_int_eq(seen.compiled, 0);
    ck_assert_int_gt(seen.loaded, 0);
    ck_assert_mem_eq(&value, &expected, sizeof value);
}

/* The value without a cache. */
static double plain_value(const char *device)
{
    double value;
    const program_origins seen = program_evaluate(device, RATECL_PROGRAM_CACHE_OFF, &value);
    ck_assert_int_gt(seen.compiled, 0);
    ck_assert_int_eq(seen.kept + seen.loaded, 0);
    return value;
}

/* Call `test` for each OpenCL device, with a new folder. */
static void on_devices(void (*test)(const ratecl_device_info *device))
{
    suite_each_opencl_device(user_folder_make, test, user_folder_remove);
}

/* ---- Hits and misses ---- */

static void hit_after_miss(const ratecl_device_info *device)
{
    const double value = plain_value(device->id);
    ck_assert_int_eq(each_file("", NULL), 0);
    assert_compiled(device->id, value);
    const int files = each_file(".program", NULL);
    ck_assert_int_gt(files, 0);
    ck_assert_int_eq(each_file("", NULL), files);
    assert_loaded(device->id, value);
    ck_assert_int_eq(each_file("", NULL), files);
}

START_TEST(found_again)
{
    on_devices(hit_after_miss);
}
END_TEST

/* ---- Whether there is one ---- */

static void choices(const ratecl_device_info *device)
{
    static const char *const keeping[] = { "Portable Computing Language", "NVIDIA CUDA", "rusticl" };
    bool keeps = false;
    for (size_t k = 0; k < COUNT(keeping); k++)
        keeps = keeps || strcmp(device->platform, keeping[k]) == 0;
    double value;
    const program_origins seen = program_evaluate(device->id, RATECL_PROGRAM_CACHE_DEFAULT, &value);
    ck_assert_int_eq(seen.kept, keeps ? 0 : seen.compiled);
    ck_assert_int_eq(each_file("", NULL), seen.kept);
}

static void nowhere(const ratecl_device_info *device)
{
    double value;
    ck_assert_int_eq(setenv("RATECL_CACHE", "", 1), 0);
    const program_origins seen = program_evaluate(device->id, RATECL_PROGRAM_CACHE_ON, &value);
    ck_assert_int_gt(seen.compiled, 0);
    ck_assert_int_eq(seen.kept + seen.loaded, 0);
}

START_TEST(by_platform_and_option)
{
    on_devices(choices);
    on_devices(nowhere);
    ratecl_context_options options = RATECL_CONTEXT_OPTIONS_INIT;
    ratecl_context *context = NULL;
    options.program_cache = (ratecl_program_cache)3;
    ASSERT_REFUSED(ratecl_context_create(&options, &context), "options.program_cache", "3");
}
END_TEST

/* ---- What kernels call ---- */

static void note_undeclared(const char *message, void *user)
{
    if (strstr(message, "more than declarations.cl"))
        snprintf(user, 200, "%s", message);
}

/* Where a platform's own header is skipped, nothing is missed. */
static void declared(const ratecl_device_info *device)
{
    char message[200] = "";
    ratecl_context_options options = RATECL_CONTEXT_OPTIONS_INIT;
    options.device = device->id;
    options.log = note_undeclared;
    options.log_user = message;
    ratecl_context *context = NULL;
    ASSERT_OK(ratecl_context_create(&options, &context));
    ratecl_term terms[7];
    for (int k = 0; k < 7; k++)
        ratecl_term_init(&terms[k], (ratecl_criterion)(k < 6 ? k + 1 : RATECL_ENTROPY));
    terms[6].eps = 1e-3;
    for (int element = RATECL_F32; element <= RATECL_U8; element++) {
        const bool wide = element == RATECL_F64 || element == RATECL_U8;
        if (wide && !device->fp64)
            continue;
        const ratecl_layout states = RATECL_LAYOUT_INIT((ratecl_element)element, 1, 3, 2);
        const ratecl_layout weights = RATECL_LAYOUT_INIT((ratecl_element)element, 1, 2, 2);
        ratecl_plan_options plan_options = RATECL_PLAN_OPTIONS_INIT;
        plan_options.states = plan_options.reference = &states;
        plan_options.weights = &weights;
        plan_options.terms = terms;
        plan_options.term_count = 7;
        plan_options.precision = wide ? RATECL_PRECISION_F64 : RATECL_PRECISION_F32;
        for (int gradients = 0; gradients < 2; gradients++) {
            plan_options.outputs = RATECL_OUTPUT_VALUES;
            if (gradients)
                plan_options.outputs |= RATECL_OUTPUT_GRADIENT_STATES | RATECL_OUTPUT_GRADIENT_REFERENCE |
                                        RATECL_OUTPUT_GRADIENT_WEIGHTS;
            ratecl_plan *plan = NULL;
            ASSERT_OK(ratecl_plan_create(context, &plan_options, &plan));
            ratecl_plan_release(plan);
            ck_assert_str_eq(message, "");
        }
    }
    ratecl_context_release(context);
}

START_TEST(all_is_declared)
{
    on_devices(declared);
}
END_TEST

/* ---- The warm-up ---- */

/* A plan, and how many programs it consists of where merge and finish are one. */
typedef struct made_of {
    const char *term;
    bool gradient, has_weights;
    int64_t shape[3], strides[3], gradient_strides[3];
    int programs;
} made_of;

static const made_of plans[] = {
    { "firing_rate", true, false, { 2, 64, 1 }, { 64, 1, 1 }, { 64, 1, 1 }, 3 },
    { "firing_rate", true, false, { 2, 64, 1 }, { 34 * 64, 34, 1 }, { 17 * 64, 17, 1 }, 3 },
    { "state_prediction", true, false, { 2, 64, 8 }, { 515, 8, 1 }, { 513, 8, 1 }, 3 },
    { "state_prediction", true, false, { 2, 64, 8 }, { 512, 1, 64 }, { 512, 1, 64 }, 3 },
    { "entropy", true, false, { 2, 64, 8 }, { 8, 16, 1 }, { 8, 16, 1 }, 3 },
    { "entropy", true, false, { 2, 1, 40 }, { 40, 40, 1 }, { 1, 1, 2 }, 3 },
    { "hebbian", false, true, { 3, 5000, 8 }, { 40000, 8, 1 }, { 0 }, 2 },
};

/* The programs of finish alone, which GPU sets have, and all others. */
typedef struct program_counts {
    int others, of_finish;
} program_counts;

static void count_all(const char *message, void *user)
{
    program_counts *seen_so_far = user;
    const bool is_program = strncmp(message, "program ", 8) == 0;
    const bool is_of_finish = is_program && strstr(message, "-DKERNELS=2 ");
    seen_so_far->of_finish += is_of_finish;
    seen_so_far->others += is_program && !is_of_finish;
}

static void make_plan(ratecl_context *context, const made_of *of)
{
    const int64_t *shape = of->shape;
    ratecl_layout states = RATECL_LAYOUT_INIT(RATECL_F32, shape[0], shape[1], shape[2]), gradient = states;
    const ratecl_layout weights = RATECL_LAYOUT_INIT(RATECL_F32, 1, shape[2], shape[2]);
    memcpy(states.strides, of->strides, sizeof states.strides);
    memcpy(gradient.strides, of->gradient_strides, sizeof gradient.strides);
    ratecl_term term;
    ASSERT_OK(ratecl_term_parse(&term, of->term));
    ratecl_plan_options options = RATECL_PLAN_OPTIONS_INIT;
    options.states = &states;
    options.weights = of->has_weights ? &weights : NULL;
    options.terms = &term;
    options.term_count = 1;
    options.outputs = RATECL_OUTPUT_VALUES | (of->gradient ? RATECL_OUTPUT_GRADIENT_STATES : 0u);
    options.gradient_states = of->gradient ? &gradient : NULL;
    ratecl_plan *plan = NULL;
    ASSERT_OK(ratecl_plan_create(context, &options, &plan));
    ratecl_plan_release(plan);
}

/* A small plan warms a plan up, and that must be its own programs: the small one has no others. */
static void warmed(const ratecl_device_info *device)
{
    for (size_t k = 0; k < COUNT(plans); k++) {
        program_counts programs = { 0, 0 };
        ratecl_context_options options = RATECL_CONTEXT_OPTIONS_INIT;
        options.device = device->id;
        options.log = count_all;
        options.log_user = &programs;
        ratecl_context *context = NULL;
        ASSERT_OK(ratecl_context_create(&options, &context));
        make_plan(context, &plans[k]);
        ratecl_context_release(context);
        ck_assert_msg(
            programs.others == plans[k].programs && programs.of_finish <= 1,
            "%s: plan %zu (%s): %d programs, expected %d, and %d of finish alone, expected at most 1",
            device->id, k, plans[k].term, programs.others, plans[k].programs, programs.of_finish);
    }
}

START_TEST(warm_up_has_the_plans_programs)
{
    static const char *const tunings[] = { "", "set=small,chunk_steps=4096" };
    const char *given = getenv("RATECL_TUNING");
    char *before = given ? suite_copy(given, strlen(given) + 1) : NULL;
    on_devices(warmed);
    for (size_t k = 0; k < COUNT(tunings); k++) {
        ck_assert_int_eq(setenv("RATECL_TUNING", tunings[k], 1), 0);
        on_devices(warmed);
    }
    ck_assert_int_eq(before ? setenv("RATECL_TUNING", before, 1) : unsetenv("RATECL_TUNING"), 0);
    free(before);
}
END_TEST

/* ---- Damaged files ---- */

static void empty(const char *path)
{
    write_file(path, "", 0);
}

static void halve(const char *path)
{
    size_t bytes;
    unsigned char *content = read_file(path, &bytes);
    write_file(path, content, bytes / 2);
    free(content);
}

static void lengthen(const char *path)
{
    size_t bytes;
    unsigned char *content = read_file(path, &bytes);
    content = realloc(content, bytes + 1);
    content[bytes] = 0;
    write_file(path, content, bytes + 1);
    free(content);
}

static void flip(const char *path, size_t place_from_end)
{
    size_t bytes;
    unsigned char *content = read_file(path, &bytes);
    ck_assert_uint_lt(place_from_end, bytes);
    content[bytes - 1 - place_from_end] ^= 0x10;
    write_file(path, content, bytes);
    free(content);
}

static void flip_last(const char *path)
{
    flip(path, 0);
}

static void flip_middle(const char *path)
{
    struct stat status;
    ck_assert_int_eq(stat(path, &status), 0);
    flip(path, (size_t)status.st_size / 2);
}

static void garbage(const char *path)
{
    size_t bytes;
    unsigned char *content = read_file(path, &bytes);
    for (size_t k = 0; k < bytes; k++)
        content[k] = (unsigned char)(k * 167 + 13);
    write_file(path, content, bytes);
    free(content);
}

/* The parts of a file: a mark of 16 bytes, the bytes of the key and of the binary, a checksum; the key, the
 * binary. */
enum { HEAD_BYTES = 40 };

static void seal(unsigned char *content, size_t bytes)
{
    uint64_t checksum = UINT64_C(0xcbf29ce484222325);
    for (size_t k = HEAD_BYTES; k < bytes; k++)
        checksum = (checksum ^ content[k]) * UINT64_C(0x100000001b3);
    memcpy(content + 32, &checksum, sizeof checksum);
}

/* Whole, but for a library of another version. */
static void other_version(const char *path)
{
    size_t bytes;
    unsigned char *content = read_file(path, &bytes);
    ck_assert_mem_eq(content + HEAD_BYTES, "ratecl ", 7);
    content[HEAD_BYTES + 7] = '9';
    seal(content, bytes);
    write_file(path, content, bytes);
    free(content);
}

/* Whole, but with a binary that no driver takes. */
static void refused_binary(const char *path)
{
    size_t bytes;
    unsigned char *content = read_file(path, &bytes);
    uint64_t key_bytes, binary_bytes = 64;
    memcpy(&key_bytes, content + 16, sizeof key_bytes);
    memcpy(content + 24, &binary_bytes, sizeof binary_bytes);
    ck_assert_uint_gt(bytes, HEAD_BYTES + key_bytes + binary_bytes);
    memset(content + HEAD_BYTES + key_bytes, 0x5a, binary_bytes);
    seal(content, HEAD_BYTES + key_bytes + binary_bytes);
    write_file(path, content, HEAD_BYTES + key_bytes + binary_bytes);
    free(content);
}

static void damaged(const ratecl_device_info *device)
{
    static const file_function kinds[] = { empty,       halve,   lengthen,      flip_last,
                                           flip_middle, garbage, other_version, refused_binary };
    const double value = plain_value(device->id);
    assert_compiled(device->id, value);
    for (size_t k = 0; k < COUNT(kinds); k++) {
        if (kinds[k] == refused_binary && strcmp(device->platform, "rusticl") == 0)
            continue; /* it panics, which ends the process */
        assert_loaded(device->id, value);
        ck_assert_int_gt(each_file(".program", kinds[k]), 0);
        assert_compiled(device->id, value);
    }
    assert_loaded(device->id, value);
}

START_TEST(damaged_files)
{
    on_devices(damaged);
}
END_TEST

/* ---- What must not be trusted ---- */

static const hostile *kind;
static bool made;
static void make_hostile(const char *path)
{
    made = kind->make(path);
}

/* A file is not loaded, and another takes its place, but for a folder's. */
static void untrusted_files(const ratecl_device_info *device)
{
    const double value = plain_value(device->id);
    for (size_t k = 0; k < HOSTILE_FILES; k++) {
        kind = &hostile_files[k];
        user_folder_remove();
        user_folder_make();
        assert_compiled(device->id, value);
        assert_loaded(device->id, value);
        const int files = each_file(".program", make_hostile);
        if (!made) {
            printf("skipped: %s: could not be made here\n", kind->name);
            continue;
        }
        double got;
        const program_origins seen = program_evaluate(device->id, RATECL_PROGRAM_CACHE_ON, &got);
        const bool kept = strcmp(kind->name, "a folder") != 0;
        ck_assert_msg(seen.loaded == 0 && seen.compiled > 0 && seen.kept == (kept ? seen.compiled : 0),
                      "%s: %d loaded, %d of %d kept", kind->name, seen.loaded, seen.kept, seen.compiled);
        ck_assert_mem_eq(&got, &value, sizeof value);
        ck_assert_int_eq(each_file("", NULL), files);
        if (kept)
            assert_loaded(device->id, value);
    }
}

/* Nothing is loaded from a folder, and nothing is written to it. */
static void untrusted_folders(const ratecl_device_info *device)
{
    const double value = plain_value(device->id);
    for (int k = 0; k < 2 * HOSTILE_FOLDERS; k++) {
        kind = &hostile_folders[k / 2];
        user_folder_remove();
        user_folder_make();
        const bool filled = k % 2 == 1;
        if (filled)
            assert_compiled(device->id, value);
        const int files = each_file("", NULL);
        if (!kind->make(user_folder)) {
            printf("skipped: %s: could not be made here\n", kind->name);
            continue;
        }
        double got;
        const program_origins seen = program_evaluate(device->id, RATECL_PROGRAM_CACHE_ON, &got);
        ck_assert_msg(seen.compiled > 0 && seen.loaded + seen.kept == 0, "%s: %d loaded, %d kept", kind->name,
                      seen.loaded, seen.kept);
        ck_assert_mem_eq(&got, &value, sizeof value);
        ck_assert(each_file("", NULL) == files || each_file("", NULL) == 0);
    }
}

/* The user's own links above the folder are followed, those of another user are not. */
static void links_above(const ratecl_device_info *device)
{
    char link[100], path[120];
    snprintf(link, sizeof link, "%s/link", user_folder);
    snprintf(path, sizeof path, "%s/below/ratecl/", link);
    ck_assert_int_eq(symlink(user_elsewhere, link), 0);
    ck_assert_int_eq(setenv("RATECL_CACHE", path, 1), 0);
    const double value = plain_value(device->id);
    assert_compiled(device->id, value);
    assert_loaded(device->id, value);
    struct stat status;
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_int_eq(status.st_mode & 0777, 0700);
    if (lchown(link, 12345, (gid_t)-1) != 0) {
        printf("skipped: a link of another user: expected root\n");
        return;
    }
    double got;
    const program_origins seen = program_evaluate(device->id, RATECL_PROGRAM_CACHE_ON, &got);
    ck_assert_int_gt(seen.compiled, 0);
    ck_assert_int_eq(seen.kept + seen.loaded, 0);
}

/* Whatever the process's mask: nobody else reads or writes what is kept. */
static void modes(const ratecl_device_info *device)
{
    char path[128];
    double value;
    struct stat status;
    snprintf(path, sizeof path, "%s/made/ratecl", user_folder);
    ck_assert_int_eq(setenv("RATECL_CACHE", path, 1), 0);
    const mode_t before = umask(0);
    program_evaluate(device->id, RATECL_PROGRAM_CACHE_ON, &value);
    umask(before);
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_int_eq(status.st_mode & 0777, 0700);
    DIR *stream = opendir(path);
    ck_assert_ptr_nonnull(stream);
    for (struct dirent *entry; (entry = readdir(stream));) {
        ck_assert_int_eq(fstatat(dirfd(stream), entry->d_name, &status, 0), 0);
        ck_assert(!S_ISREG(status.st_mode) || (status.st_mode & 0777) == 0600);
    }
    closedir(stream);
}

START_TEST(not_trusted)
{
    suite_first_opencl_device(user_folder_make, untrusted_files, user_folder_remove);
    suite_first_opencl_device(user_folder_make, untrusted_folders, user_folder_remove);
    suite_first_opencl_device(user_folder_make, links_above, user_folder_remove);
    suite_first_opencl_device(user_folder_make, modes, user_folder_remove);
}
END_TEST

/* ---- Folders ---- */

static void no_folder(const ratecl_device_info *device)
{
    char path[128];
    double value;
    snprintf(path, sizeof path, "%s/file", user_folder);
    write_file(path, "", 0);
    strcat(path, "/below");
    ck_assert_int_eq(setenv("RATECL_CACHE", path, 1), 0);
    const program_origins seen = program_evaluate(device->id, RATECL_PROGRAM_CACHE_ON, &value);
    ck_assert_int_gt(seen.compiled, 0);
    ck_assert_int_eq(seen.kept + seen.loaded, 0);
}

START_TEST(folder_that_cannot_be)
{
    on_devices(no_folder);
}
END_TEST

static void age(const char *path)
{
    const struct timespec long_ago[2] = { { .tv_sec = 1000000000 }, { .tv_sec = 1000000000 } };
    ck_assert_int_eq(utimensat(AT_FDCWD, path, long_ago, 0), 0);
}

static int64_t total_bytes;
static void add_bytes(const char *path)
{
    struct stat status;
    ck_assert_int_eq(stat(path, &status), 0);
    total_bytes += status.st_size;
}

/* Files of other programs, of which the old ones are in the way, and what other processes left behind. */
static void bound(const ratecl_device_info *device)
{
    enum { FILES = 40, BYTES = 2 << 20, LIMIT = 64 << 20 };
    const double value = plain_value(device->id);
    for (int k = 0; k < FILES; k++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%016d%s", user_folder, k, k < 2 ? ".text" : ".program");
        write_file(path, "", 0);
        ck_assert_int_eq(truncate(path, BYTES), 0);
        if (k < FILES / 2)
            age(path);
    }
    char old[128], new[128];
    snprintf(old, sizeof old, "%s/unfinished-old", user_folder);
    snprintf(new, sizeof new, "%s/unfinished-new", user_folder);
    write_file(old, "", 0);
    write_file(new, "", 0);
    age(old);
    assert_compiled(device->id, value);
    assert_loaded(device->id, value);
    total_bytes = 0;
    const int left = each_file(".program", add_bytes);
    ck_assert_int_ge(left, FILES / 2);
    ck_assert_int_le(total_bytes, LIMIT);
    ck_assert_int_gt(total_bytes, LIMIT - 2 * BYTES);
    ck_assert_int_eq(each_file(".text", NULL), 2);
    ck_assert_int_ne(access(old, F_OK), 0);
    ck_assert_int_eq(access(new, F_OK), 0);
}

START_TEST(bounded)
{
    on_devices(bound);
}
END_TEST

/* ---- At once ---- */

typedef struct worker {
    const char *device;
    double value;
} worker;

static void *work(void *given)
{
    worker *self = given;
    for (int k = 0; k < 3; k++)
        program_evaluate(self->device, RATECL_PROGRAM_CACHE_ON, &self->value);
    return NULL;
}

static void threads(const ratecl_device_info *device)
{
    enum { THREADS = 3 };
    if (strcmp(device->platform, "Oclgrind") == 0)
        return; /* it gives wrong values then, whatever is kept */
    const double value = plain_value(device->id);
    pthread_t ids[THREADS];
    worker workers[THREADS];
    for (int k = 0; k < THREADS; k++) {
        workers[k] = (worker){ device->id, 0 };
        ck_assert_int_eq(pthread_create(&ids[k], NULL, work, &workers[k]), 0);
    }
    for (int k = 0; k < THREADS; k++) {
        ck_assert_int_eq(pthread_join(ids[k], NULL), 0);
        ck_assert_mem_eq(&workers[k].value, &value, sizeof value);
    }
    assert_loaded(device->id, value);
}

static const char *program;

/* Two processes that compile, keep and load. */
static void processes(const ratecl_device_info *device)
{
    enum { PROCESSES = 2 };
    const double value = plain_value(device->id);
    pid_t children[PROCESSES];
    for (int k = 0; k < PROCESSES; k++) {
        children[k] = fork();
        ck_assert_int_ge(children[k], 0);
        if (children[k] == 0) {
            execl(program, program, device->id, (char *)NULL);
            _exit(127);
        }
    }
    for (int k = 0; k < PROCESSES; k++) {
        int status;
        ck_assert_int_eq(waitpid(children[k], &status, 0), children[k]);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "process %d: status %d", k, status);
    }
    assert_loaded(device->id, value);
}

START_TEST(at_once)
{
    on_devices(threads);
    on_devices(processes);
}
END_TEST

static worker process;

START_TEST(work_here)
{
    work(&process);
}
END_TEST

/* With a device's name: one of the processes. */
int main(int count, char **arguments)
{
    program = arguments[0];
    if (count > 1) {
        const TTest *const tests[] = { work_here };
        process.device = arguments[1];
        return suite_run("cache, a process", tests, COUNT(tests));
    }
    const TTest *const tests[] = { found_again,
                                   by_platform_and_option,
                                   all_is_declared,
                                   warm_up_has_the_plans_programs,
                                   damaged_files,
                                   not_trusted,
                                   folder_that_cannot_be,
                                   bounded,
                                   at_once };
    return suite_run("cache", tests, COUNT(tests));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Failures of the file system while a search's result is kept in tuning.txt: each file call fails, or the
 * process is killed in it, or two processes write at once. What was in the file stays, or the new line is in
 * it. The library's own sources are linked, since a search for each call would take an hour. */
#include "file_faults.h"
#include "fuzz/fake_opencl.h"
#include "suite.h"
#include "user_folder.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char others[] = "# a remark\nf32\tanother device\tof a platform\t1\tsweep_step=4\t0\n";
static const char old_choice[] = "sweep_step=2", new_choice[] = "sweep_step=16,gradient_step=8";

static char file[128];

/* A folder with the old choice in it; `missing`: without the folder. */
static void folder_make(bool missing)
{
    char beginning[] = "f32\ta device\ta platform\tdriver 1\t", text[1000];
    user_folder_make();
    snprintf(file, sizeof file, "%s/above/ratecl", user_folder);
    ck_assert_int_eq(setenv("RATECL_CACHE", missing ? file : user_folder, 1), 0);
    snprintf(file, sizeof file, "%s%s/tuning.txt", user_folder, missing ? "/above/ratecl" : "");
    strcpy(text, others);
    seal_line(text + strlen(text), sizeof text - strlen(text), beginning, old_choice);
    if (!missing)
        write_file(file, text, strlen(text));
}

static ratecl_status keep(const char *driver, ratecl_precision precision, const char *choice)
{
    rc_cl_context context;
    char where[200];
    fake_context(&context, driver, NULL, NULL);
    RC_TRY(rc_cl_tuned_keep(&context, precision, NULL, where, sizeof where));
    return rc_cl_tuned_keep(&context, precision, choice, where, sizeof where);
}

static bool is_kept(const char *driver, ratecl_precision precision, const char *choice)
{
    rc_cl_context context;
    fake_context(&context, driver, NULL, NULL);
    rc_cl_tuned_read(&context);
    return strcmp(context.tuned[precision], choice) == 0;
}

static void assert_others_stay(void)
{
    size_t bytes;
    unsigned char *text = read_file(file, &bytes);
    ck_assert_ptr_eq(strstr((char *)text, others), (char *)text);
    free(text);
}

/* ---- Each call fails ---- */

/* True if there was such a call. */
static bool keep_failing(const fault *wanted, size_t at, bool missing)
{
    folder_make(missing);
    const int descriptors = open_descriptors();
    faults_arm(wanted, at);
    const ratecl_status status = keep("driver 1", RATECL_PRECISION_F32, new_choice);
    const bool failed = faults_disarm() >= at;
    ck_assert_msg(open_descriptors() == descriptors, "%s in call %zu: descriptors", wanted->name, at);
    if (status != RATECL_OK) {
        ck_assert_int_eq(status, RATECL_ERROR_ARGUMENT);
        ck_assert_ptr_nonnull(strstr(ratecl_last_error(), file));
        ck_assert_ptr_nonnull(strstr(ratecl_last_error(), strerror(wanted->error)));
    }
    ck_assert(status == RATECL_OK || (failed && !fault_is_mended(wanted)));
    ck_assert_msg(is_kept("driver 1", RATECL_PRECISION_F32,
                          status == RATECL_OK ? new_choice
                          : missing           ? ""
                                              : old_choice),
                  "%s in call %zu: %s, and the file has something else", wanted->name, at,
                  ratecl_status_name(status));
    if (!missing)
        assert_others_stay();
    if (wanted->kind != FAULT_FROM)
        ck_assert_int_eq(files_that_begin(getenv("RATECL_CACHE"), "unfinished-"), 0);
    ASSERT_OK(keep("driver 1", RATECL_PRECISION_F32, new_choice));
    ck_assert(is_kept("driver 1", RATECL_PRECISION_F32, new_choice));
    user_folder_remove();
    return failed;
}

START_TEST(failing_writes)
{
    for (int missing = 0; missing < 2; missing++)
        for (size_t k = 0; k < FAULTS; k++) {
            size_t failed = 0;
            while (keep_failing(&faults[k], failed + 1, missing))
                failed++;
            printf("tuning.txt%s: %s: %zu calls failed\n", missing ? ", no folder" : "", faults[k].name,
                   failed);
            ck_assert_uint_ge(failed, faults[k].error ? 15 : 5); /* the calls are seen */
        }
}
END_TEST

/* What cannot be read is not used; it comes whole or not at all. */
START_TEST(failing_reads)
{
    folder_make(false);
    for (size_t k = 0; k < FAULTS; k++) {
        size_t at = 0;
        for (bool failed = true; failed;) {
            rc_cl_context context;
            fake_context(&context, "driver 1", NULL, NULL);
            const int descriptors = open_descriptors();
            faults_arm(&faults[k], ++at);
            rc_cl_tuned_read(&context);
            failed = faults_disarm() >= at;
            const char *got = context.tuned[RATECL_PRECISION_F32];
            ck_assert_int_eq(open_descriptors(), descriptors);
            ck_assert(strcmp(got, old_choice) == 0 || (failed && !fault_is_mended(&faults[k]) && !*got));
            ck_assert(is_kept("driver 1", RATECL_PRECISION_F32, old_choice));
        }
        ck_assert_uint_gt(at, faults[k].error ? 5 : 1);
    }
    user_folder_remove();
}
END_TEST

/* ---- Killed ---- */

static void age(const char *path)
{
    const struct timespec long_ago[2] = { { .tv_sec = 1000000000 }, { .tv_sec = 1000000000 } };
    ck_assert_int_eq(utimensat(AT_FDCWD, path, long_ago, 0), 0);
}

START_TEST(killed)
{
    static const fault kill_it = { "SIGKILL", FAULT_KILL, 0 };
    size_t at = 0;
    int left = 0;
    for (bool again = true; again;) {
        int status;
        folder_make(false);
        ++at;
        const pid_t child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
            faults_arm(&kill_it, at);
            _exit(keep("driver 1", RATECL_PRECISION_F32, new_choice) != RATECL_OK);
        }
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        again = WIFSIGNALED(status);
        ck_assert_int_eq(status, again ? SIGKILL : 0);
        ck_assert(is_kept("driver 1", RATECL_PRECISION_F32, new_choice) ||
                  (again && is_kept("driver 1", RATECL_PRECISION_F32, old_choice)));
        assert_others_stay();
        left += files_that_begin(user_folder, "unfinished-");
        each_file("", age);
        ASSERT_OK(keep("driver 1", RATECL_PRECISION_F32, new_choice));
        ck_assert(is_kept("driver 1", RATECL_PRECISION_F32, new_choice));
        ck_assert_int_eq(files_that_begin(user_folder, "unfinished-"), 0);
        user_folder_remove();
    }
    printf("tuning.txt: killed in %zu calls, after which %d unfinished files were there\n", at - 1, left);
    ck_assert_int_gt(left, 0);
    ck_assert_uint_gt(at, 10);
}
END_TEST

/* ---- At once ---- */

/* Each process has lines of its own, and none is lost. */
START_TEST(at_once)
{
    enum { PROCESSES = 2, LINES = 10 };
    pid_t children[PROCESSES];
    char driver[40];
    folder_make(false);
    for (int p = 0; p < PROCESSES; p++) {
        children[p] = fork();
        ck_assert_int_ge(children[p], 0);
        for (int k = 0; children[p] == 0 && k < LINES; k++) {
            snprintf(driver, sizeof driver, "driver %d of process %d", k, p);
            if (keep(driver, RATECL_PRECISION_F64, new_choice) != RATECL_OK)
                _exit(EXIT_FAILURE);
        }
        if (children[p] == 0)
            _exit(EXIT_SUCCESS);
    }
    for (int p = 0; p < PROCESSES; p++) {
        int status;
        ck_assert_int_eq(waitpid(children[p], &status, 0), children[p]);
        ck_assert_int_eq(status, 0);
    }
    for (int p = 0; p < PROCESSES; p++)
        for (int k = 0; k < LINES; k++) {
            snprintf(driver, sizeof driver, "driver %d of process %d", k, p);
            ck_assert_msg(is_kept(driver, RATECL_PRECISION_F64, new_choice), "%s is lost", driver);
        }
    assert_others_stay();
    ck_assert(is_kept("driver 1", RATECL_PRECISION_F32, old_choice));
    user_folder_remove();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { failing_writes, failing_reads, killed, at_once };
    return suite_run("tuned faults", tests, COUNT(tests));
}

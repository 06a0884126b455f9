/* SPDX-License-Identifier: Apache-2.0 */
/* Failures of the file system while programs are loaded and kept: each file call of the library fails, or the
 * process is killed in it. Plans work all the same, and so does the next process. */
#include "file_faults.h"
#include "program_origins.h"
#include "user_folder.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* The folder, which is below one that is missing too. */
static char path[100];

static void folder_make(void)
{
    user_folder_make();
    snprintf(path, sizeof path, "%s/above/ratecl", user_folder);
    ck_assert_int_eq(setenv("RATECL_CACHE", path, 1), 0);
}

static void folder_empty(void)
{
    user_folder_remove();
    folder_make();
}

/* One evaluation while a call fails, and another one. True if there was such a call. */
static bool evaluate_failing(const char *device, const fault *wanted, size_t at, bool warm, double expected)
{
    double value;
    if (!warm)
        folder_empty();
    const int descriptors = open_descriptors();
    faults_arm(wanted, at);
    const program_origins seen = program_evaluate(device, RATECL_PROGRAM_CACHE_ON, &value);
    const bool failed = faults_disarm() >= at;
    ck_assert_msg(memcmp(&value, &expected, sizeof value) == 0, "%s in call %zu, %s: %.17g, expected %.17g",
                  wanted->name, at, warm ? "warm" : "cold", value, expected);
    ck_assert_msg(open_descriptors() == descriptors, "%s in call %zu, %s: %d descriptors, expected %d",
                  wanted->name, at, warm ? "warm" : "cold", open_descriptors(), descriptors);
    if (fault_is_mended(wanted))
        ck_assert_int_eq(warm ? seen.loaded : seen.kept, seen.loaded + seen.compiled);
    if (wanted->kind != FAULT_FROM) /* nothing can be removed either */
        ck_assert_msg(files_that_begin(path, "unfinished-") == 0, "%s in call %zu, %s: a file stays",
                      wanted->name, at, warm ? "warm" : "cold");
    const program_origins next = program_evaluate(device, RATECL_PROGRAM_CACHE_ON, &value);
    ck_assert_mem_eq(&value, &expected, sizeof value);
    ck_assert_int_eq(next.kept, next.compiled);
    return failed;
}

/* A program that comes from a file has the bits of one that was compiled. */
static void fail_each_call(const ratecl_device_info *device)
{
    double value;
    program_evaluate(device->id, RATECL_PROGRAM_CACHE_OFF, &value);
    for (int warm = 0; warm < 2; warm++)
        for (size_t k = 0; k < FAULTS; k++) {
            size_t failed = 0;
            while (evaluate_failing(device->id, &faults[k], failed + 1, warm, value)) {
                failed++;
                if (faults[k].kind == FAULT_TINY)
                    break; /* all at once */
            }
            printf("%s, %s: %s: %zu calls failed\n", device->id, warm ? "warm" : "cold", faults[k].name,
                   failed);
            const size_t few = faults[k].kind == FAULT_TINY || faults[k].kind == FAULT_SHORT ? 1 : 20;
            ck_assert_uint_ge(failed, few); /* the library's calls are seen */
        }
}

START_TEST(failing_calls)
{
    suite_first_opencl_device(folder_make, fail_each_call, user_folder_remove);
}
END_TEST

/* ---- Killed ---- */

static const char *program;

/* True if the process was killed in its call number `at`. */
static bool run_killed(const char *device, size_t at)
{
    char number[24];
    int status;
    snprintf(number, sizeof number, "%zu", at);
    const pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        execl(program, program, device, number, (char *)NULL);
        _exit(127);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status))
        ck_assert_int_eq(WTERMSIG(status), SIGKILL);
    else
        ck_assert_int_eq(WEXITSTATUS(status), 0);
    return WIFSIGNALED(status);
}

static void kill_in_each_call(const ratecl_device_info *device)
{
    double expected, value;
    program_evaluate(device->id, RATECL_PROGRAM_CACHE_OFF, &expected);
    size_t killed = 0;
    for (bool again = true; again;) {
        folder_empty();
        again = run_killed(device->id, killed + 1);
        killed += again;
        ck_assert_int_le(files_that_begin(path, "unfinished-"), again);
        const program_origins seen = program_evaluate(device->id, RATECL_PROGRAM_CACHE_ON, &value);
        ck_assert_mem_eq(&value, &expected, sizeof value);
        ck_assert_int_eq(seen.kept, seen.compiled);
    }
    printf("%s: killed in %zu calls\n", device->id, killed);
    ck_assert_uint_gt(killed, 15);
}

START_TEST(killed)
{
    suite_first_opencl_device(folder_make, kill_in_each_call, user_folder_remove);
}
END_TEST

/* With a device's name and a number: the process that is killed in that call. */
int main(int count, char **arguments)
{
    static const fault kill = { "SIGKILL", FAULT_KILL, 0 };
    program = arguments[0];
    if (count > 2) {
        double value;
        program_origins seen;
        faults_arm(&kill, (size_t)strtol(arguments[2], NULL, 10));
        return program_try_evaluate(arguments[1], RATECL_PROGRAM_CACHE_ON, &value, &seen) != RATECL_OK;
    }
    const TTest *const tests[] = { failing_calls, killed };
    return suite_run("cache faults", tests, COUNT(tests));
}

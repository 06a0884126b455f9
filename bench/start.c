/* SPDX-License-Identifier: Apache-2.0 */
#define _XOPEN_SOURCE 700
#include "start.h"

#include <ftw.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

extern char **environ;

void start_here(const char *device, const problem *p, arrays *host)
{
    double values[TERMS_MAX];
    memory_for(host, p->used.states);
    memory_for(host, p->used.reference);
    memory_for(host, p->used.weights);
    const double begun = seconds_now();
    target where = open_host(device);
    const double opened = seconds_now();
    ratecl_plan *plan = new_plan(where.context, p, RATECL_PRECISION_F32);
    const double made = seconds_now();
    evaluate(&where, plan, host, &p->used, values, TERMS_MAX);
    const double done = seconds_now();
    printf("%.9f %.9f\n", made - opened, done - begun);
    ratecl_plan_release(plan);
    close_target(&where);
}

/* ---- Caches ---- */

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status, (void)kind, (void)place;
    return remove(path);
}

static void remove_folder(const char *path)
{
    enum { FOLDERS_OPEN = 16 };
    nftw(path, remove_entry, FOLDERS_OPEN, FTW_DEPTH | FTW_PHYS);
}

static const char *const cache_names[] = { "RATECL_CACHE", "POCL_CACHE_DIR" };
enum { CACHES = sizeof cache_names / sizeof *cache_names };

typedef struct caches {
    char folder[256];
    char *before[CACHES]; /* what the environment named */
} caches;

static caches new_caches(void)
{
    caches made = { .before = { NULL } };
    const char *temporary = getenv("TMPDIR");
    snprintf(made.folder, sizeof made.folder, "%s/ratecl-bench-XXXXXX", temporary ? temporary : "/tmp");
    if (!mkdtemp(made.folder))
        fail(made.folder, "no such folder can be made");
    for (int k = 0; k < CACHES; ++k) {
        char path[300];
        const char *before = getenv(cache_names[k]);
        made.before[k] = before ? strdup(before) : NULL;
        snprintf(path, sizeof path, "%s/%s", made.folder, cache_names[k]);
        setenv(cache_names[k], path, 1);
    }
    return made;
}

static void remove_caches(caches *made)
{
    for (int k = 0; k < CACHES; ++k) {
        if (made->before[k])
            setenv(cache_names[k], made->before[k], 1);
        else
            unsetenv(cache_names[k]);
        free(made->before[k]);
    }
    remove_folder(made->folder);
}

/* ---- Processes ---- */

typedef struct seconds {
    double plan, values;
} seconds;

static seconds run_process(const char *program, const char *device)
{
    int ends[2], status;
    pid_t process;
    posix_spawn_file_actions_t actions;
    char *arguments[] = { (char *)program, "--start", (char *)device, NULL };
    if (pipe(ends) != 0)
        fail("pipe", "none can be made");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    if (posix_spawnp(&process, program, &actions, NULL, arguments, environ) != 0)
        fail(program, "cannot be run");
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);

    seconds found = { NAN, NAN };
    FILE *output = fdopen(ends[0], "r");
    const int numbers = output ? fscanf(output, "%lf %lf", &found.plan, &found.values) : 0;
    if (output)
        fclose(output);
    if (waitpid(process, &status, 0) != process || status != 0 || numbers != 2)
        fail(program, "failed in a process of its own");
    return found;
}

/* A run that took so long. */
static void add_time(stopwatch *watch, double time)
{
    watch->times[watch->runs++] = time;
}

start measure_start(const char *program, const char *device, bool cold, int runs)
{
    stopwatch plan = new_stopwatch(runs, INFINITY), values = plan;
    caches folder = new_caches();
    if (!cold)
        run_process(program, device);
    for (int run = 0; run < runs; ++run) {
        if (cold && run > 0) {
            remove_caches(&folder);
            folder = new_caches();
        }
        const seconds found = run_process(program, device);
        add_time(&plan, found.plan);
        add_time(&values, found.values);
    }
    remove_caches(&folder);
    return (start){ summary(&plan), summary(&values) };
}

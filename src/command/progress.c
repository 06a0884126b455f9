/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L

#include "progress.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BAR_WIDTH = 30, LINE_WIDTH = 70, QUIET_SECONDS = 1, REDRAW_MS = 250 };

/* Short enough for the pipe to take it whole or not at all. */
struct report {
    char stage[16];
    double fraction; /* below 0: not known */
};

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void draw(const struct report *latest, double elapsed)
{
    static const char full[] = "##############################", none[] = "..............................";
    char line[128];
    if (latest->fraction < 0) {
        snprintf(line, sizeof line, "%-12s %6.0f s", latest->stage, elapsed);
    } else {
        const int done = (int)(latest->fraction * BAR_WIDTH);
        snprintf(line, sizeof line, "%-12s %6.0f s  [%.*s%.*s] %3.0f %%", latest->stage, elapsed, done, full,
                 BAR_WIDTH - done, none, 100 * latest->fraction);
    }
    dprintf(STDERR_FILENO, "\r%-*.*s", LINE_WIDTH, LINE_WIDTH, line);
}

/* Until the parent closes its end, or is gone. */
static void draw_reports(int from)
{
    const double start = seconds();
    double next_draw = start + QUIET_SECONDS;
    bool drawn = false;
    struct report latest = { "", -1 };
    struct pollfd ready = { .fd = from, .events = POLLIN };
    for (;;) {
        if (poll(&ready, 1, REDRAW_MS) > 0 && read(from, &latest, sizeof latest) != (ssize_t)sizeof latest)
            break;
        const double now = seconds();
        if (now < next_draw)
            continue;
        draw(&latest, now - start);
        drawn = true;
        next_draw = now + 1e-3 * REDRAW_MS;
    }
    if (drawn)
        dprintf(STDERR_FILENO, "\r%*s\r", LINE_WIDTH, "");
}

void progress_start(struct progress *progress, bool wanted)
{
    int ends[2];
    progress->child = 0;
    progress->stage = "";
    if (!wanted || !isatty(STDERR_FILENO) || pipe(ends) != 0)
        return;
    progress->child = fork();
    if (progress->child == 0) {
        signal(SIGINT, SIG_IGN); /* the parent's end is this one's */
        close(STDOUT_FILENO);    /* whoever reads it waits for the parent alone */
        close(ends[1]);
        draw_reports(ends[0]);
        _exit(0);
    }
    close(ends[0]);
    progress->pipe = ends[1];
    if (progress->child < 0) {
        close(ends[1]);
        progress->child = 0;
        return;
    }
    /* A report that finds the pipe full is dropped: the next one says more. */
    fcntl(progress->pipe, F_SETFL, O_NONBLOCK);
    fcntl(progress->pipe, F_SETFD, FD_CLOEXEC);
}

static void send(const struct progress *progress, double fraction)
{
    struct report next = { .fraction = fraction };
    if (progress->child == 0)
        return;
    strncpy(next.stage, progress->stage, sizeof next.stage - 1);
    (void)!write(progress->pipe, &next, sizeof next);
}

void progress_stage(struct progress *progress, const char *stage)
{
    progress->stage = stage;
    send(progress, -1);
}

void progress_fraction(struct progress *progress, double fraction)
{
    send(progress, fraction);
}

void progress_stop(struct progress *progress)
{
    if (progress->child == 0)
        return;
    close(progress->pipe);
    waitpid(progress->child, NULL, 0);
    progress->child = 0;
}

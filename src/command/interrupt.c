/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L

#include "interrupt.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

enum { PATHS_MAX = 3 }; /* a gradient for each input */

/* Signals belong to the process, and so does this state. */
static struct {
    pthread_mutex_t lock;
    sigset_t signals;
    const char *paths[PATHS_MAX];
} state = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void *wait_for_signal(void *unused)
{
    int number;
    (void)unused;
    while (sigwait(&state.signals, &number) != 0)
        ;
    interrupt_hold(); /* for good: no file can be made any more */
    for (size_t k = 0; k < PATHS_MAX; ++k)
        if (state.paths[k])
            unlink(state.paths[k]);
    signal(number, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &state.signals, NULL);
    raise(number);
    _exit(128 + number); /* a container's first process outlives a signal's default action */
}

void interrupt_start(void)
{
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
    bool any = false;
    sigemptyset(&state.signals);
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; ++k) {
        struct sigaction action;
        if (sigaction(numbers[k], NULL, &action) != 0 || action.sa_handler == SIG_IGN)
            continue; /* as nohup(1) wants it */
        sigaddset(&state.signals, numbers[k]);
        any = true;
    }
    pthread_t thread;
    if (!any || pthread_sigmask(SIG_BLOCK, &state.signals, NULL) != 0)
        return;
    if (pthread_create(&thread, NULL, wait_for_signal, NULL) != 0)
        pthread_sigmask(SIG_UNBLOCK, &state.signals, NULL);
    else
        pthread_detach(thread);
}

void interrupt_hold(void)
{
    pthread_mutex_lock(&state.lock);
}

void interrupt_release(void)
{
    pthread_mutex_unlock(&state.lock);
}

static void replace(const char *old, const char *new)
{
    for (size_t k = 0; k < PATHS_MAX; ++k)
        if (state.paths[k] == old) {
            state.paths[k] = new;
            return;
        }
}

void interrupt_add(const char *path)
{
    replace(NULL, path);
}

void interrupt_drop(const char *path)
{
    replace(path, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L
#include "workers.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

enum { THREADS_MAX = 8 };

struct rc_workers {
    pthread_mutex_t turn; /* held by the caller whose work is done */
    pthread_mutex_t lock; /* of everything below */
    pthread_cond_t begun, ended;
    pthread_t threads[THREADS_MAX - 1];
    int count; /* threads beside the caller's */
    void (*work)(void *argument, int part, int parts);
    void *argument;
    unsigned long number;   /* of the work; a thread takes each one once */
    int next_part, running; /* parts that are taken, and threads that are not done */
    bool ends;
};

/* Do a part of each work that comes. */
static void *serve(void *memory)
{
    rc_workers *w = memory;
    unsigned long done = 0;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (w->number == done && !w->ends)
            pthread_cond_wait(&w->begun, &w->lock);
        if (w->ends)
            break;
        done = w->number;
        const int part = w->next_part++;
        pthread_mutex_unlock(&w->lock);
        w->work(w->argument, part, w->count + 1);
        pthread_mutex_lock(&w->lock);
        if (--w->running == 0)
            pthread_cond_signal(&w->ended);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* The threads leave signals to the program's own. */
static void start(rc_workers *w)
{
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    const int wanted = processors < THREADS_MAX ? (int)processors : THREADS_MAX;
    sigset_t all, before;
    sigfillset(&all);
    const bool masked = pthread_sigmask(SIG_SETMASK, &all, &before) == 0;
    while (w->count + 1 < wanted && pthread_create(&w->threads[w->count], NULL, serve, w) == 0)
        ++w->count;
    if (masked)
        pthread_sigmask(SIG_SETMASK, &before, NULL);
}

rc_workers *rc_workers_create(void)
{
    rc_workers *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    pthread_mutex_init(&w->turn, NULL);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->begun, NULL);
    pthread_cond_init(&w->ended, NULL);
    start(w);
    return w;
}

void rc_workers_release(rc_workers *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->ends = true;
    pthread_cond_broadcast(&w->begun);
    pthread_mutex_unlock(&w->lock);
    for (int k = 0; k < w->count; ++k)
        pthread_join(w->threads[k], NULL);
    pthread_cond_destroy(&w->begun);
    pthread_cond_destroy(&w->ended);
    pthread_mutex_destroy(&w->lock);
    pthread_mutex_destroy(&w->turn);
    free(w);
}

void rc_workers_abandon(rc_workers *w)
{
    /* Threads that do not exist here may have locked the mutexes, so they are not destroyed. */
    free(w);
}

void rc_workers_run(rc_workers *w, void (*work)(void *argument, int part, int parts), void *argument)
{
    pthread_mutex_lock(&w->turn);
    pthread_mutex_lock(&w->lock);
    w->work = work;
    w->argument = argument;
    w->next_part = 1;
    w->running = w->count;
    ++w->number;
    pthread_cond_broadcast(&w->begun);
    pthread_mutex_unlock(&w->lock);
    work(argument, 0, w->count + 1);
    pthread_mutex_lock(&w->lock);
    while (w->running > 0)
        pthread_cond_wait(&w->ended, &w->lock);
    pthread_mutex_unlock(&w->lock);
    pthread_mutex_unlock(&w->turn);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: the threads that do steps, and the queues to and from them.
 * Must never know: what a step is for. */
#include "hostside/worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct queue {
    struct step *first, *last;
};

struct worker {
    struct domain_driver *domains;
    struct attach_driver *disks;
    int fd;
    unsigned thread_count;
    pthread_t threads[WORKER_THREADS];
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    struct queue todo, done;
    bool stop;
};

static void push(struct queue *q, struct step *s)
{
    s->next = NULL;
    if (q->last)
        q->last->next = s;
    else
        q->first = s;
    q->last = s;
}

static struct step *pop(struct queue *q)
{
    struct step *s = q->first;

    if (!s)
        return NULL;
    q->first = s->next;
    if (!q->first)
        q->last = NULL;
    s->next = NULL;
    return s;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    uint64_t one = 1;

    pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        struct step *s = pop(&w->todo);

        if (!s) {
            pthread_cond_wait(&w->wake, &w->lock);
            continue;
        }
        pthread_mutex_unlock(&w->lock);
        step_run(s, w->domains, w->disks);
        pthread_mutex_lock(&w->lock);
        push(&w->done, s);
        if (write(w->fd, &one, sizeof one) < 0)
            continue; /* the counter is full: it is readable already */
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static int start_threads(struct worker *w)
{
    sigset_t all, before;
    int rc = 0;

    /* Signals are for the main thread; libxl's own handler runs there as well. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (rc == 0 && w->thread_count < WORKER_THREADS) {
        rc = pthread_create(&w->threads[w->thread_count], NULL, work, w);
        if (rc == 0)
            w->thread_count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -rc;
}

int worker_new(struct domain_driver *domains, struct attach_driver *disks, struct worker **ret,
               struct err *e)
{
    struct worker *w = calloc(1, sizeof *w);
    int rc;

    if (!w)
        return err_set(e, -ENOMEM, "out of memory");
    w->domains = domains;
    w->disks = disks;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    rc = w->fd < 0 ? -errno : start_threads(w);
    if (rc < 0) {
        worker_free(w);
        return err_set(e, rc, "start threads: %s", strerror(-rc));
    }
    *ret = w;
    return 0;
}

void worker_free(struct worker *w)
{
    struct step *s;

    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->lock);
    for (unsigned i = 0; i < w->thread_count; i++)
        pthread_join(w->threads[i], NULL);
    while ((s = pop(&w->todo)) || (s = pop(&w->done)))
        free(s);
    if (w->fd >= 0)
        close(w->fd);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

void worker_submit(struct worker *w, struct step *s)
{
    pthread_mutex_lock(&w->lock);
    push(&w->todo, s);
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

int worker_fd(const struct worker *w)
{
    return w->fd;
}

struct step *worker_take(struct worker *w)
{
    struct step *s;
    uint64_t count;

    pthread_mutex_lock(&w->lock);
    s = pop(&w->done);
    if (!s && read(w->fd, &count, sizeof count) < 0)
        s = NULL; /* it was quiet already */
    pthread_mutex_unlock(&w->lock);
    return s;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* pool - a queue, a lock and a few threads.  It knows nothing of what the jobs do. */
#include "server/io/pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/log.h"
#include "server/io/thread.h"

#define POOL_THREADS_MAX 64u

struct pool {
    pthread_mutex_t lock; /* guards all below but `threads`; held for a few instructions only */
    pthread_cond_t more;
    struct pool_job *jobs, **jobs_end;
    bool stopping;
    unsigned count;
    pthread_t threads[POOL_THREADS_MAX];
};

static void deliver(struct shard_msg *m)
{
    struct pool_job *j = (struct pool_job *)((char *)m - offsetof(struct pool_job, msg));

    j->done(j);
}

/* The oldest job, waited for; NULL when the pool ends and none is left. */
static struct pool_job *take(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    while (!p->jobs && !p->stopping)
        pthread_cond_wait(&p->more, &p->lock);
    struct pool_job *j = p->jobs;
    if (j) {
        p->jobs = j->next;
        if (!p->jobs)
            p->jobs_end = &p->jobs;
    }
    pthread_mutex_unlock(&p->lock);
    return j;
}

static void *pool_thread(void *arg)
{
    struct pool *p = arg;

    for (struct pool_job *j = take(p); j; j = take(p)) {
        j->run(j);
        if (j->home) {
            j->msg.fn = deliver;
            shard_post(j->home, &j->msg);
        } else {
            j->done(j);
        }
    }
    return NULL;
}

int pool_start(const char *name, unsigned threads, struct pool **ret, struct err *e)
{
    struct pool *p = calloc(1, sizeof *p);

    if (!p)
        return err_set(e, -ENOMEM, "start pool '%s': no memory", name);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->more, NULL);
    p->jobs_end = &p->jobs;
    if (threads > POOL_THREADS_MAX)
        threads = POOL_THREADS_MAX;
    for (unsigned i = 0; i < threads; i++) {
        int rc = thread_start(name, pool_thread, p, &p->threads[i], e);
        if (rc < 0) {
            pool_stop(p);
            return rc;
        }
        p->count++;
    }
    *ret = p;
    return 0;
}

void pool_go_first(struct pool *p)
{
    struct sched_param first = { .sched_priority = 1 };

    for (unsigned i = 0; i < p->count; i++) {
        int rc = pthread_setschedparam(p->threads[i], SCHED_FIFO, &first);
        if (rc != 0)
            log_debug("pool: not before others: %s", strerror(rc));
    }
}

void pool_stop(struct pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->more);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->count; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->more);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void pool_submit(struct pool *p, struct pool_job *j)
{
    j->next = NULL;
    pthread_mutex_lock(&p->lock);
    *p->jobs_end = j;
    p->jobs_end = &j->next;
    pthread_cond_signal(&p->more);
    pthread_mutex_unlock(&p->lock);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* shard - the loop: completions, then messages, then timers, then deferred tasks, then one system
 * call that submits all that came of it and waits.  It knows neither sockets nor files. */
#include "server/io/shard.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "server/base/clock.h"
#include "server/io/ring.h"
#include "server/io/thread.h"

#define RING_ENTRIES 1024u
#define CQ_ENTRIES   8192u /* more completions than this at a time cost an extra call, no loss */
#define TASK_ROUNDS  4     /* of tasks that defer tasks, before the ring has its turn again */
#define BUFFER_COUNT 64u   /* a power of two */

/* Owned by its thread, but for `inbox` and `asleep`, which any thread may touch. */
struct shard {
    struct io_uring ring;
    pthread_t thread;
    bool stopping;
    int64_t now_ns; /* shard_now() */

    _Atomic(struct shard_msg *) inbox; /* newest first */
    atomic_bool asleep;                /* about to wait: a poster must ring the bell */
    int bell;                          /* eventfd */
    uint64_t bell_count;
    struct ring_op bell_op;
    struct ring_op no_op; /* for completions that nobody waits for */

    struct shard_timer *timers; /* soonest first */
    struct shard_task *tasks, **tasks_end;

    struct io_uring_buf_ring *buffer_ring;
    uint8_t *buffers;
};

/* What the new thread tells the one that started it. */
struct startup {
    struct shard *shard;
    sem_t ready;
    int rc;
};

/* ---- the ring -------------------------------------------------------------------------------- */

struct io_uring_sqe *ring_sqe(struct shard *s)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring);

    while (!sqe) {
        io_uring_submit(&s->ring);
        sqe = io_uring_get_sqe(&s->ring);
    }
    return sqe;
}

void ring_cancel(struct shard *s, struct ring_op *op)
{
    struct io_uring_sqe *sqe = ring_sqe(s);

    io_uring_prep_cancel(sqe, op, 0);
    ring_own(sqe, &s->no_op);
}

static void nobody(struct ring_op *op, int res, uint32_t flags)
{
    (void)op, (void)res, (void)flags;
}

void *ring_buffer(struct shard *s, uint32_t cqe_flags)
{
    return s->buffers + (size_t)(cqe_flags >> IORING_CQE_BUFFER_SHIFT) * RING_BUFFER_BYTES;
}

void ring_buffer_return(struct shard *s, uint32_t cqe_flags)
{
    uint16_t id = (uint16_t)(cqe_flags >> IORING_CQE_BUFFER_SHIFT);

    io_uring_buf_ring_add(s->buffer_ring, s->buffers + (size_t)id * RING_BUFFER_BYTES,
                          RING_BUFFER_BYTES, id, io_uring_buf_ring_mask(BUFFER_COUNT), 0);
    io_uring_buf_ring_advance(s->buffer_ring, 1);
}

static int make_buffers(struct shard *s)
{
    size_t ring_bytes = BUFFER_COUNT * sizeof(struct io_uring_buf);
    size_t bytes = (size_t)BUFFER_COUNT * RING_BUFFER_BYTES;
    void *ring = mmap(NULL, ring_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ring == MAP_FAILED)
        return -ENOMEM;
    s->buffer_ring = ring;
    void *buffers = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffers == MAP_FAILED)
        return -ENOMEM;
    s->buffers = buffers;

    struct io_uring_buf_reg reg = { .ring_addr = (uint64_t)(uintptr_t)ring,
                                    .ring_entries = BUFFER_COUNT,
                                    .bgid = RING_BUFFERS };
    int rc = io_uring_register_buf_ring(&s->ring, &reg, 0);
    if (rc < 0)
        return rc;
    io_uring_buf_ring_init(s->buffer_ring);
    for (uint32_t i = 0; i < BUFFER_COUNT; i++)
        ring_buffer_return(s, i << IORING_CQE_BUFFER_SHIFT);
    return 0;
}

static int open_ring(struct shard *s)
{
    struct io_uring_params wanted = { .flags =
                                          IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN };
    int rc = io_uring_queue_init_params(RING_ENTRIES, &s->ring, &wanted);
    if (rc == -EINVAL) { /* a kernel without them: slower, not wrong */
        struct io_uring_params plain = { .flags = IORING_SETUP_CQSIZE, .cq_entries = CQ_ENTRIES };
        rc = io_uring_queue_init_params(RING_ENTRIES, &s->ring, &plain);
    }
    if (rc < 0)
        return rc;
    rc = make_buffers(s);
    if (rc < 0)
        io_uring_queue_exit(&s->ring);
    return rc;
}

/* ---- messages -------------------------------------------------------------------------------- */

void shard_post(struct shard *s, struct shard_msg *m)
{
    struct shard_msg *head = atomic_load(&s->inbox);

    do
        m->next = head;
    while (!atomic_compare_exchange_weak(&s->inbox, &head, m));
    if (atomic_exchange(&s->asleep, false)) {
        uint64_t one = 1;
        ssize_t n = write(s->bell, &one, sizeof one);
        (void)n; /* the counter cannot overflow: it is read before it is rung again */
    }
}

static bool run_messages(struct shard *s)
{
    struct shard_msg *m = atomic_exchange(&s->inbox, NULL), *in_order = NULL;
    bool any = m;

    while (m) {
        struct shard_msg *next = m->next;
        m->next = in_order;
        in_order = m;
        m = next;
    }
    while (in_order) {
        m = in_order;
        in_order = m->next;
        m->fn(m);
    }
    return any;
}

static void arm_bell(struct shard *s)
{
    struct io_uring_sqe *sqe = ring_sqe(s);

    io_uring_prep_read(sqe, s->bell, &s->bell_count, sizeof s->bell_count, 0);
    ring_own(sqe, &s->bell_op);
}

static void on_bell(struct ring_op *op, int res, uint32_t flags)
{
    struct shard *s = (struct shard *)((char *)op - offsetof(struct shard, bell_op));

    (void)res, (void)flags; /* the inbox is looked at in any case */
    arm_bell(s);
}

struct call {
    struct shard_msg msg;
    void (*fn)(void *arg);
    void *arg;
    sem_t done;
};

static void run_call(struct shard_msg *m)
{
    struct call *c = (struct call *)((char *)m - offsetof(struct call, msg));

    c->fn(c->arg);
    sem_post(&c->done);
}

static void wait_for(sem_t *sem)
{
    while (sem_wait(sem) < 0 && errno == EINTR)
        ;
}

void shard_call(struct shard *s, void (*fn)(void *arg), void *arg)
{
    struct call c = { .msg.fn = run_call, .fn = fn, .arg = arg };

    assert(!shard_here(s));
    sem_init(&c.done, 0, 0);
    shard_post(s, &c.msg);
    wait_for(&c.done);
    sem_destroy(&c.done);
}

void shard_gate_init(struct shard_gate *g)
{
    sem_init(&g->opened, 0, 0);
    atomic_init(&g->open, false);
}

void shard_gate_open(struct shard_gate *g)
{
    atomic_store(&g->open, true);
    sem_post(&g->opened); /* the gate may be gone from here on */
}

bool shard_gate_wait(struct shard *s, struct shard_gate *g, int64_t deadline_ns)
{
    const struct timespec until = { .tv_sec = deadline_ns / NS_PER_S,
                                    .tv_nsec = deadline_ns % NS_PER_S };

    assert(!shard_here(s));
    if (deadline_ns == 0) {
        wait_for(&g->opened);
        return true;
    }
    while (sem_clockwait(&g->opened, CLOCK_MONOTONIC, &until) < 0)
        if (errno != EINTR)
            return false;
    return atomic_load(&g->open);
}

bool shard_here(const struct shard *s)
{
    return pthread_equal(pthread_self(), s->thread);
}

/* ---- tasks and timers ------------------------------------------------------------------------ */

void shard_defer(struct shard *s, struct shard_task *t)
{
    if (t->queued)
        return;
    t->queued = true;
    t->next = NULL;
    *s->tasks_end = t;
    s->tasks_end = &t->next;
}

/* Tasks that were deferred by these tasks run in the next round; those of the last round stay, so
 * that one busy connection cannot keep the ring from the others. */
static void run_tasks(struct shard *s)
{
    for (unsigned round = 0; round < TASK_ROUNDS && s->tasks; round++) {
        struct shard_task *t = s->tasks;
        s->tasks = NULL;
        s->tasks_end = &s->tasks;
        while (t) {
            struct shard_task *next = t->next;
            t->queued = false;
            t->fn(t); /* may free it, or defer it again */
            t = next;
        }
    }
}

void shard_timer_cancel(struct shard *s, struct shard_timer *t)
{
    for (struct shard_timer **at = &s->timers; t->due_ns && *at; at = &(*at)->next)
        if (*at == t) {
            *at = t->next;
            break;
        }
    t->due_ns = 0;
}

void shard_timer_set(struct shard *s, struct shard_timer *t, int64_t due_ns)
{
    struct shard_timer **at = &s->timers;

    shard_timer_cancel(s, t);
    while (*at && (*at)->due_ns <= due_ns)
        at = &(*at)->next;
    t->due_ns = due_ns;
    t->next = *at;
    *at = t;
}

static void run_timers(struct shard *s)
{
    while (s->timers && s->timers->due_ns <= s->now_ns) {
        struct shard_timer *t = s->timers;
        s->timers = t->next;
        t->due_ns = 0;
        t->fn(t);
    }
}

/* ---- the loop -------------------------------------------------------------------------------- */

static bool run_completions(struct shard *s)
{
    struct io_uring_cqe *cqe;
    bool any = false;

    while (io_uring_peek_cqe(&s->ring, &cqe) == 0) {
        struct ring_op *op = io_uring_cqe_get_data(cqe);
        int res = cqe->res;
        uint32_t flags = cqe->flags;
        io_uring_cqe_seen(&s->ring, cqe);
        op->fn(op, res, flags);
        any = true;
    }
    return any;
}

/* True if nothing is left to do before the ring reports something: from then on a poster rings. */
static bool fall_asleep(struct shard *s)
{
    if (s->tasks)
        return false;
    atomic_store(&s->asleep, true);
    if (!atomic_load(&s->inbox))
        return true;
    atomic_store(&s->asleep, false);
    return false;
}

/* Submits everything, and waits until there is something to do. */
static void submit_and_wait(struct shard *s)
{
    struct __kernel_timespec wait;
    struct io_uring_cqe *cqe;

    if (!fall_asleep(s)) {
        io_uring_submit_and_get_events(&s->ring);
        return;
    }
    if (s->timers) {
        int64_t left = s->timers->due_ns - s->now_ns;
        if (left < 0)
            left = 0;
        wait = (struct __kernel_timespec){ .tv_sec = left / NS_PER_S, .tv_nsec = left % NS_PER_S };
    }
    io_uring_submit_and_wait_timeout(&s->ring, &cqe, 1, s->timers ? &wait : NULL, NULL);
    atomic_store(&s->asleep, false);
}

int64_t shard_now(const struct shard *s)
{
    return s->now_ns;
}

int64_t shard_tick(struct shard *s)
{
    return s->now_ns = clock_mono_ns();
}

static void loop(struct shard *s)
{
    while (!s->stopping) {
        shard_tick(s);
        run_completions(s);
        run_messages(s);
        run_timers(s);
        run_tasks(s);
        if (!s->stopping)
            submit_and_wait(s);
    }
}

static void *shard_thread(void *arg)
{
    struct startup *up = arg;
    struct shard *s = up->shard;

    s->thread = pthread_self();
    int rc = up->rc = open_ring(s);
    if (rc == 0)
        arm_bell(s);
    sem_post(&up->ready); /* *up is gone from here on */
    if (rc < 0)
        return NULL;

    loop(s);
    io_uring_queue_exit(&s->ring);
    return NULL;
}

static void shard_free(struct shard *s)
{
    if (s->buffer_ring)
        munmap(s->buffer_ring, BUFFER_COUNT * sizeof(struct io_uring_buf));
    if (s->buffers)
        munmap(s->buffers, (size_t)BUFFER_COUNT * RING_BUFFER_BYTES);
    if (s->bell >= 0)
        close(s->bell);
    free(s);
}

static int explain(struct err *e, int rc)
{
    if (rc == -EPERM || rc == -ENOSYS || rc == -EACCES)
        return err_set(e, -ENOSYS,
                       "io_uring is not allowed here: Linux 6.1 or newer is needed, with "
                       "kernel.io_uring_disabled=0 and no seccomp filter against it");
    return err_set(e, rc, "io_uring: %s", strerror(-rc));
}

int shard_start(const char *name, struct shard **ret, struct err *e)
{
    struct shard *s = calloc(1, sizeof *s);
    struct startup up = { .shard = s };
    pthread_t thread;

    if (!s)
        return err_set(e, -ENOMEM, "start shard '%s': no memory", name);
    s->bell_op.fn = on_bell;
    s->no_op.fn = nobody;
    s->tasks_end = &s->tasks;
    s->bell = eventfd(0, EFD_CLOEXEC);
    if (s->bell < 0) {
        int rc = err_errno(e, "start shard '%s'", name);
        shard_free(s);
        return rc;
    }
    sem_init(&up.ready, 0, 0);
    int rc = thread_start(name, shard_thread, &up, &thread, e);
    if (rc == 0) {
        wait_for(&up.ready);
        rc = up.rc;
        if (rc < 0) {
            pthread_join(thread, NULL);
            rc = explain(e, rc);
        }
    }
    sem_destroy(&up.ready);
    if (rc < 0) {
        shard_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

static void stop_now(struct shard_msg *m)
{
    struct call *c = (struct call *)((char *)m - offsetof(struct call, msg));

    ((struct shard *)c->arg)->stopping = true;
}

void shard_stop(struct shard *s)
{
    if (!s)
        return;
    struct call c = { .msg.fn = stop_now, .arg = s };
    pthread_t thread = s->thread;
    assert(!shard_here(s));
    shard_post(s, &c.msg);
    pthread_join(thread, NULL);
    shard_free(s);
}

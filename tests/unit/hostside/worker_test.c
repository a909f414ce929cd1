/* SPDX-License-Identifier: Apache-2.0 */
/* Steps done on other threads: beside each other, and each comes back once. */
#include "tests/unit/unit.h"

#include "hostside/worker.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

/* A domain driver whose pause() waits until as many as `together` are inside. */
struct fake {
    struct domain_driver driver;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    unsigned inside, together, done;
};

static int fake_pause(struct domain_driver *d, uint32_t domid, struct err *e)
{
    struct fake *f = (struct fake *)d;

    pthread_mutex_lock(&f->lock);
    f->inside++;
    pthread_cond_broadcast(&f->wake);
    while (f->inside < f->together)
        pthread_cond_wait(&f->wake, &f->lock);
    f->done++;
    pthread_mutex_unlock(&f->lock);
    return domid == 13 ? err_set(e, -EIO, "thirteen") : 0;
}

static const struct domain_ops ops = { .pause = fake_pause };

static void begin(struct fake *f, unsigned together)
{
    *f = (struct fake){ .driver.ops = &ops, .together = together };
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->wake, NULL);
}

static struct step *pause_step(uint32_t domid)
{
    struct step *s = calloc(1, sizeof *s);

    assert_non_null(s);
    s->kind = PLAN_PAUSE;
    s->domid = domid;
    return s;
}

static struct step *wait_for_one(struct worker *w)
{
    struct pollfd p = { .fd = worker_fd(w), .events = POLLIN };
    struct step *s;

    while (!(s = worker_take(w)))
        assert_int_equal(poll(&p, 1, 10000), 1);
    return s;
}

static void steps_run_beside_each_other_and_come_back_once(void **state)
{
    struct fake f;
    struct worker *w;
    unsigned seen = 0;

    (void)state;
    begin(&f, WORKER_THREADS); /* would wait for ever one after the other */
    assert_int_equal(worker_new(&f.driver, NULL, &w, NULL), 0);
    for (unsigned i = 0; i < WORKER_THREADS; i++)
        worker_submit(w, pause_step(i));
    for (unsigned i = 0; i < WORKER_THREADS; i++) {
        struct step *s = wait_for_one(w);

        assert_int_equal(s->rc, 0);
        seen |= 1u << s->domid;
        free(s);
    }
    assert_int_equal(seen, (1u << WORKER_THREADS) - 1);
    assert_null(worker_take(w));
    worker_free(w);
}

static void a_failure_comes_back_with_its_words(void **state)
{
    struct fake f;
    struct worker *w;
    struct step *s;

    (void)state;
    begin(&f, 1);
    assert_int_equal(worker_new(&f.driver, NULL, &w, NULL), 0);
    worker_submit(w, pause_step(13));
    s = wait_for_one(w);
    assert_int_equal(s->rc, -EIO);
    assert_string_equal(s->err.msg, "thirteen");
    free(s);
    worker_free(w);
}

static void more_steps_than_threads_are_all_done(void **state)
{
    struct fake f;
    struct worker *w;

    (void)state;
    begin(&f, 1);
    assert_int_equal(worker_new(&f.driver, NULL, &w, NULL), 0);
    for (unsigned i = 0; i < 100; i++)
        worker_submit(w, pause_step(1));
    for (unsigned i = 0; i < 100; i++)
        free(wait_for_one(w));
    assert_int_equal(f.done, 100);
    worker_free(w);
}

static void what_is_not_done_is_freed_with_the_worker(void **state)
{
    struct fake f;
    struct worker *w;

    (void)state;
    begin(&f, 1);
    assert_int_equal(worker_new(&f.driver, NULL, &w, NULL), 0);
    for (unsigned i = 0; i < 100; i++)
        worker_submit(w, pause_step(1));
    worker_free(w); /* a leak would be seen under ASan */
    worker_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_run_beside_each_other_and_come_back_once),
        cmocka_unit_test(a_failure_comes_back_with_its_words),
        cmocka_unit_test(more_steps_than_threads_are_all_done),
        cmocka_unit_test(what_is_not_done_is_freed_with_the_worker),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* notices - one node for each volume and sort of notice, kept while it waits or was told lately.
 *
 * The lock is held for copies alone, never across a round. */
#include "server/control/notices.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/clock.h"
#include "server/control/loop.h"

struct node {
    struct node *next;
    struct notice notice;
    bool waits;
    unsigned tokens;
    int64_t refill_ns; /* when it gets its next token; 0: it has all */
};

struct notices {
    struct loop *loop;
    struct notices_times times;
    notices_round_fn round;
    void *ctx;
    struct loop_timer timer; /* the next round */
    int64_t last_ns;         /* the last one */

    struct loop_msg message;
    pthread_mutex_t lock; /* guards what follows */
    bool posted;
    struct node *nodes;
    unsigned count, lost;
};

/* Notices of one sort take each other's place. */
static unsigned sort_of(enum notice_kind kind)
{
    static const uint8_t sorts[NOTICE_KINDS] = {
        [NOTICE_FAILED] = 0,    [NOTICE_PARKED] = 1,   [NOTICE_RESUMED] = 1, [NOTICE_STALLED] = 2,
        [NOTICE_RECOVERED] = 2, [NOTICE_REPLACED] = 3, [NOTICE_DAMAGED] = 4, [NOTICE_FENCED] = 3,
    };

    return sorts[kind];
}

static struct node *find(struct notices *n, enum notice_kind kind, const char *name)
{
    for (struct node *at = n->nodes; at; at = at->next)
        if (sort_of(at->notice.kind) == sort_of(kind) && strcmp(at->notice.name, name) == 0)
            return at;
    return NULL;
}

static struct node *add(struct notices *n, const char *name)
{
    struct node *new = n->count < NOTICES_MAX ? calloc(1, sizeof *new) : NULL;

    if (!new)
        return NULL;
    snprintf(new->notice.name, sizeof new->notice.name, "%s", name);
    new->tokens = NOTICES_BURST;
    new->next = n->nodes;
    n->nodes = new;
    n->count++;
    return new;
}

void notices_put(struct notices *n, enum notice_kind kind, const char *name, const char *why,
                 int64_t ns)
{
    pthread_mutex_lock(&n->lock);
    struct node *at = find(n, kind, name);
    if (!at)
        at = add(n, name);
    if (!at) {
        n->lost++;
    } else {
        at->notice.more += at->waits;
        at->notice.kind = kind;
        at->notice.ns = ns;
        snprintf(at->notice.why, sizeof at->notice.why, "%s", why ? why : "");
        at->waits = true;
    }
    bool post = !n->posted;
    n->posted = true;
    pthread_mutex_unlock(&n->lock);
    if (post)
        loop_post(n->loop, &n->message);
}

/* ---- rounds ----------------------------------------------------------------------------------*/

static void refill(struct node *at, int64_t quiet_ns, int64_t now_ns)
{
    while (at->refill_ns && at->refill_ns <= now_ns) {
        at->tokens++;
        at->refill_ns = at->tokens < NOTICES_BURST ? at->refill_ns + quiet_ns : 0;
    }
}

static void take(struct node *at, struct notice *ret, int64_t quiet_ns, int64_t now_ns)
{
    *ret = at->notice;
    at->notice.more = 0;
    at->waits = false;
    at->tokens--;
    if (!at->refill_ns)
        at->refill_ns = now_ns + quiet_ns;
}

/* Moves what may be told into list, which has room for all; forgets nodes that were told of long
 * ago.  Fills when to look again, 0 = when there is something new. */
static size_t collect(struct notices *n, struct notice *list, int64_t now_ns, int64_t *ret_again_ns)
{
    size_t count = 0;

    *ret_again_ns = 0;
    for (struct node **at = &n->nodes; *at;) {
        struct node *node = *at;
        refill(node, n->times.quiet_ns, now_ns);
        if (node->waits && node->tokens)
            take(node, &list[count++], n->times.quiet_ns, now_ns);
        if (!node->refill_ns) {
            *at = node->next;
            free(node);
            n->count--;
            continue;
        }
        if (!*ret_again_ns || node->refill_ns < *ret_again_ns)
            *ret_again_ns = node->refill_ns;
        at = &node->next;
    }
    return count;
}

static void run_round(struct loop_timer *t)
{
    struct notices *n = (struct notices *)((char *)t - offsetof(struct notices, timer));
    int64_t now_ns = clock_mono_ns(), again_ns;
    size_t count = 0;
    unsigned lost = 0;

    pthread_mutex_lock(&n->lock);
    struct notice *list = calloc(n->count + 1, sizeof *list);
    if (list) {
        count = collect(n, list, now_ns, &again_ns);
        lost = n->lost;
        n->lost = 0;
    } else {
        again_ns = now_ns + n->times.round_ns;
    }
    pthread_mutex_unlock(&n->lock);

    n->last_ns = now_ns;
    if (again_ns)
        loop_timer_set(n->loop, t,
                       again_ns > now_ns + n->times.round_ns ? again_ns
                                                             : now_ns + n->times.round_ns);
    if (count || lost)
        n->round(n->ctx, list, count, lost);
    free(list);
}

static void on_message(struct loop_msg *m)
{
    struct notices *n = (struct notices *)((char *)m - offsetof(struct notices, message));

    pthread_mutex_lock(&n->lock);
    n->posted = false;
    pthread_mutex_unlock(&n->lock);
    loop_timer_set(n->loop, &n->timer, n->last_ns ? n->last_ns + n->times.round_ns : 1);
}

/* ---- life ------------------------------------------------------------------------------------*/

int notices_new(struct loop *loop, const struct notices_times *times, notices_round_fn round,
                void *ctx, struct notices **ret, struct err *e)
{
    static const struct notices_times usual = { .round_ns = NS_PER_S / 2,
                                                .quiet_ns = 30 * NS_PER_S };
    struct notices *n = calloc(1, sizeof *n);

    if (!n)
        return err_set(e, -ENOMEM, "out of memory");
    n->loop = loop;
    n->times = times ? *times : usual;
    n->round = round;
    n->ctx = ctx;
    n->timer.fn = run_round;
    n->message.fn = on_message;
    pthread_mutex_init(&n->lock, NULL);
    *ret = n;
    return 0;
}

void notices_free(struct notices *n)
{
    if (!n)
        return;
    loop_timer_cancel(n->loop, &n->timer);
    loop_unpost(n->loop, &n->message);
    while (n->nodes) {
        struct node *next = n->nodes->next;
        free(n->nodes);
        n->nodes = next;
    }
    pthread_mutex_destroy(&n->lock);
    free(n);
}

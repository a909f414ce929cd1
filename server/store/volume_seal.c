/* SPDX-License-Identifier: Apache-2.0 */
/* volume_seal - one instant over many volumes: their tops become sealed layers.
 *
 * The order of steps:
 *   1 all volumes commit, without holding anything up, so that little is left for step 3
 *   2 all hold back new mutators and flushes, before any of them goes on to
 *   3 await the mutators that had begun (parked ones had not), commit, mark clean; the mark rides
 *     on the same batch
 *   4 all hold still: the new stacks are made, so that nothing can fail afterwards
 *   5 the caller's catalog transaction
 *   6 the new tops take over, and what was held back goes on there; or, without the transaction, on
 *     the old ones
 * A volume whose top was never written to keeps it.  A volume that is not open is clean already,
 * and takes part by not being opened meanwhile.
 * Must never know exports or the catalog.
 * Threads: a seal belongs to the control thread; its members' state to the shard while a step is
 * under way; the store's lock guards the list of seals. */
#include "server/store/volume_seal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/base/clock.h"
#include "server/store/live.h"
#include "server/store/open_layers.h"
#include "server/store/stack.h"
#include "server/store/store_state.h"
#include "server/store/volume.h"

#define FLUSH_NS     (10 * NS_PER_S) /* for step 1 */
#define FLUSH_ROUNDS 3
#define FLUSH_ENOUGH (4ull << 20) /* bytes not synced after a round; with more there is another */

enum member_phase {
    MEMBER_FLUSHING, /* awaits a commit; nothing is held */
    MEMBER_FLUSHED,
    MEMBER_HOLDING, /* awaits that what had begun is over, committed and marked clean */
    MEMBER_STILL,
};

struct seal_member {
    struct store_seal *seal;
    struct layer_id top, new_top;
    struct volume *v; /* the shard's; NULL: not open, or not any more */
    enum member_phase phase;
    uint64_t commit;           /* FLUSHING: the number of the one that is awaited */
    bool committing;           /* HOLDING: its commit was begun */
    bool empty;                /* the top stays */
    bool left;                 /* its volume has closed since it holds still */
    bool sealed;               /* the new top has taken over */
    struct layer *fresh, *old; /* the new top; the old one, counted when it holds still … */
    struct stack *below;       /* … with what it lies on */
    struct stack *stack;       /* old on below */
};

struct store_seal {
    struct store *s;
    struct store_seal *next; /* in the store's list */
    unsigned count;
    struct shard_gate gate;
    bool waiting;     /* the control thread, at the gate */
    unsigned pending; /* members that the step waits for */
    _Atomic int error;
    struct err why; /* the shard's until it has let go */
    struct seal_member members[];
};

/* ---- a step: on the shard, awaited by the control thread --------------------------------------*/

static void end_step(struct store_seal *seal)
{
    if (!seal->waiting)
        return;
    seal->waiting = false;
    shard_gate_open(&seal->gate);
}

static void one_less(struct store_seal *seal)
{
    if (--seal->pending == 0)
        end_step(seal);
}

static void give_up(struct seal_member *m, int error, const char *why)
{
    struct store_seal *seal = m->seal;

    if (!seal->error)
        seal->error = err_set(&seal->why, error, "volume '%s': %s", m->v->name, why);
    end_step(seal);
}

static int await_step(struct store_seal *seal, void (*begin)(void *seal), int64_t deadline_ns)
{
    shard_gate_init(&seal->gate);
    shard_call(seal->s->shard, begin, seal);
    return shard_gate_wait(seal->s->shard, &seal->gate, deadline_ns) ? 0 : -ETIMEDOUT;
}

/* ---- 1: flush ---------------------------------------------------------------------------------*/

static int by_top(const void *a, const void *b)
{
    const struct seal_member *x = a, *y = b;

    return memcmp(x->top.b, y->top.b, sizeof x->top.b);
}

static struct seal_member *member_of(struct store_seal *seal, struct layer_id top)
{
    struct seal_member key = { .top = top };

    return bsearch(&key, seal->members, seal->count, sizeof key, by_top);
}

/* Which members are open.  Off the shard a volume may be on its way to being open; not for long. */
static int find_volumes(struct store_seal *seal)
{
    struct store *s = seal->s;
    char text[9];
    int rc = 0;

    pthread_mutex_lock(&s->lock);
    for (struct chain *c = s->chains; c; c = c->next) {
        struct seal_member *m = c->top ? member_of(seal, c->top->id) : NULL;
        if (m && c->top->loaded)
            m->v = (struct volume *)((char *)c - offsetof(struct volume, chain));
    }
    for (unsigned i = 0; i < seal->count && rc == 0; i++) {
        struct seal_member *m = &seal->members[i];
        const struct layer *l = m->v ? NULL : store_layer_find(s, m->top);
        if (l)
            rc = err_set(&seal->why, -EBUSY, "layer %s %s", lay_id_short(m->top, text),
                         l->is_top ? "is being opened" : "is sealed already");
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static void flush_one(struct seal_member *m)
{
    struct volume *v = m->v;

    m->phase = MEMBER_FLUSHING;
    m->commit = v->commit.begun;
    m->seal->pending++;
    if (!vol_synced(v)) {
        m->commit++;
        v->commit.wanted = true;
    }
    v->running++; /* stays */
    vol_commit_kick(v);
    v->running--;
    vol_idle(v);
}

/* One round, of those that are found. */
static void flush_all(void *arg)
{
    struct store_seal *seal = arg;

    seal->waiting = true;
    seal->pending = 1; /* our own, so that it does not end before all have begun */
    for (unsigned i = 0; i < seal->count && !seal->error; i++)
        if (seal->members[i].v)
            flush_one(&seal->members[i]);
    one_less(seal);
    if (seal->error)
        end_step(seal);
}

static void check_one(struct seal_member *m)
{
    if (m->v->failed)
        give_up(m, -EIO, "has failed");
    else if (m->v->closing)
        give_up(m, -EBUSY, "is being closed");
    else if (m->v->seal)
        give_up(m, -EBUSY, "is being sealed");
}

static void find_and_flush(void *arg)
{
    struct store_seal *seal = arg;

    seal->error = find_volumes(seal);
    for (unsigned i = 0; i < seal->count && !seal->error; i++)
        if (seal->members[i].v)
            check_one(&seal->members[i]);
    for (unsigned i = 0; i < seal->count; i++) {
        struct seal_member *m = &seal->members[i];
        if (seal->error)
            m->v = NULL; /* none of them knows the seal */
        else if (m->v)
            m->v->seal = m;
    }
    flush_all(seal);
}

struct count_unsynced {
    const struct store_seal *seal;
    uint64_t bytes;
};

static void count_unsynced(void *arg)
{
    struct count_unsynced *c = arg;

    for (unsigned i = 0; i < c->seal->count; i++)
        if (c->seal->members[i].v)
            c->bytes += c->seal->members[i].v->unsynced_bytes;
}

static int flush_before(struct store_seal *seal)
{
    int64_t deadline_ns = clock_mono_ns() + FLUSH_NS;
    int rc = await_step(seal, find_and_flush, deadline_ns);

    for (int round = 1; round < FLUSH_ROUNDS && rc == 0 && !seal->error; round++) {
        struct count_unsynced c = { .seal = seal };
        shard_call(seal->s->shard, count_unsynced, &c);
        if (c.bytes <= FLUSH_ENOUGH)
            break;
        rc = await_step(seal, flush_all, deadline_ns);
    }
    return rc;
}

/* ---- 2, 3: hold, and await stillness ----------------------------------------------------------*/

static void holds_still(struct seal_member *m)
{
    struct volume *v = m->v;

    m->phase = MEMBER_STILL;
    m->empty = v->files == FILES_NONE;
    m->old = v->top;
    store_layer_ref(m->old);
    m->below = stack_ref(v->chain.below);
    one_less(m->seal);
}

static void step_holding(struct seal_member *m)
{
    struct volume *v = m->v;

    if (v->failed)
        give_up(m, -EIO, "has failed");
    else if (v->mutators || v->files == FILES_MAKING || v->commit.running || v->mark.busy ||
             v->log.busy)
        return; /* vol_idle() brings us back */
    else if (vol_synced(v) && v->mark.durable == DISK_OPEN)
        vol_mark_want(v, DISK_CLEAN);
    else if (vol_synced(v))
        holds_still(m);
    else if (m->committing)
        give_up(m, -ENOMEM, "out of memory");
    else {
        m->committing = true;
        v->commit.wanted = true;
        vol_commit_kick(v);
    }
}

void vol_seal_step(struct volume *v)
{
    struct seal_member *m = v->seal;

    if (m->phase == MEMBER_HOLDING) {
        step_holding(m);
    } else if (m->phase == MEMBER_FLUSHING && v->commit.ended >= m->commit) {
        m->phase = MEMBER_FLUSHED;
        one_less(m->seal);
    }
}

void vol_seal_leave(struct volume *v)
{
    struct seal_member *m = v->seal;

    if (m->phase == MEMBER_STILL)
        m->left = v->sealed_from_under = true;
    else
        give_up(m, -EBUSY, "is being closed");
    m->v = NULL;
    v->seal = NULL;
    v->held_back = false;
}

static void hold_all(void *arg)
{
    struct store_seal *seal = arg;

    seal->waiting = true;
    seal->pending = 1;
    for (unsigned i = 0; i < seal->count; i++) {
        struct seal_member *m = &seal->members[i];
        if (!m->v)
            continue;
        m->phase = MEMBER_HOLDING;
        m->v->held_back = true;
        seal->pending++;
    }
    committer_cork(&seal->s->committer, true); /* their marks go together */
    for (unsigned i = 0; i < seal->count && !seal->error; i++)
        if (seal->members[i].v)
            vol_idle(seal->members[i].v);
    committer_cork(&seal->s->committer, false);
    one_less(seal);
    if (seal->error)
        end_step(seal);
}

/* ---- 4: what comes after ----------------------------------------------------------------------*/

/* A top that has a map file or records in the journal was written to. */
static bool has_files(struct store *s, struct layer_id id)
{
    char name[LAYER_NAME_BYTES];
    bool mentioned = jnl_mentions(&s->journal, id); /* first: a checkpoint moves it to the file */

    lay_file_name(id, ".map", name);
    return mentioned || faccessat(s->dir.fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int prepare_one(struct store_seal *seal, struct seal_member *m, struct err *e)
{
    struct store *s = seal->s;

    if (!m->old) {
        m->empty = !has_files(s, m->top);
        return 0;
    }
    if (m->empty)
        return 0;
    int rc = store_stack_push(s, m->below, m->old, &m->stack, e);
    if (rc < 0)
        return rc;
    struct layer_info info = m->old->info;
    info.id = m->new_top;
    info.parent = m->old->id;
    m->fresh = vol_new_top(&info);
    return m->fresh ? 0 : err_set(e, -ENOMEM, "out of memory");
}

/* ---- 6: on it goes ----------------------------------------------------------------------------*/

static void swap_top(struct seal_member *m)
{
    struct volume *v = m->v;
    struct store *s = v->store;

    store_top_list(s, m->fresh);
    v->top = v->chain.top = m->fresh;
    m->fresh = NULL;
    vol_live_home(v);
    chain_replace_below(s, &v->chain, m->stack);
    m->stack = NULL;
    store_top_sealed(s, m->old);
    store_layer_put(s, m->old); /* the volume's count */
    m->sealed = true;
    v->files = FILES_NONE;
    v->mark.durable = v->mark.wanted = DISK_CLEAN;
}

static void swap_all(struct store_seal *seal)
{
    for (unsigned i = 0; i < seal->count; i++) {
        struct seal_member *m = &seal->members[i];
        if (m->v && m->stack)
            swap_top(m);
    }
}

static void let_go(struct volume *v)
{
    struct vol_op *op;

    v->running++; /* stays until all are on their way */
    v->seal = NULL;
    v->held_back = false;
    while (!v->held_back && (op = vol_list_take(&v->held)))
        vol_op_begin(op);
    vol_park_retry(v);
    v->running--;
    vol_idle(v);
}

static void let_all_go(void *arg)
{
    struct store_seal *seal = arg;

    seal->waiting = false;
    committer_cork(&seal->s->committer, true);
    for (unsigned i = 0; i < seal->count; i++) {
        struct volume *v = seal->members[i].v;
        seal->members[i].v = NULL;
        if (v && v->seal == &seal->members[i])
            let_go(v); /* may close others: they leave */
    }
    committer_cork(&seal->s->committer, false);
}

static void swap_and_let_go(void *arg)
{
    swap_all(arg);
    let_all_go(arg);
}

/* ---- life -------------------------------------------------------------------------------------*/

bool store_is_sealing(const struct store *s, struct layer_id id)
{
    for (const struct store_seal *seal = s->seals; seal; seal = seal->next)
        for (unsigned i = 0; i < seal->count; i++)
            if (lay_id_equal(seal->members[i].top, id) ||
                lay_id_equal(seal->members[i].new_top, id))
                return true;
    return false;
}

static int enlist(struct store_seal *seal, struct err *e)
{
    struct store *s = seal->s;
    char text[9];
    int rc = 0;

    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < seal->count && rc == 0; i++) {
        struct layer_id top = seal->members[i].top;
        if (store_is_sealing(s, top) || (i && lay_id_equal(top, seal->members[i - 1].top)))
            rc = err_set(e, -EBUSY, "layer %s is being sealed", lay_id_short(top, text));
    }
    if (rc == 0) {
        seal->next = s->seals;
        s->seals = seal;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static void delist(struct store_seal *seal)
{
    struct store_seal **at = &seal->s->seals;

    pthread_mutex_lock(&seal->s->lock);
    while (*at && *at != seal)
        at = &(*at)->next;
    if (*at)
        *at = seal->next;
    pthread_mutex_unlock(&seal->s->lock);
}

static void free_seal(struct store_seal *seal)
{
    for (unsigned i = 0; i < seal->count; i++) {
        struct seal_member *m = &seal->members[i];
        store_stack_put(seal->s, m->stack);
        store_stack_put(seal->s, m->below);
        if (m->left || m->sealed) /* all durable, as it held still; here, where nobody waits */
            live_release(seal->s->live, m->old->id);
        if (m->old)
            store_layer_put(seal->s, m->old);
        if (m->fresh)
            store_layer_put(seal->s, m->fresh);
    }
    delist(seal); /* last: now its tops may be opened */
    free(seal);
}

static struct store_seal *new_seal(struct store *s, const struct seal_volume *v, unsigned count)
{
    struct store_seal *seal = calloc(1, sizeof *seal + count * sizeof *seal->members);

    if (!seal)
        return NULL;
    seal->s = s;
    seal->count = count;
    for (unsigned i = 0; i < count; i++)
        seal->members[i] =
            (struct seal_member){ .seal = seal, .top = v[i].top, .new_top = v[i].new_top };
    qsort(seal->members, count, sizeof *seal->members, by_top);
    return seal;
}

/* Tops that an earlier process left half in memory are brought to disk, if they are not open. */
static int settle(struct store_seal *seal, struct err *e)
{
    int rc = 0;

    for (unsigned i = 0; i < seal->count && rc == 0; i++)
        rc = store_settle(seal->s, seal->members[i].top, e);
    return rc;
}

/* Steps 1 to 4, of which nothing is left when one fails. */
static int make_still(struct store_seal *seal, unsigned timeout_ms, struct err *e)
{
    int rc = flush_before(seal);

    if (rc == 0 && !seal->error)
        rc = await_step(seal, hold_all, clock_mono_ns() + timeout_ms * NS_PER_MS);
    if (rc < 0)
        err_set(e, rc,
                "the store is too slow just now: writes that had begun were not durable "
                "in time");
    for (unsigned i = 0; i < seal->count && rc == 0 && !seal->error; i++)
        rc = prepare_one(seal, &seal->members[i], e);
    if (rc < 0 || seal->error)
        shard_call(seal->s->shard, let_all_go, seal);
    if (rc == 0 && seal->error) /* read after the shard has let go of it */
        rc = err_set(e, seal->error, "%s", seal->why.msg);
    return rc;
}

int store_seal_begin(struct store *s, struct seal_volume *v, unsigned count, unsigned timeout_ms,
                     struct store_seal **ret, struct err *e)
{
    struct store_seal *seal = new_seal(s, v, count);
    int rc;

    if (!seal)
        return err_set(e, -ENOMEM, "seal: out of memory");
    rc = settle(seal, e);
    if (rc == 0)
        rc = enlist(seal, e);
    if (rc == 0)
        rc = make_still(seal, timeout_ms, e);
    if (rc < 0) {
        free_seal(seal);
        return err_wrap(e, rc, "seal");
    }
    for (unsigned i = 0; i < count; i++)
        v[i].empty = member_of(seal, v[i].top)->empty;
    *ret = seal;
    return 0;
}

void store_seal_end(struct store_seal *seal, bool committed)
{
    shard_call(seal->s->shard, committed ? swap_and_let_go : let_all_go, seal);
    free_seal(seal);
}

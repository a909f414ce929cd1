/* SPDX-License-Identifier: Apache-2.0 */
/* care - what is left to do after a call: files of dead layers are deleted, a slice at a time on a
 * thread of its own; layers that nothing needs apart are merged; promoted images are hashed.  At
 * the start that thread looks at all layers once, so that later nobody has to wait for it to be
 * told how much data they hold. */
#include "server/control/care.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/base/name.h"
#include "server/catalog/catalog.h"
#include "server/catalog/layers.h"
#include "server/control/control.h"
#include "server/control/http.h"
#include "server/control/jobs.h"
#include "server/control/json.h"
#include "server/control/loop.h"
#include "server/io/thread.h"
#include "server/lifecycle/lifecycle.h"
#include "server/store/store.h"

#define DAMAGED_MOST                                                                               \
    64u /* more of them are not told apart from this one look; `store check` is                    \
         */

#define DELAY_NS (100 * NS_PER_MS) /* calls that follow each other are cared for together */

struct damage {
    struct layer_id id;
    char what[sizeof((struct err *)0)->msg];
};

struct care {
    struct control *control;
    struct loop_timer timer; /* there is something to do */
    struct loop_msg deleted; /* posted by the thread as its last act */
    pthread_t thread;
    bool running, again;
    atomic_bool ending;
    /* The thread's while it runs. */
    struct lifecycle_dead dead;
    struct layer_id *unseen; /* heap: to be looked at first; NULL: none */
    size_t unseen_count;
    struct damage damaged[DAMAGED_MOST]; /* found then; control's when it has looked */
    unsigned damaged_count;
};

static void pick_dead(struct care *a);

static bool is_ending(void *ctx)
{
    struct care *a = ctx;

    return atomic_load(&a->ending);
}

/* What is read to be told its size is looked at as well: is it there at all? */
static void look_at_all(struct care *a)
{
    layers_learn(a->control->store, a->unseen, a->unseen_count, is_ending, a);
    for (size_t i = 0; i < a->unseen_count && !is_ending(a); i++) {
        struct err e = { 0 };
        if (layer_look(a->control->store, a->unseen[i], &e) != -EIO)
            continue;
        if (a->damaged_count == DAMAGED_MOST)
            break;
        struct damage *d = &a->damaged[a->damaged_count++];
        d->id = a->unseen[i];
        memcpy(d->what, e.msg, sizeof d->what);
        json_text_clean(d->what);
    }
}

static void *work(void *arg)
{
    struct care *a = arg;

    look_at_all(a);
    lifecycle_dead_delete(a->control->store, &a->dead);
    loop_post(a->control->loop, &a->deleted);
    return NULL;
}

static bool is_there(const struct care *a, const struct damage *d)
{
    unsigned depth;

    return cat_layer_depth(a->control->catalog, d->id.b, &depth, NULL) == 0 && depth > 0;
}

static int tell_damage(void *ctx, const struct cat_layer *l)
{
    struct care *a = ctx;
    const char *what = care_damage(a, l->id), *of = l->owner[0] ? l->owner : "other layers";
    char hex[2 * sizeof l->id + 1];
    struct err e = { 0 };

    if (!what)
        return 0;
    hex_encode(l->id, sizeof l->id, hex);
    log_error("control: layer %s of %s is damaged: %s", hex, of, what);
    if (control_event(a->control, &e, "layer-damaged", hex, "layer %s of %s cannot be opened: %s",
                      hex, of, what) < 0)
        log_error("control: event: %s", e.msg);
    return 0;
}

/* Who waits until all layers were looked at goes on. */
static void seen(struct care *a)
{
    struct err e = { 0 };

    if (a->unseen && care_found_damage(a) &&
        cat_layer_list(a->control->catalog, tell_damage, a, &e) < 0)
        log_error("control: damaged layers: %s", e.msg);
    if (a->unseen)
        http_wake(a->control->http, http_topic(HTTP_TOPIC_CARE, 0));
    free(a->unseen);
    a->unseen = NULL;
    a->unseen_count = 0;
}

static void on_deleted(struct loop_msg *m)
{
    struct care *a = (struct care *)((char *)m - offsetof(struct care, deleted));
    struct err e = { 0 };

    pthread_join(a->thread, NULL);
    a->running = false;
    seen(a);
    if (lifecycle_dead_forget(control_life(a->control), &a->dead, &e) < 0)
        log_error("control: files that nothing needs: %s", e.msg);
    else
        pick_dead(a);
}

/* The slice behind a->dead; at the end of the list once more from the front if something was added
 * meanwhile. */
static void pick_dead(struct care *a)
{
    struct err e = { 0 };
    int rc = lifecycle_dead_pick(control_life(a->control), &a->dead, &e);

    if (rc == 0 && a->dead.count == 0 && a->again) {
        a->again = false;
        rc = lifecycle_dead_pick(control_life(a->control), &a->dead, &e);
    }
    if (rc == 0 && a->dead.count == 0 && !a->unseen)
        return;
    if (rc == 0)
        rc = thread_start("care", work, a, &a->thread, &e);
    if (rc < 0) {
        log_error("control: files that nothing needs: %s", e.msg);
        seen(a);
    }
    a->running = rc == 0;
}

static int verify_one(void *ctx, const struct cat_image *i)
{
    struct control *c = ctx;
    struct err e = { 0 };
    char id[17];

    if (i->state == CAT_IMAGE_UNVERIFIED && jobs_verify(c, i, id, &e) < 0)
        log_error("control image %s@%u: verify: %s", i->name, i->version, e.msg);
    return 0;
}

static void on_timer(struct loop_timer *t)
{
    struct care *a = (struct care *)((char *)t - offsetof(struct care, timer));

    if (a->running) {
        a->again = true;
    } else {
        a->dead.count = 0;
        pick_dead(a);
    }
    jobs_merge(a->control);
}

int care_new(struct control *c, struct care **ret, struct err *e)
{
    struct care *a = calloc(1, sizeof *a);

    if (!a)
        return err_set(e, -ENOMEM, "out of memory");
    a->control = c;
    a->timer.fn = on_timer;
    a->deleted.fn = on_deleted;
    *ret = a;
    return 0;
}

void care_free(struct care *a)
{
    if (!a)
        return;
    loop_timer_cancel(a->control->loop, &a->timer);
    atomic_store(&a->ending, true);
    if (a->running) {
        pthread_join(a->thread, NULL);
        loop_unpost(a->control->loop, &a->deleted);
    }
    free(a->unseen);
    free(a);
}

void care_kick(struct care *a)
{
    if (a && !a->timer.due_ns)
        loop_timer_set(a->control->loop, &a->timer, clock_mono_ns() + DELAY_NS);
}

struct listing {
    struct care *care;
    size_t room;
};

static int add_layer(void *ctx, const struct cat_layer *l)
{
    struct listing *g = ctx;
    struct care *a = g->care;

    if (a->unseen_count == g->room) {
        size_t room = g->room ? 2 * g->room : 256;
        struct layer_id *grown = reallocarray(a->unseen, room, sizeof *grown);
        if (!grown)
            return -ENOMEM;
        a->unseen = grown;
        g->room = room;
    }
    memcpy(a->unseen[a->unseen_count++].b, l->id, sizeof l->id);
    return 0;
}

bool care_is_looking(const struct care *a)
{
    return a->unseen != NULL;
}

/* Before that, what was found is the thread's. */
static bool has_looked(const struct care *a)
{
    return a && !(a->running && a->unseen);
}

const char *care_damage(const struct care *a, const uint8_t id[static 16])
{
    for (unsigned i = 0; has_looked(a) && i < a->damaged_count; i++)
        if (memcmp(a->damaged[i].id.b, id, sizeof a->damaged[i].id.b) == 0)
            return a->damaged[i].what;
    return NULL;
}

bool care_found_damage(const struct care *a)
{
    for (unsigned i = 0; has_looked(a) && i < a->damaged_count; i++)
        if (is_there(a, &a->damaged[i]))
            return true;
    return false;
}

void care_begin(struct care *a)
{
    struct listing g = { .care = a };
    struct err e = { 0 };

    (void)cat_layer_list(a->control->catalog, add_layer, &g, NULL); /* those that it got: enough */
    if (cat_image_list(a->control->catalog, verify_one, a->control, &e) < 0)
        log_error("control: images that were never verified: %s", e.msg);
    care_kick(a);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* watch - looks every few seconds whether a volume has failed (an error of a sync, which is final:
 * see the block path), writes it down and tells the operator. */
#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/catalog/catalog.h"
#include "server/control/control.h"
#include "server/control/loop.h"

#define WATCH_NS (5 * NS_PER_S)

static int write_down(struct control *c, const struct cat_volume *v, struct err *e)
{
    int rc = cat_begin(c->catalog, e);

    if (rc < 0)
        return rc;
    rc = cat_volume_set_failed(c->catalog, v->name, true, e);
    if (rc == 0)
        rc =
            control_event(c, e, "volume-failed", v->name,
                          "volume %s has failed: it takes no more writes; attach it again to go on "
                          "from its last flush, once its disk is well",
                          v->name);
    return cat_end(c->catalog, rc, e);
}

int control_note_failure(struct control *c, const struct cat_volume *v, bool *ret_failed,
                         struct err *e)
{
    struct export_info info;
    int rc = 0;

    *ret_failed = v->failed;
    if (v->failed)
        return 0;
    export_query(c->exports, v->name, &info);
    if (info.failed)
        rc = write_down(c, v, e);
    *ret_failed = info.failed;
    return rc;
}

static int look_at(void *ctx, const struct cat_volume *v)
{
    struct err e = { 0 };
    bool failed;

    if (control_note_failure(ctx, v, &failed, &e) < 0)
        log_error("control volume %s: note that it has failed: %s", v->name, e.msg);
    return 0;
}

static void on_watch(struct loop_timer *t)
{
    struct control *c = (struct control *)((char *)t - offsetof(struct control, watch));
    struct err e = { 0 };

    if (cat_volume_list(c->catalog, look_at, c, &e) < 0)
        log_error("control: look after the volumes: %s", e.msg);
    loop_timer_set(c->loop, t, clock_mono_ns() + WATCH_NS);
}

void control_watch(struct control *c)
{
    c->watch.fn = on_watch;
    loop_timer_set(c->loop, &c->watch, clock_mono_ns() + WATCH_NS);
}

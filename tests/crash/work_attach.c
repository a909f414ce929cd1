/* SPDX-License-Identifier: Apache-2.0 */
/* work_attach - clients come, go, are cut and come back; a volume is detached, also while its disk
 * hangs. */
#include <stdio.h>

#include "server/catalog/catalog.h"
#include "tests/crash/work.h"
#include "tests/unit/store/fake_shard.h"
#include "tests/unit/store/rig.h"
#include "tests/unit/unit.h"

void work_attach(struct work *w, unsigned volume)
{
    struct catalog *c = w->lab->catalog;
    struct cat_volume v = work_row(w, volume);
    struct model_volume *mv = &w->model->volumes[volume];
    char uri[EXPORT_NAME_SIZE];

    w->doing = "attach";
    CHECK(cat_begin(c, &e));
    CHECK(cat_end(c, cat_volume_attach(c, &v, 0, &e), &e));
    CHECK(lifecycle_grant_volume(&w->lab->life, &v, &e));
    lab_uri(&v, uri);
    assert_int_equal(lab_connect(w->lab, volume, uri), 0);
    assert_int_equal(v.epoch, mv->turns[mv->turn_count - 1].epoch);
}

void work_detach(struct work *w, unsigned volume)
{
    struct cat_volume v = work_row(w, volume);
    struct model_volume *mv = &w->model->volumes[volume];
    unsigned verb = ++w->model->verbs;
    struct catalog *c = w->lab->catalog;

    w->doing = "detach";
    work_cover(w, work_line_now(mv), work_now(w), 0, verb);
    CHECK(cat_begin(c, &e));
    CHECK(cat_end(c, cat_volume_detach(c, &v, &e), &e));
    export_revoke(w->lab->exports, v.name, "it was detached");
    work_conclude(w, verb, 0);
    assert_null(w->lab->seats[volume].session);
    if (mv->clean_count < 64)
        mv->cleans[mv->clean_count++] = w->model->time;
}

struct cat_volume work_let_go(struct work *w, unsigned volume)
{
    struct catalog *c = w->lab->catalog;

    if (w->lab->seats[volume].session)
        work_detach(w, volume);
    struct cat_volume v = work_row(w, volume);
    if (!v.attachment.id)
        return v;
    CHECK(cat_begin(c, &e));
    CHECK(cat_end(c, cat_volume_detach(c, &v, &e), &e));
    return work_row(w, volume);
}

/* A client that was cut, or is cut now, comes back; a volume is detached for some time. */
void work_attach_or_detach(struct work *w)
{
    unsigned volume = work_some_volume(w);
    struct lab_seat *seat = &w->lab->seats[volume];

    if (seat->session && work_draw(w, 2)) {
        work_detach(w, volume);
        return;
    }
    if (seat->session) { /* its connection is lost; the attachment is still good */
        char uri[EXPORT_NAME_SIZE];
        w->doing = "reconnect";
        snprintf(uri, sizeof uri, "%s", seat->uri);
        lab_leave(w->lab, volume);
        assert_int_equal(lab_connect(w->lab, volume, uri), 0);
        return;
    }
    work_attach(w, volume);
}

void work_attach_all(struct work *w)
{
    for (unsigned i = 0; i < w->model->volume_count; i++)
        if (work_is_there(w, i) && !w->lab->seats[i].session && work_draw(w, 8))
            work_attach(w, i);
}

/* ---- a disk that hangs ------------------------------------------------------------------------*/

void work_detach_hanging(struct work *w)
{
    struct catalog *c = w->lab->catalog;
    unsigned volume = work_some_volume(w);
    struct lab_seat *seat = &w->lab->seats[volume];
    struct err e = { 0 };

    if (!lab_connected(seat))
        return;
    w->doing = "detach from a disk that hangs";
    fake_hold(fake_slow_pool(), true);
    work_requests(w, 8);
    work_let_run(w, false);
    struct cat_volume v = work_row(w, volume);
    work_now(w);
    work_must(w, cat_begin(c, &e), &e);
    work_must(w, cat_end(c, cat_volume_detach(c, &v, &e), &e), &e);
    export_revoke(w->lab->exports, v.name, "it was detached");
    work_now(w); /* the server has lost its patience */
    bool again = work_draw(w, 2);
    if (again) {
        v = work_row(w, volume);
        work_must(w, cat_begin(c, &e), &e);
        work_must(w, cat_end(c, cat_volume_attach(c, &v, 0, &e), &e), &e);
        work_must(w, lifecycle_grant_volume(&w->lab->life, &v, &e), &e);
    }
    work_requests(w, 4);
    work_let_run(w, true);
    fake_hold(fake_slow_pool(), false);
    work_let_run(w, true);
    work_now(w);
    assert_null(seat->session);
    if (again) {
        char uri[EXPORT_NAME_SIZE];
        lab_uri(&v, uri);
        assert_int_equal(lab_connect(w->lab, volume, uri), 0);
    }
}

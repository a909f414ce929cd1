/* SPDX-License-Identifier: Apache-2.0 */
/* Faults under every verb: the disk is full at each of its steps, for one operation or until
 * somebody makes room; or an operation fails with EIO.  A full disk costs time and nothing else:
 * the verb is refused or done, volumes show what they showed, writes wait and go on.  After EIO the
 * server may refuse to go on; started again it shows all that was flushed, and the verb has
 * happened as a whole or not at all. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/catalog/catalog.h"
#include "server/catalog/images.h"
#include "tests/crash/fake_time.h"
#include "tests/crash/lab.h"
#include "tests/unit/store/fake_shard.h"
#include "tests/unit/store/rig.h"
#include "tests/unit/unit.h"

#define SIZE    (64u << 10)
#define VOLUMES 2u
#define STEPS   400u /* no verb has as many */

struct fixture {
    struct lab lab;
    uint8_t snapshot, now; /* what the volumes are filled with */
};

/* ---- requests ---------------------------------------------------------------------------------*/

struct io {
    struct blk_req r;
    struct lab_seat *seat;
    bool done;
};

static void io_done(struct blk_req *r)
{
    struct io *io = (struct io *)((char *)r - offsetof(struct io, r));

    io->done = true;
    lab_request_over(io->seat);
}

static void io_begin(struct fixture *f, unsigned seat, struct io *io, enum blk_op op, void *buf)
{
    *io = (struct io){ .seat = &f->lab.seats[seat] };
    io->r = (struct blk_req){
        .op = op, .length = op == BLK_FLUSH ? 0 : SIZE, .buf = buf, .done = io_done
    };
    lab_request_begins(io->seat);
    blk_submit(io->seat->device, &io->r);
}

/* What waits for room looks for it now and then. */
static void let_run(void)
{
    for (int i = 0; i < 8; i++) {
        fake_run();
        fake_time_advance(2000000000);
        fake_fire_timers();
    }
    fake_run();
}

static int io_run(struct fixture *f, unsigned seat, enum blk_op op, void *buf)
{
    struct io io;

    io_begin(f, seat, &io, op, buf);
    if (!io.done)
        let_run();
    assert_true(io.done);
    return io.r.error;
}

static void write_all(struct fixture *f, uint8_t byte)
{
    static uint8_t buf[SIZE];

    memset(buf, byte, SIZE);
    for (unsigned i = 0; i < VOLUMES; i++) {
        assert_int_equal(io_run(f, i, BLK_WRITE, buf), 0);
        assert_int_equal(io_run(f, i, BLK_FLUSH, NULL), 0);
    }
    f->now = byte;
}

/* ---- a lab with two volumes that were written, snapshot, and written again ----------------------
 */

static struct cat_volume row(struct fixture *f, const char *name)
{
    struct cat_volume v;

    CHECK(cat_volume_get(f->lab.catalog, name, &v, &e));
    return v;
}

static void attach(struct fixture *f, unsigned seat, const char *name)
{
    struct cat_volume v = row(f, name);
    struct catalog *c = f->lab.catalog;
    char uri[EXPORT_NAME_SIZE];

    if (f->lab.seats[seat].session)
        return;
    if (!cat_volume_attached(&v)) {
        CHECK(cat_begin(c, &e));
        CHECK(cat_end(c, cat_volume_attach(c, &v, 0, &e), &e));
        CHECK(lifecycle_grant_volume(&f->lab.life, &v, &e));
    }
    lab_uri(&v, uri);
    assert_int_equal(lab_connect(&f->lab, seat, uri), 0);
}

static void attach_both(struct fixture *f)
{
    attach(f, 0, "a");
    attach(f, 1, "b");
}

static int snapshot(struct fixture *f, const char *name, struct err *e)
{
    AUTO(lifecycle_set_done) struct lifecycle_set set = { 0 };
    struct cat_snapshot made;
    int rc = lifecycle_set_all(&f->lab.life, &set, e);

    return rc < 0 ? rc : lifecycle_snapshot(&f->lab.life, name, &set, &made, e);
}

static void import_image(struct fixture *f)
{
    struct cat_image i = { .name = "golden", .size_bytes = SIZE, .format = "raw" };
    struct layer_id id = lab_import(&f->lab, SIZE);

    memcpy(i.layer, id.b, sizeof i.layer);
    memset(i.sha256, '0', 64);
    CHECK(cat_image_add(f->lab.catalog, &i, &e));
}

static void set_up(struct fixture *f, uint64_t seed)
{
    static const char *const names[] = { "a", "b" };
    struct cat_image image;

    fake_reset(seed);
    fake_time_reset(seed + 1);
    lab_init(&f->lab, seed);
    CHECK(lab_start(&f->lab, &e));
    import_image(f);
    CHECK(cat_image_get(f->lab.catalog, "golden", 0, &image, &e));
    CHECK(lifecycle_create(&f->lab.life, &image, names, VOLUMES, &e));
    attach_both(f);
    write_all(f, 1);
    CHECK(snapshot(f, "old", &e));
    f->snapshot = 1;
    write_all(f, 2);
    fake_run();
}

static void tear_down(struct fixture *f)
{
    lab_stop(&f->lab);
    lab_done(&f->lab);
}

/* ---- the verbs --------------------------------------------------------------------------------*/

static int do_snapshot(struct fixture *f, struct err *e)
{
    return snapshot(f, "new", e);
}

static int do_rollback(struct fixture *f, struct err *e)
{
    AUTO(lifecycle_set_done) struct lifecycle_set set = { 0 };
    struct cat_snapshot s;
    int rc = cat_snapshot_get(f->lab.catalog, "old", &s, e);

    if (rc == 0)
        rc = lifecycle_set_all(&f->lab.life, &set, e);
    return rc < 0 ? rc : lifecycle_rollback(&f->lab.life, &s, &set, e);
}

static int do_reset(struct fixture *f, struct err *e)
{
    AUTO(lifecycle_set_done) struct lifecycle_set set = { 0 };
    int rc = lifecycle_set_all(&f->lab.life, &set, e);

    return rc < 0 ? rc : lifecycle_reset(&f->lab.life, &set, e);
}

static int do_clone(struct fixture *f, struct err *e)
{
    static const char *const names[] = { "c", "d" };
    struct cat_volume v = row(f, "a");

    return lifecycle_clone(&f->lab.life, &v, names, 2, e);
}

static int do_promote(struct fixture *f, struct err *e)
{
    struct cat_image i = { .name = "golden" };
    struct cat_volume v = row(f, "a");

    return lifecycle_promote(&f->lab.life, &v, &i, e);
}

static int do_snapshot_remove(struct fixture *f, struct err *e)
{
    struct cat_snapshot s;
    int rc = cat_snapshot_get(f->lab.catalog, "old", &s, e);

    if (rc == 0)
        rc = lifecycle_snapshot_remove(&f->lab.life, &s, e);
    if (rc == -ENOENT) /* the verb before this one had removed it */
        rc = 0;
    if (rc == 0)
        rc = lifecycle_merge_all(&f->lab.life, e);
    if (rc == 0)
        lifecycle_sweep(&f->lab.life);
    return rc;
}

static int do_create(struct fixture *f, struct err *e)
{
    static const char *const names[] = { "c", "d" };
    struct cat_image image;
    int rc = cat_image_get(f->lab.catalog, "golden", 0, &image, e);

    return rc < 0 ? rc : lifecycle_create(&f->lab.life, &image, names, 2, e);
}

/* The first write of new tops is a verb as well: their files are made. */
static int do_first_write(struct fixture *f, struct err *e)
{
    struct io io[VOLUMES];
    static uint8_t buf[SIZE];
    int rc = snapshot(f, "new", e);

    if (rc < 0)
        return rc == -EEXIST ? 0 : rc;
    memset(buf, 3, SIZE);
    for (unsigned i = 0; i < VOLUMES; i++)
        io_begin(f, i, &io[i], BLK_WRITE, buf);
    fake_run();
    lab_room(&f->lab); /* somebody makes room */
    let_run();
    for (unsigned i = 0; i < VOLUMES; i++) {
        assert_true(io[i].done);
        rc = io[i].r.error ? io[i].r.error : rc;
    }
    f->now = 3;
    return rc;
}

struct verb {
    const char *name;
    int (*fn)(struct fixture *f, struct err *e);
    int after; /* what the volumes show when it is done: a byte, 0 = as before, -1 = the image */
};
static const struct verb verbs[] = {
    { "snapshot", do_snapshot, 0 }, { "rollback", do_rollback, 1 },
    { "reset", do_reset, -1 },      { "clone", do_clone, 0 },
    { "promote", do_promote, 0 },   { "snapshot remove", do_snapshot_remove, 0 },
    { "create", do_create, 0 },     { "first write", do_first_write, 0 },
};
#define VERBS (sizeof verbs / sizeof *verbs)

/* ---- what is shown ----------------------------------------------------------------------------*/

static bool shows(const uint8_t *bytes, int byte)
{
    for (uint32_t i = 0; i < SIZE; i++)
        if (bytes[i] != (byte < 0 ? image_byte(i) : (uint8_t)byte))
            return false;
    return true;
}

/* All volumes show what the verb leaves (happened), or what was before. */
static void expect(struct fixture *f, const struct verb *v, unsigned step, bool may_old,
                   bool may_new)
{
    const struct lab_parts all = lab_start_of_disk(SIZE);
    static uint8_t bytes[SIZE];
    static const char *const names[] = { "a", "b" };
    int new_byte = v->after ? v->after : f->now;
    bool any_old = false, any_new = false;

    for (unsigned i = 0; i < VOLUMES; i++) {
        struct cat_volume r = row(f, names[i]);
        if (lab_connected(&f->lab.seats[i]))
            lab_read(f->lab.seats[i].device, &all, bytes);
        else
            CHECK(lab_read_volume(&f->lab, &r, &all, bytes, &e));
        bool is_new = may_new && shows(bytes, new_byte);
        if (!is_new && !(may_old && shows(bytes, f->now)))
            fail_msg("%s, step %u: volume %s shows %02x", v->name, step, names[i], bytes[0]);
        any_new |= is_new;
        any_old |= !is_new;
    }
    if (v->after && any_old && any_new)
        fail_msg("%s, step %u: done by half", v->name, step);
}

static bool lost_and_found(struct fixture *f)
{
    return lab_count_files(&f->lab, "lost+found") != 0;
}

/* ---- a full disk ------------------------------------------------------------------------------*/

/* False: the verb has no such step. */
static bool full_at(const struct verb *v, unsigned step, unsigned times)
{
    struct fixture f = { 0 };
    struct err e = { 0 };
    bool reached;

    set_up(&f, step + 1);
    sim_full(f.lab.sim, step, times);
    int rc = v->fn(&f, &e);
    reached = sim_was_full(f.lab.sim);
    if (rc < 0 && rc != -ENOSPC)
        fail_msg("%s, step %u: ended with %d: %s", v->name, step, rc, e.msg);
    if (rc == -ENOSPC && !e.msg[0])
        fail_msg("%s, step %u: refused without a word", v->name, step);
    if (rc < 0)
        expect(&f, v, step, true, false);
    lab_room(&f.lab);
    let_run();
    if (rc < 0 && v->fn(&f, &e) < 0)
        fail_msg("%s, step %u: not even when there is room: %s", v->name, step, e.msg);
    expect(&f, v, step, false, true);
    attach_both(&f);
    write_all(&f, 9);
    lab_stop(&f.lab);
    if (lab_start(&f.lab, &e) < 0)
        fail_msg("%s, step %u: the next start: %s", v->name, step, e.msg);
    struct verb done = { .name = v->name };
    expect(&f, &done, step, true, false);
    assert_int_equal(f.lab.raised, 0);
    if (lost_and_found(&f))
        fail_msg("%s, step %u: something went to lost+found", v->name, step);
    tear_down(&f);
    return reached;
}

static void full_disk_at_any_step_of_any_verb_costs_nothing(void **state)
{
    unsigned tried = 0;

    (void)state;
    for (size_t v = 0; v < VERBS; v++)
        for (unsigned step = 0; step < STEPS; step++, tried++)
            if (!full_at(&verbs[v], step, 1))
                break;
    print_message("# | a full disk at each of %u steps of %zu verbs\n", tried, VERBS);
}

static void disk_full_from_any_step_on_until_there_is_room_costs_nothing(void **state)
{
    (void)state;
    for (size_t v = 0; v < VERBS; v++)
        for (unsigned step = 0; step < STEPS; step++)
            if (!full_at(&verbs[v], step, 1000000))
                break;
}

/* ---- EIO --------------------------------------------------------------------------------------*/

static bool broken_at(const struct verb *v, unsigned step, unsigned times)
{
    struct fixture f = { 0 };
    struct err e = { 0 };
    bool reached;

    set_up(&f, step + 1);
    uint64_t before = sim_count(f.lab.sim);
    sim_fail_at(f.lab.sim, before + step, times, -EIO);
    uint8_t old = f.now;
    int rc = v->fn(&f, &e);
    fake_run();
    reached = sim_count(f.lab.sim) > before + step;
    if (rc < 0)
        f.now = old;
    lab_stop(&f.lab);
    sim_fail_at(f.lab.sim, 0, 0, 0);
    if (lab_start(&f.lab, &e) < 0)
        fail_msg("%s, step %u: the next start: %s", v->name, step, e.msg);
    expect(&f, v, step, rc < 0 || reached, true);
    attach_both(&f);
    write_all(&f, 9);
    tear_down(&f);
    return reached;
}

static void error_at_any_step_of_any_verb_loses_nothing_that_was_flushed(void **state)
{
    unsigned tried = 0;

    (void)state;
    for (size_t v = 0; v < VERBS; v++)
        for (unsigned step = 0; step < STEPS; step++, tried++)
            if (strcmp(verbs[v].name, "first write") == 0 || !broken_at(&verbs[v], step, 1))
                break;
    print_message("# | EIO at each of %u steps\n", tried);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_disk_at_any_step_of_any_verb_costs_nothing),
        cmocka_unit_test(disk_full_from_any_step_on_until_there_is_room_costs_nothing),
        cmocka_unit_test(error_at_any_step_of_any_verb_loses_nothing_that_was_flushed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

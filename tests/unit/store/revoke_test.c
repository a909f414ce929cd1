/* SPDX-License-Identifier: Apache-2.0 */
/* revoke_test - exports over a store whose disk hangs: the control thread does not hang with it,
 * and nothing that ran before is overtaken. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/name.h"
#include "server/export/export.h"
#include "tests/unit/store/fake_shard.h"
#include "tests/unit/store/rig.h"

#define SIZE  (64u * 4096)
#define BLOCK 4096u

struct visitor {
    struct export_peer peer;
    struct export_session *session;
    struct blkdev *device;
    int error; /* PENDING: not answered */
};

struct fixture {
    struct rig rig;
    struct layer_id image, top;
    struct export_table *table;
    struct visitor visitors[2];
    uint8_t buf[BLOCK];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    rig_init(&f->rig);
    rig_open(&f->rig);
    CHECK(store_recovered(f->rig.store, &e));
    f->image = rig_image(&f->rig, SIZE);
    f->top = rig_new_id();
    memset(f->buf, 0xA0, BLOCK);
    CHECK(export_table_new(fake_shard(), f->rig.store, &f->table, &e));
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    fake_hold(fake_slow_pool(), false);
    export_table_free(f->table);
    rig_close(&f->rig);
    rig_remove(&f->rig);
    free(f);
    return 0;
}

static void grant(struct fixture *f, uint8_t token, struct layer_id top)
{
    struct export_grant g = { .name = "v",
                              .writable = true,
                              .epoch = 1,
                              .layers = { .count = 1, .id = { f->image } },
                              .volume = { .name = "v", .size_bytes = SIZE, .epoch = 1 } };

    g.volume.top = top;
    memset(g.token, token, sizeof g.token);
    CHECK(export_grant(f->table, &g, &e));
}

static void on_cut(struct export_peer *p)
{
    struct visitor *v = (struct visitor *)p;
    struct export_session *s = v->session;

    v->session = NULL;
    blk_drop(v->device);
    export_closed(s);
}

static void on_ready(struct export_peer *p, struct export_session *session, struct blkdev *device,
                     int error, const char *why)
{
    struct visitor *v = (struct visitor *)p;

    (void)why;
    v->session = session;
    v->device = device;
    v->error = error;
}

static void visit(struct fixture *f, struct visitor *v, uint8_t token)
{
    uint8_t bytes[EXPORT_TOKEN_BYTES];
    char name[EXPORT_NAME_SIZE] = "v.";

    memset(bytes, token, sizeof bytes);
    hex_encode(bytes, sizeof bytes, name + 2);
    *v = (struct visitor){ .peer.cut = on_cut, .error = PENDING };
    export_open(f->table, name, &v->peer, on_ready);
    fake_run();
}

static void disk_that_hangs_holds_up_no_revoke(void **state)
{
    struct fixture *f = *state;
    struct visitor *v = &f->visitors[0];
    struct export_info i;

    grant(f, 1, f->top);
    visit(f, v, 1);
    assert_int_equal(v->error, 0);
    assert_int_equal(rig_io(v->device, BLK_WRITE, 0, 0, BLOCK, f->buf), 0);
    fake_hold(fake_slow_pool(), true);
    export_revoke(f->table, "v", "it is over");
    assert_null(v->session); /* it was cut all the same */
    export_query(f->table, "v", &i);
    assert_false(i.granted);
}

static void new_connection_waits_for_what_the_old_one_left_running(void **state)
{
    struct fixture *f = *state;
    struct visitor *v = &f->visitors[0], *next = &f->visitors[1];

    grant(f, 1, f->top);
    visit(f, v, 1);
    assert_int_equal(rig_io(v->device, BLK_WRITE, 0, 0, BLOCK, f->buf), 0);
    fake_hold(fake_slow_pool(), true);
    grant(f, 2, f->top);
    assert_null(v->session);
    visit(f, next, 2);
    fake_fire_timers();
    fake_run();
    assert_int_equal(next->error, PENDING);
    fake_hold(fake_slow_pool(), false);
    fake_run();
    fake_fire_timers();
    fake_run();
    assert_int_equal(next->error, 0);
    expect_fill(next->device, 0, BLOCK, 0xA0);
}

static void connection_made_during_a_seal_waits_for_its_end(void **state)
{
    struct fixture *f = *state;
    struct visitor *v = &f->visitors[0];
    struct store_seal *seal;
    struct seal_volume part = { .top = f->top, .new_top = rig_new_id() };
    struct layer_chain layers = { .count = 2, .id = { f->top, f->image } };

    grant(f, 1, f->top);
    visit(f, v, 1);
    assert_int_equal(rig_io(v->device, BLK_WRITE, 0, 0, BLOCK, f->buf), 0);
    grant(f, 2, f->top); /* closes the device */
    CHECK(store_seal_begin(f->rig.store, &part, 1, 1000, &seal, &e));
    assert_false(part.empty);
    visit(f, v, 2);
    assert_int_equal(v->error, PENDING);
    export_respec(f->table, "v", part.new_top, &layers);
    store_seal_end(seal, true);
    fake_fire_timers();
    fake_run();
    assert_int_equal(v->error, 0);
    expect_fill(v->device, 0, BLOCK, 0xA0);
    assert_int_equal(rig_io(v->device, BLK_TRIM, 0, 0, BLOCK, NULL), 0);
    uint64_t bytes;
    CHECK(layer_usage(f->rig.store, f->top, &bytes, &e));
    assert_int_equal(bytes, BLOCK); /* nobody wrote to what was sealed */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(disk_that_hangs_holds_up_no_revoke),
        TEST(new_connection_waits_for_what_the_old_one_left_running),
        TEST(connection_made_during_a_seal_waits_for_its_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

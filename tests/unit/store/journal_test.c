/* SPDX-License-Identifier: Apache-2.0 */
/* The journal: what was appended is found again; halves, torn batches, damage. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/io/file_ops.h"
#include "server/store/journal.h"
#include "tests/unit/store/rig.h"

struct fixture {
    struct rig rig; /* its directory alone */
    int dir_fd;
    struct journal j;
    struct disk_batch *batch;
};

static void open_journal(struct fixture *f)
{
    CHECK(jnl_open(&f->j, &file_ops_real, f->dir_fd, 2 * JOURNAL_MIN_HALF, &e));
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    rig_init(&f->rig);
    f->dir_fd = open(f->rig.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    f->batch = calloc(1, DISK_BATCH_MAX);
    open_journal(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    jnl_close(&f->j);
    close(f->dir_fd);
    rig_remove(&f->rig);
    free(f->batch);
    free(f);
    return 0;
}

/* Appends a batch of `marks` marks whose epochs all are `epoch`. */
static int append(struct fixture *f, unsigned marks, uint64_t epoch)
{
    struct buf records;
    struct journal_place place;
    int rc;

    buf_init(&records, DISK_BATCH_MAX);
    for (unsigned i = 0; i < marks; i++)
        batch_add_mark(&records, (struct layer_id){ { 9, (uint8_t)i } }, DISK_OPEN, 1, epoch);
    rc = jnl_place(&f->j, (uint32_t)records.length, &place);
    if (rc == 0 && place.marker) {
        memset(f->batch, 0, DISK_BLOCK);
        assert_int_equal(jnl_append(&f->j, &place, f->batch, 0), 0);
        jnl_placed(&f->j, &place, f->batch, 0);
        rc = jnl_place(&f->j, (uint32_t)records.length, &place);
    }
    if (rc == 0) {
        memset(f->batch, 0, batch_room(records.length));
        memcpy(f->batch + 1, records.data, records.length);
        assert_int_equal(jnl_append(&f->j, &place, f->batch, (uint32_t)records.length), 0);
        jnl_placed(&f->j, &place, f->batch, (uint32_t)records.length);
        rc = place.checkpoint >= 0 ? 1 : 0;
    }
    buf_done(&records);
    return rc;
}

struct seen {
    unsigned count;
    uint64_t first, last; /* epochs */
};

static int see(void *ctx, uint64_t seq, const struct disk_record *record)
{
    struct seen *s = ctx;
    uint64_t epoch = get_le64(((const struct disk_record_mark *)record)->epoch);

    assert_true(seq > 0);
    if (s->count++ == 0)
        s->first = epoch;
    assert_true(epoch >= s->last);
    s->last = epoch;
    return 0;
}

static struct seen look(struct fixture *f)
{
    struct seen s = { 0 };
    struct journal_view view;

    jnl_view(&f->j, &view);
    CHECK(jnl_each(&f->j, &view, see, &s, &e));
    return s;
}

static void reopen(struct fixture *f)
{
    jnl_close(&f->j);
    open_journal(f);
}

static void batches_are_found_again(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(look(f).count, 0);
    for (uint64_t epoch = 1; epoch <= 5; epoch++)
        assert_int_equal(append(f, 100, epoch), 0);
    assert_int_equal(look(f).count, 500);
    uint64_t next = f->j.next_seq;
    reopen(f);
    struct seen s = look(f);
    assert_int_equal(s.count, 500);
    assert_int_equal(s.last, 5);
    assert_int_equal(f->j.next_seq, next);
    assert_true(jnl_mentions(&f->j, (struct layer_id){ { 9, 42 } }));
    assert_false(jnl_mentions(&f->j, (struct layer_id){ { 9, 200 } }));
}

static void full_half_gives_way_to_the_other(void **state)
{
    struct fixture *f = *state;
    uint64_t epoch = 1;

    while (append(f, 80, epoch) == 0)
        epoch++;
    assert_true(epoch > 10); /* the switch came with batch `epoch`, in the other half */
    assert_int_equal(look(f).count, 80 * epoch);
    reopen(f);
    assert_int_equal(look(f).count, 80 * epoch);
}

static void half_that_is_not_in_map_files_is_not_written_over(void **state)
{
    struct fixture *f = *state;
    uint64_t epoch = 1;
    int rc;

    while ((rc = append(f, 80, epoch)) == 0)
        epoch++;
    while ((rc = append(f, 80, epoch + 1)) == 0)
        epoch++;
    assert_int_equal(rc, -EAGAIN);
    jnl_checkpointed(&f->j, 1 - f->j.active);
    assert_int_equal(append(f, 80, epoch + 1), 1);
    struct seen s = look(f);
    assert_true(s.first > 10); /* the older half is gone */
    assert_int_equal(s.last, epoch + 1);
    reopen(f);
    assert_int_equal(look(f).count, s.count);
}

/* Overwrites part of the file. */
static void damage(struct fixture *f, uint64_t offset, uint64_t length)
{
    char zeros[512] = { 0 };

    assert_true(length <= sizeof zeros);
    assert_int_equal(pwrite(f->j.fd, zeros, length, (off_t)offset), (ssize_t)length);
}

static void torn_last_batch_is_not_there(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(append(f, 80, 1), 0); /* one block each */
    assert_int_equal(append(f, 80, 2), 0);
    damage(f, DISK_BLOCK + DISK_BLOCK + 2048, 512);
    reopen(f);
    assert_int_equal(look(f).count, 80);
    assert_int_equal(append(f, 80, 3), 0);
    reopen(f);
    assert_int_equal(look(f).last, 3);
}

static void old_batches_behind_the_end_are_not_believed(void **state)
{
    struct fixture *f = *state;
    uint64_t epoch = 1;

    while (append(f, 80, epoch) == 0)
        epoch++;
    jnl_checkpointed(&f->j, 1 - f->j.active);
    while (append(f, 80, epoch + 1) == 0)
        epoch++;
    reopen(f); /* the first half was begun anew; behind its one batch lie old ones */
    struct seen s = look(f);
    assert_true(s.first > 10);
    assert_int_equal(s.last, epoch + 1);
}

static void torn_first_batch_of_a_half_loses_nothing_else(void **state)
{
    struct fixture *f = *state;
    uint64_t epoch = 1;

    while (append(f, 80, epoch) == 0)
        epoch++;
    /* The second half is filled while the checkpoint runs, so none of its batches says that the
     * first one is done: that is what the marker is for. */
    while (append(f, 80, epoch + 1) == 0)
        epoch++;
    jnl_checkpointed(&f->j, 1 - f->j.active);
    uint64_t before = look(f).last;
    assert_int_equal(append(f, 80, 1000), 1);
    damage(f, DISK_BLOCK + f->j.active * f->j.half_bytes + 512, 512);
    reopen(f);
    assert_int_equal(look(f).last, before);
}

static void damage_in_the_middle_is_an_error(void **state)
{
    struct fixture *f = *state;
    uint64_t epoch = 1;
    struct err e = { 0 };

    while (append(f, 80, epoch) == 0)
        epoch++;
    damage(f, DISK_BLOCK + 3 * DISK_BLOCK, 64);
    jnl_close(&f->j);
    assert_int_equal(jnl_open(&f->j, &file_ops_real, f->dir_fd, 0, &e), -EIO);
    assert_non_null(strstr(e.msg, "missing"));
}

static void restart_begins_the_other_half(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(append(f, 80, 1), 0);
    unsigned active = f->j.active;
    CHECK(jnl_restart(&f->j, &e));
    assert_int_equal(f->j.active, 1 - active);
    assert_false(jnl_mentions(&f->j, (struct layer_id){ { 9, 1 } }));
    assert_int_equal(append(f, 80, 2), 0);
    reopen(f);
    assert_int_equal(look(f).last, 2);
}

/* Is there room for all of it? */
static bool has_its_room(const struct fixture *f)
{
    struct stat st;

    assert_int_equal(fstat(f->j.fd, &st), 0);
    return lseek(f->j.fd, 0, SEEK_HOLE) == st.st_size;
}

static void copy_with_holes_gets_its_room_again(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(append(f, 80, 1), 0);
    bool had_it = has_its_room(f);
    assert_int_equal(fallocate(f->j.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * DISK_BLOCK,
                               JOURNAL_MIN_HALF - DISK_BLOCK),
                     0);
    assert_int_equal(fallocate(f->j.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                               3 * DISK_BLOCK + JOURNAL_MIN_HALF, JOURNAL_MIN_HALF),
                     0);
    if (!had_it || has_its_room(f))
        skip(); /* the file system does not say where holes are */
    reopen(f);
    assert_true(has_its_room(f));
    assert_int_equal(look(f).count, 80);
    assert_int_equal(append(f, 80, 2), 0);
    reopen(f);
    assert_int_equal(look(f).last, 2);
}

static void newer_or_foreign_files_are_refused(void **state)
{
    struct fixture *f = *state;
    struct err e = { 0 };

    assert_int_equal(pwrite(f->j.fd, "\2", 1, 8), 1); /* version */
    jnl_close(&f->j);
    assert_int_equal(jnl_open(&f->j, &file_ops_real, f->dir_fd, 0, &e), -ENOTSUP);
    int fd = openat(f->dir_fd, "journal", O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "X", 1, 0), 1);
    close(fd);
    assert_int_equal(jnl_open(&f->j, &file_ops_real, f->dir_fd, 0, &e), -EIO);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(batches_are_found_again),
        TEST(full_half_gives_way_to_the_other),
        TEST(half_that_is_not_in_map_files_is_not_written_over),
        TEST(torn_last_batch_is_not_there),
        TEST(old_batches_behind_the_end_are_not_believed),
        TEST(torn_first_batch_of_a_half_loses_nothing_else),
        TEST(damage_in_the_middle_is_an_error),
        TEST(restart_begins_the_other_half),
        TEST(copy_with_holes_gets_its_room_again),
        TEST(newer_or_foreign_files_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* rig - a store in a temporary directory, with images, volumes and requests. */
#include "tests/unit/store/rig.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/name.h"
#include "tests/unit/store/fake_shard.h"

void rig_init(struct rig *g)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(g->dir, sizeof g->dir, "%s/store.XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(g->dir));
    fake_reset(0);
}

struct store_options rig_options(struct rig *g)
{
    snprintf(g->live, sizeof g->live, "%s/live", g->dir);
    return (struct store_options){
        .dir = g->dir,
        .ops = g->ops,
        .log_blocks = g->log_blocks,
        .journal_bytes = g->journal_bytes ? g->journal_bytes : 1u << 20,
        .shard = fake_shard(),
        .read_pool = fake_read_pool(),
        .slow_pool = fake_slow_pool(),
        .journal_pool = g->journal_pool,
        .live_dir = g->live,
        .live_slots = g->live_slots ? g->live_slots : 256,
    };
}

void rig_open(struct rig *g)
{
    const struct store_options o = rig_options(g);

    CHECK(store_open(&o, &g->store, &e));
}

static void live_path(const struct rig *g, char *ret, size_t size)
{
    struct dirent *entry;

    ret[0] = '\0';
    DIR *dir = opendir(g->live);
    while (dir && (entry = readdir(dir)))
        if (strstr(entry->d_name, ".live"))
            snprintf(ret, size, "%s/%s", g->live, entry->d_name);
    if (dir)
        closedir(dir);
}

/* The name goes with the content: after the store is closed the file is gone. */
struct live_copy {
    char path[400];
    char bytes[];
};

void *rig_live_copy(const struct rig *g, size_t *ret_length)
{
    char path[400];
    struct stat st;

    live_path(g, path, sizeof path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    struct live_copy *copy = malloc(sizeof *copy + (size_t)st.st_size);
    assert_non_null(copy);
    memcpy(copy->path, path, sizeof path);
    assert_int_equal(read(fd, copy->bytes, (size_t)st.st_size), st.st_size);
    close(fd);
    *ret_length = (size_t)st.st_size;
    return copy;
}

void rig_live_put(const struct rig *g, const void *copy, size_t length)
{
    const struct live_copy *from = copy;
    char path[400];

    live_path(g, path, sizeof path);
    if (path[0])
        assert_int_equal(unlink(path), 0);
    if (!copy)
        return;
    int fd = open(from->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, from->bytes, length), length);
    close(fd);
}

void rig_close(struct rig *g)
{
    fake_run();
    store_close(g->store);
    g->store = NULL;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

void rig_remove(struct rig *g)
{
    nftw(g->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

unsigned rig_files(const struct rig *g)
{
    char path[160];
    unsigned count = 0;
    struct dirent *entry;

    snprintf(path, sizeof path, "%s/layers", g->dir);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    while ((entry = readdir(dir)))
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

uint8_t image_byte(uint64_t offset)
{
    uint64_t block = offset / BLK_BLOCK;

    return block % 4 == 3 ? 0 : (uint8_t)(1 + (block * 7 + offset % 251) % 255);
}

void fill_image(uint8_t *buf, uint64_t offset, uint64_t length)
{
    for (uint64_t i = 0; i < length; i++)
        buf[i] = image_byte(offset + i);
}

struct layer_id rig_image(struct rig *g, uint64_t size_bytes)
{
    struct layer_writer *w;
    uint64_t data_bytes;
    uint8_t *buf = malloc(size_bytes);

    fill_image(buf, 0, size_bytes);
    CHECK(layer_create(g->store, size_bytes, &w, &e));
    CHECK(layer_write(w, 0, buf, size_bytes, &e));
    CHECK(layer_seal(w, &data_bytes, &e));
    struct layer_id id = layer_writer_id(w);
    layer_writer_free(w);
    free(buf);
    return id;
}

struct layer_id rig_new_id(void)
{
    struct layer_id id;

    random_bytes(id.b, sizeof id.b);
    return id;
}

static void count_failure(void *ctx, const char *name, const char *why)
{
    struct rig *g = ctx;

    (void)name;
    assert_true(why[0]);
    g->failures++;
}

static void note_parked(void *ctx, const char *name, bool parked, const char *why)
{
    struct rig *g = ctx;

    (void)name;
    g->parked += parked ? 1 : -1u;
    if (parked)
        snprintf(g->why, sizeof g->why, "%s", why);
}

const struct layer_chain *rig_chain(struct layer_id id)
{
    static struct layer_chain chain;

    chain = (struct layer_chain){ .count = 1, .id = { id } };
    return &chain;
}

struct volume *rig_volume(struct rig *g, struct layer_id top, struct layer_id below,
                          uint64_t size_bytes, uint64_t epoch)
{
    struct layer_chain chain = { .count = 1, .id = { below } };
    struct volume_spec spec = { .name = "vol",
                                .top = top,
                                .below = &chain,
                                .size_bytes = size_bytes,
                                .generation = 1,
                                .epoch = epoch,
                                .quota_bytes = g->quota_bytes };
    struct volume_events events = { .failed = count_failure, .parked = note_parked, .ctx = g };
    struct volume *v;

    CHECK(volume_open(g->store, &spec, &events, &v, &e));
    return v;
}

static void note_drained(void *ctx)
{
    *(bool *)ctx = true;
}

void rig_volume_close(struct volume *v)
{
    bool drained = false;

    volume_close(v, note_drained, &drained);
    fake_run();
    assert_true(drained);
}

static void note_done(struct blk_req *r)
{
    *(int *)r->owner = r->error;
    free(r);
}

void rig_begin(struct blkdev *d, enum blk_op op, uint32_t flags, uint64_t offset, uint64_t length,
               void *buf, int *ret_error)
{
    struct blk_req *r = calloc(1, sizeof *r);

    *r = (struct blk_req){ .op = op,
                           .flags = flags,
                           .offset = offset,
                           .length = length,
                           .buf = buf,
                           .done = note_done,
                           .owner = ret_error };
    *ret_error = PENDING;
    blk_submit(d, r);
}

int rig_io(struct blkdev *d, enum blk_op op, uint32_t flags, uint64_t offset, uint64_t length,
           void *buf)
{
    int error;

    rig_begin(d, op, flags, offset, length, buf, &error);
    while (error == PENDING)
        assert_true(fake_step());
    return error;
}

void expect_bytes(struct blkdev *d, uint64_t offset, uint64_t length, const uint8_t *want)
{
    uint8_t *got = malloc(length);

    memset(got, 0xEE, length);
    assert_int_equal(rig_io(d, BLK_READ, 0, offset, length, got), 0);
    for (uint64_t i = 0; i < length; i++)
        if (got[i] != want[i])
            fail_msg("byte %llu is %#x, not %#x", (unsigned long long)(offset + i), got[i],
                     want[i]);
    free(got);
}

void expect_fill(struct blkdev *d, uint64_t offset, uint64_t length, uint8_t want)
{
    uint8_t *bytes = malloc(length);

    memset(bytes, want, length);
    expect_bytes(d, offset, length, bytes);
    free(bytes);
}

void expect_image(struct blkdev *d, uint64_t offset, uint64_t length)
{
    uint8_t *bytes = malloc(length);

    fill_image(bytes, offset, length);
    expect_bytes(d, offset, length, bytes);
    free(bytes);
}

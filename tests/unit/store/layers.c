/* SPDX-License-Identifier: Apache-2.0 */
/* layers - sealed layers on each other, for the store's tests. */
#include "tests/unit/store/layers.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "server/base/name.h"

struct volume *volume_on(struct rig *g, struct layer_id top, const struct layer_chain *below,
                         uint64_t size_bytes)
{
    struct volume_spec spec = {
        .name = "vol", .top = top, .below = below, .size_bytes = size_bytes, .generation = 1
    };
    struct volume *v;

    CHECK(volume_open(g->store, &spec, NULL, &v, &e));
    return v;
}

struct layer_id layer_on(struct rig *g, const struct layer_chain *below, uint64_t size_bytes,
                         const uint64_t *blocks, unsigned count, uint8_t byte)
{
    struct layer_id id = rig_new_id();
    struct volume *v = volume_on(g, id, below, size_bytes);
    struct blkdev *d = volume_device(v);
    uint8_t buf[BLK_BLOCK];

    memset(buf, byte, sizeof buf);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(rig_io(d, byte ? BLK_WRITE : BLK_TRIM, 0, blocks[i] * BLK_BLOCK, BLK_BLOCK,
                                byte ? buf : NULL),
                         0);
    rig_volume_close(v);
    return id;
}

struct layer_chain chain_of(struct layer_id id, const struct layer_chain *below)
{
    struct layer_chain c = { .count = 1 + (below ? below->count : 0), .id = { id } };

    for (unsigned i = 0; below && i < below->count; i++)
        c.id[1 + i] = below->id[i];
    return c;
}

struct blkdev *image_of_chain(struct rig *g, const struct layer_chain *c, uint64_t size_bytes)
{
    struct blkdev *d;

    CHECK(image_open(g->store, c, size_bytes, &d, &e));
    return d;
}

void layer_path(const struct rig *g, struct layer_id id, const char *suffix, char ret[256])
{
    char hex[LAYER_ID_TEXT];

    hex_encode(id.b, sizeof id.b, hex);
    snprintf(ret, 256, "%s/layers/%s%s", g->dir, hex, suffix);
}

void damage_block(const struct rig *g, struct layer_id id, uint64_t block)
{
    char path[256], byte;
    off_t at = (off_t)(block * BLK_BLOCK + 77);

    layer_path(g, id, ".data", path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

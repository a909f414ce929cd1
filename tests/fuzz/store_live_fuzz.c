/* SPDX-License-Identifier: Apache-2.0 */
/* Live files.  The header is right but for what the input's first bytes say of state, entries and
 * one field; table and slots are the input.  Whatever it is, it is taken over or refused. */
/* sources: server/store/live.c server/store/live_file.c server/store/live_place.c */
/* sources: server/store/map.c server/store/layer.c server/store/map_file.c */
/* sources: server/store/block_crc.c server/base/err.c server/base/crc32c.c server/base/name.c */
/* sources: server/base/log.c server/io/file_ops.c */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/base/log.h"
#include "server/io/file_ops.h"
#include "server/store/live.h"
#include "server/store/live_file.h"
#include "server/store/live_place.h"

#define SLOTS 6u
#define PAGES 3u /* of the disks, the last one in part */

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    char dir[256], live[300], path[400];
    struct file_ops ops; /* the kernel's, which sync nothing */
    struct live_options options;
} place;

static int sync_nothing(void *ctx, int fd)
{
    (void)ctx;
    (void)fd;
    return 0;
}

static void leave(void)
{
    char path[300];

    unlink(place.path);
    rmdir(place.live);
    snprintf(path, sizeof path, "%s/instance", place.dir);
    unlink(path);
    rmdir(place.dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct live *l;
    bool adopted;

    (void)argc;
    (void)argv;
    log_set_level(LOG_LEVEL_ERROR);
    const char *tmp = getenv("TMPDIR");
    snprintf(place.dir, sizeof place.dir, "%s/live-fuzz.XXXXXX", tmp ? tmp : "/tmp");
    place.ops = file_ops_real;
    place.ops.sync_data = place.ops.sync_dir = sync_nothing;
    if (!mkdtemp(place.dir))
        abort();
    snprintf(place.live, sizeof place.live, "%s/live", place.dir);
    place.options = (struct live_options){ .ops = &place.ops,
                                           .state_fd = open(place.dir, O_RDONLY | O_CLOEXEC),
                                           .state = place.dir,
                                           .dir = place.live,
                                           .slots = SLOTS };
    if (live_open(&place.options, &l, &adopted, NULL) < 0)
        abort();
    snprintf(place.path, sizeof place.path, "%s", live_path(l));
    live_leave(l);
    return atexit(leave);
}

static void write_file(const uint8_t *data, size_t size)
{
    static struct live_header h;
    struct live_place dir;

    if (live_place_open(&place.options, 0, &dir, NULL) < 0 ||
        live_expect(&place.options, SLOTS, &h, NULL) < 0)
        abort();
    close(dir.dir_fd);
    h.state = data[0] % 4 ? (uint32_t)LIVE_COUNTS : data[1];
    h.entries = data[2] % 4 ? SLOTS : data[1] * 0x01010101u;
    if (data[2] % 4 == 3)
        ((uint8_t *)&h)[data[3] % 96] ^= data[1];
    int fd = open(place.path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || pwrite(fd, &h, sizeof h, 0) != sizeof h ||
        pwrite(fd, data, size, sizeof h) != (ssize_t)size ||
        ftruncate(fd, (off_t)live_file_bytes(SLOTS)) < 0)
        abort();
    close(fd);
}

static int adopt(void *ctx, struct layer_id id, bool failed)
{
    struct live *l = ctx;
    struct map map;

    if (failed) {
        live_forget(l, id);
        return 0;
    }
    map_init(&map, PAGES * DISK_PAGE_BLOCKS - 100);
    if (live_adopt(l, id, &map) == 0 && map_reserve(&map, 5, 10, true) == 0)
        map_set(&map, 5, 10, DISK_DATA);
    map_done(&map);
    if (id.b[0] % 3 == 0)
        live_fail(l, id);
    else if (id.b[0] % 3 == 1)
        live_written(l, id);
    live_release(l, id);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct live *l;
    bool adopted;

    if (size < 4 || size > live_file_bytes(SLOTS) - sizeof(struct live_header))
        return 0;
    write_file(data, size);
    if (live_open(&place.options, &l, &adopted, NULL) < 0)
        abort();
    if (adopted)
        (void)live_each_layer(l, adopt, l);
    live_leave(l);
    return 0;
}

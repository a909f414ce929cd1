/* SPDX-License-Identifier: Apache-2.0 */
/* import_rig - a store in a temporary directory, files to import, and a look at what came of them.
 */
#include "tests/unit/control/import_rig.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "server/base/name.h"
#include "server/io/pool.h"
#include "server/io/shard.h"

void irig_open(struct import_rig *g)
{
    const char *tmp = getenv("TMPDIR");

    memset(g, 0, sizeof *g);
    snprintf(g->dir, sizeof g->dir, "%s/import.XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(g->dir));
    snprintf(g->scratch, sizeof g->scratch, "%s/tmp", g->dir);
    assert_int_equal(mkdir(g->scratch, 0700), 0);
    assert_int_equal(shard_start("test-shard", &g->shard, &g->err), 0);
    assert_int_equal(pool_start("test-pool", 1, &g->pool, &g->err), 0);
    snprintf(g->live, sizeof g->live, "%s/live", g->dir);
    const struct store_options o = { .dir = g->dir,
                                     .live_dir = g->live,
                                     .journal_bytes = 1u << 20,
                                     .shard = g->shard,
                                     .read_pool = g->pool,
                                     .slow_pool = g->pool };
    if (store_open(&o, &g->store, &g->err) < 0)
        fail_msg("%s", g->err.msg);
}

static unsigned files_in(const char *dir)
{
    DIR *d = opendir(dir);
    unsigned n = 0;

    assert_non_null(d);
    for (struct dirent *entry; (entry = readdir(d));)
        n += entry->d_name[0] != '.';
    closedir(d);
    return n;
}

static void expect_nothing_left(struct import_rig *g)
{
    char layers[160];

    snprintf(layers, sizeof layers, "%s/layers", g->dir);
    assert_int_equal(files_in(layers), 0);
    assert_int_equal(files_in(g->scratch), 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

void irig_close(struct import_rig *g)
{
    expect_nothing_left(g);
    store_close(g->store);
    pool_stop(g->pool);
    shard_stop(g->shard);
    nftw(g->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int irig_file(struct import_rig *g, const char *name, const void *bytes, size_t length,
              uint64_t size)
{
    char path[200];

    snprintf(path, sizeof path, "%s/%s", g->dir, name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, length, 0), length);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    return fd;
}

static int import(struct import_rig *g, const struct import_source *source)
{
    memset(&g->err, 0, sizeof g->err);
    memset(&g->result, 0, sizeof g->result);
    struct import_source with_id = *source;
    random_bytes(&with_id.layer, sizeof with_id.layer);
    return import_run(g->store, &with_id, &g->progress, &g->result, &g->err);
}

int irig_import_file(struct import_rig *g, const char *name, int fd, uint64_t limit_bytes)
{
    char path[200];

    snprintf(path, sizeof path, "%s/%s", g->dir, name);
    int own = fd < 0 ? open(path, O_RDONLY | O_CLOEXEC) : fd;
    assert_true(own >= 0);
    int rc = import(
        g, &(struct import_source){ IMPORT_FILE, path, own, limit_bytes, g->scratch, { { 0 } } });
    close(own);
    return rc;
}

int irig_import(struct import_rig *g, enum import_kind kind, const char *where)
{
    return import(g, &(struct import_source){ kind, where, -1, RIG_LIMIT, g->scratch, { { 0 } } });
}

void irig_expect_disk(struct import_rig *g, const void *bytes, size_t length, uint64_t size_bytes)
{
    char hex[2 * LAYER_ID_BYTES + 1], path[200];
    uint8_t sum[32];
    size_t padded = (size_t)((size_bytes + 4095) & ~4095ull);
    uint8_t *want = calloc(1, padded), *got = calloc(1, padded);

    if (g->err.code)
        fail_msg("%s", g->err.msg);
    memcpy(want, bytes, length);
    assert_int_equal(g->result.size_bytes, size_bytes);
    assert_int_equal(EVP_Digest(want, size_bytes, sum, NULL, EVP_sha256(), NULL), 1);
    assert_memory_equal(g->result.sha256, sum, sizeof sum);
    hex_encode(g->result.layer.b, LAYER_ID_BYTES, hex);
    snprintf(path, sizeof path, "%s/layers/%s.data", g->dir, hex);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, got, padded) >= (ssize_t)size_bytes);
    close(fd);
    assert_memory_equal(got, want, size_bytes);
    free(want);
    free(got);
    assert_int_equal(layer_remove(g->store, g->result.layer, &g->err), 0);
}

void irig_expect_refused(struct import_rig *g, int rc, int want, const char *words)
{
    if (rc == 0 || !strstr(g->err.msg, words))
        fail_msg("returned %d, said \"%s\", not \"%s\"", rc, g->err.msg, words);
    if (rc != want)
        fail_msg("returned %d, not %d: %s", rc, want, g->err.msg);
    assert_int_equal(g->err.code, want);
    assert_null(strchr(g->err.msg, '\n'));
    expect_nothing_left(g);
}

void irig_sh(struct import_rig *g, const char *fmt, ...)
{
    char command[1000], line[1200];
    va_list args;

    va_start(args, fmt);
    vsnprintf(command, sizeof command, fmt, args);
    va_end(args);
    snprintf(line, sizeof line, "cd '%s' && { %s; } >/dev/null", g->dir, command);
    if (system(line) != 0)
        fail_msg("failed: %s", command);
}

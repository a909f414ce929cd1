/* SPDX-License-Identifier: Apache-2.0 */
/* rig - store, catalog and exports in a temporary directory, on real threads, and clients of the
 * exports, for the tests of the verbs. */
#ifndef GRIDBOX_TESTS_LIFECYCLE_RIG_H
#define GRIDBOX_TESTS_LIFECYCLE_RIG_H

#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>

#include "server/block/blkdev.h"
#include "server/catalog/catalog.h"
#include "server/catalog/layers.h"
#include "server/export/export.h"
#include "server/io/file_ops.h"
#include "server/lifecycle/lifecycle.h"
#include "tests/unit/unit.h"

struct pool;

#define RIG_IMAGE_BYTES (1u << 20)
#define BLOCK           4096u

/* Fails the test, with the message, when a call failed. */
#define CHECK(call)                                                                                \
    do {                                                                                           \
        struct err e = { 0 };                                                                      \
        int _rc = (call);                                                                          \
        if (_rc < 0)                                                                               \
            fail_msg("%s: %s", #call, e.msg);                                                      \
    } while (0)

/* The call must fail so, with these words. */
#define CHECK_FAILS(code, words, call)                                                             \
    do {                                                                                           \
        struct err e = { 0 };                                                                      \
        int _rc = (call);                                                                          \
        if (_rc != (code) || !strstr(e.msg, words))                                                \
            fail_msg("%s: %d '%s', wanted %d '%s'", #call, _rc, e.msg, code, words);               \
    } while (0)

struct rig {
    char dir[64], live[80], db[80];
    struct file_ops ops; /* the kernel's, but for sync_data when it is slow */
    struct shard *shard;
    struct pool *read_pool, *slow_pool;
    struct lifecycle l;
    struct cat_image image; /* block b of it is full of the byte 1 + b */
};

/* cmocka's set-up and tear-down; *state is a struct rig. */
int rig_start(void **state);
int rig_stop(void **state);

/* Ends and starts again what a server's end and start would. */
void rig_restart(struct rig *r);

/* Syncs of data take a tenth of a second until rig_fast(); `after` of them are quick first. */
void rig_slow(int after);
void rig_fast(void);

struct cat_volume rig_get(struct rig *r, const char *name);
struct cat_volume rig_volume(struct rig *r, const char *name);  /* made on the image */
struct lifecycle_set rig_set(struct rig *r, const char *names); /* "a b c" */
void rig_snapshot(struct rig *r, const char *name, const char *volumes);
struct cat_counts rig_counts(struct rig *r);
unsigned rig_files(const struct rig *r, const char *folder);

bool rig_has(const struct rig *r, struct layer_id id); /* its files */

/* From now on the catalog refuses this: "INSERT ON event", "UPDATE ON volume" …; NULL: no more. */
void rig_refuse(struct rig *r, const char *what);

/* ---- clients ------------------------------------------------------------------------------------
 * Attached to a volume, or an image's version, and connected.  One thread, one request at a time.
 */
struct client {
    struct rig *rig;
    struct export_peer peer;
    struct export_session *session;
    struct blkdev *device;
    bool closed, cut;
    int error; /* of opening */
    char why[256], export_name[EXPORT_NAME_SIZE];
    sem_t event;
};
void client_open(struct rig *r, struct client *c, const char *volume);
/* Asks once more with the same token: the error. */
int client_again(struct client *c);
void client_close(struct client *c);

/* One block, all of it this byte. */
int client_write(struct client *c, unsigned block, uint8_t byte);
int client_flush(struct client *c);
/* What all bytes of the block are; fails the test if they differ. */
uint8_t client_read(struct client *c, unsigned block);

/* The same with a client for this alone. */
void rig_write(struct rig *r, const char *volume, unsigned block, uint8_t byte);
uint8_t rig_read(struct rig *r, const char *volume, unsigned block);

#endif

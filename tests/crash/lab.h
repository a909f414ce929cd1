/* SPDX-License-Identifier: Apache-2.0 */
/* lab - a whole server's storage in one thread on one simulated disk: store, catalog, exports and
 * lifecycle, started and stopped in the server's own order, and clients on its exports.
 *
 * What becomes of it in a crash is seen by doing a piece of work in peace, then going back
 * (sim_past, lab_memory_put) and starting again. */
#ifndef GRIDBOX_TESTS_CRASH_LAB_H
#define GRIDBOX_TESTS_CRASH_LAB_H

#include <stdbool.h>
#include <stdint.h>

#include "server/block/blkdev.h"
#include "server/catalog/volumes.h"
#include "server/export/export.h"
#include "server/lifecycle/lifecycle.h"
#include "server/store/store.h"
#include "tests/unit/store/sim_ops.h"

#define LAB_SEATS 24

struct lab;

/* One client's place at one volume. */
struct lab_seat {
    struct lab *lab;
    struct export_peer peer;
    struct export_session *session; /* NULL: not connected */
    struct blkdev *device;
    unsigned running; /* its requests */
    bool cut;
    bool asked;  /* waits for the answer to export_open */
    int refused; /* the last answer: 0 or -errno */
    char uri[EXPORT_NAME_SIZE];
};

struct lab {
    char dir[160], live_dir[192];
    struct sim *sim;
    struct store *store;
    struct catalog *catalog;
    struct export_table *exports;
    struct lifecycle life;
    unsigned raised;     /* epochs that the start raised */
    uint64_t catalog_up; /* the operation by which the last start had opened the catalog */
    unsigned log_blocks; /* as in store_options */
    struct lab_seat seats[LAB_SEATS];
    struct lab_memory *memory; /* what memory files held before each operation */
};

void lab_init(struct lab *l, uint64_t seed); /* makes the directory */
void lab_done(struct lab *l);                /* deletes it */

/* As gridboxd does it: 0 or what it would say. */
int lab_start(struct lab *l, struct err *e);
/* In order.  Fails the test when something hangs. */
void lab_stop(struct lab *l);

/* ---- clients ----------------------------------------------------------------------------------
 * Asks for an export by "NAME.TOKEN" and runs until the answer is there: 0 or -errno. */
int lab_connect(struct lab *l, unsigned seat, const char *uri);
/* What one would take for the volume's attachment. */
void lab_uri(const struct cat_volume *v, char ret[static EXPORT_NAME_SIZE]);
/* The client goes away; its running requests are awaited. */
void lab_leave(struct lab *l, unsigned seat);
static inline bool lab_connected(const struct lab_seat *s)
{
    return s->session && !s->cut;
}
/* A request of this seat begins, is over. */
void lab_request_begins(struct lab_seat *s);
void lab_request_over(struct lab_seat *s);

/* Parts of a disk that are read, one behind the other into ret. */
struct lab_parts {
    unsigned count;
    struct {
        uint64_t offset, length;
    } part[3];
};
static inline struct lab_parts lab_start_of_disk(uint64_t length)
{
    return (struct lab_parts){ .count = 1, .part = { { 0, length } } };
}
/* What a device shows / a chain shows. */
void lab_read(struct blkdev *d, const struct lab_parts *parts, void *ret);
int lab_read_chain(struct lab *l, const struct layer_chain *chain, uint64_t size_bytes,
                   const struct lab_parts *parts, void *ret, struct err *e);
/* What a sealed layer of this size shows, on all that it stands on. */
int lab_read_layer(struct lab *l, const uint8_t id[static 16], uint64_t size_bytes,
                   const struct lab_parts *parts, void *ret, struct err *e);
int lab_read_volume(struct lab *l, const struct cat_volume *v, const struct lab_parts *parts,
                    void *ret, struct err *e);

/* Imports rig.h's image and returns its layer. */
struct layer_id lab_import(struct lab *l, uint64_t size_bytes);
/* There is room on the disk again. */
void lab_room(struct lab *l);
/* Files in a folder of the state directory. */
unsigned lab_count_files(const struct lab *l, const char *folder);

/* ---- memory files -----------------------------------------------------------------------------
 * From now on what lies in live_dir is kept before each operation; until lab_memory_forget. */
void lab_memory_watch(struct lab *l);
void lab_memory_forget(struct lab *l);
/* Puts back what was there before operation `number`; kept false: nothing is there. */
void lab_memory_put(struct lab *l, struct lab_memory *m, uint64_t number, bool kept);
/* Takes what was kept. */
struct lab_memory *lab_memory_take(struct lab *l);
void lab_memory_free(struct lab_memory *m);

#endif

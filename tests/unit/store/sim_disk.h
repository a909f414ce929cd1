/* SPDX-License-Identifier: Apache-2.0 */
/* sim_disk - what a disk holds, and what it could hold if the power had gone.
 *
 * Contents are tables of counted pages, so that copies cost nothing.  A history is the disk at one
 * moment, all of it durable, and every operation since; from it follows what a power cut before any
 * of them leaves: of each file any state that write-back could have reached (each sector of 512
 * bytes as of any moment since the last sync, the size as of another), of the names a prefix of
 * their changes that holds all that a sync of their directory promised.
 * No file is touched here. */
#ifndef GRIDBOX_TESTS_STORE_SIM_DISK_H
#define GRIDBOX_TESTS_STORE_SIM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_PAGE   4096u
#define SIM_SECTOR 512u

struct sim_page {
    unsigned refs;
    uint64_t index; /* in the file */
    uint64_t hash;  /* 0: not known yet */
    uint8_t bytes[SIM_PAGE];
};

/* What a file holds: its pages by rising index; those that are not there are holes. */
struct sim_content {
    uint64_t size;
    size_t page_count, capacity;
    struct sim_page **pages;
};

struct sim_content sim_content_copy(const struct sim_content *c);
void sim_content_done(struct sim_content *c);
void sim_content_write(struct sim_content *c, uint64_t offset, const void *data, uint64_t length);
void sim_content_punch(struct sim_content *c, uint64_t offset, uint64_t length);
void sim_content_resize(struct sim_content *c, uint64_t size);

/* Names and what they lead to. */
struct sim_name {
    char *path;
    unsigned file;
};
struct sim_tree {
    struct sim_name *names;
    size_t name_count, name_capacity;
    struct sim_content *files; /* by number; files without a name are empty */
    size_t file_count;
};

#define SIM_NO_FILE ((unsigned)-1)
void sim_tree_done(struct sim_tree *t);
struct sim_tree sim_tree_copy(const struct sim_tree *t);
unsigned sim_tree_find(const struct sim_tree *t, const char *path);
/* SIM_NO_FILE: the name is gone. */
void sim_tree_set(struct sim_tree *t, const char *path, unsigned file);
/* A new file without a name; its number. */
unsigned sim_tree_add(struct sim_tree *t);
/* Of all names and contents. */
uint64_t sim_tree_hash(struct sim_tree *t);

enum sim_event_kind {
    SIM_DID_WRITE,
    SIM_DID_PUNCH,
    SIM_DID_TRUNCATE,
    SIM_DID_SYNC,
    SIM_DID_NOT_SYNC, /* it failed: what it should have written is clean now, written or not */
    SIM_DID_NAME,
    SIM_DID_SYNC_DIR,
};

struct sim_event {
    enum sim_event_kind kind;
    uint64_t number;      /* of the operation */
    unsigned file, group; /* names that change together are one group */
    uint64_t offset, length;
    void *data; /* bytes, or a path */
};

struct sim_history {
    struct sim_tree before;
    struct sim_event *events;
    size_t count, capacity;
};

void sim_history_add(struct sim_history *h, const struct sim_event *event, const void *data,
                     size_t data_bytes);
/* All of it before this operation. */
struct sim_history sim_history_copy(const struct sim_history *h, uint64_t number);
void sim_history_done(struct sim_history *h);

enum sim_loss {
    SIM_LOSE_NOTHING, /* the process died: all that was done is there */
    SIM_LOSE_SOME,    /* by chance, which follows from seed */
    SIM_LOSE_ALL,     /* that was not synced */
};
/* The disk after a crash just before operation `number`. */
struct sim_tree sim_history_world(const struct sim_history *h, uint64_t number, uint64_t seed,
                                  enum sim_loss loss);

#endif

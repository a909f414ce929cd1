/* SPDX-License-Identifier: Apache-2.0 */
/* model - what volumes, snapshots and images may show after a crash at any moment.
 *
 * Time counts what clients and the operator did and were told; each moment knows how many file
 * operations had begun by then, so a crash before operation N is a moment.
 * A line is one content that requests change: a volume gets a new one by rollback and reset.  A
 * sealed content is what a line showed at some moment of an interval.
 *
 * The rule for one sector: it may show what request x wrote unless some y, which surely came after
 * x, is surely there.  Who is sure to be there depends on what happened: after a power cut what a
 * flush covers; after the death of the process what was answered; in a sealed content what was
 * answered before the sealing began. */
#ifndef GRIDBOX_TESTS_CRASH_MODEL_H
#define GRIDBOX_TESTS_CRASH_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/name.h"
#include "server/block/blkdev.h"

/* The sectors of a disk that requests touch lie in three places: at its start, across the end of
 * the first map page and across that of the second.  A disk that ends before a place does not have
 * its sectors; they count as zeros. */
#define MODEL_SECTOR  512u
#define MODEL_SECTORS 192u /* 24 blocks */
#define MODEL_BYTES   (MODEL_SECTORS * MODEL_SECTOR)
#define MODEL_PLACES  3u
struct model_place {
    uint32_t first, count; /* sectors of the model */
    uint64_t offset;       /* on the disk, bytes */
};
struct model_place model_place(unsigned number);
unsigned model_place_of(uint32_t sector);
uint64_t model_offset(uint32_t sector);

/* Sectors that a disk has; not all its ends lie between blocks. */
static inline uint32_t model_limit(unsigned size) /* 0 … MODEL_PLACES - 1 */
{
    return size == 0 ? 125 : size == 1 ? 157 : MODEL_SECTORS;
}
uint64_t model_size_bytes(uint32_t limit);
/* The other way round; 0: no disk has that size. */
uint32_t model_limit_of(uint64_t size_bytes);

#define MODEL_TIMES   8192u
#define MODEL_OPS     2048u
#define MODEL_LINES   96u
#define MODEL_COVERS  512u
#define MODEL_SEALED  96u
#define MODEL_VOLUMES 24u

typedef uint64_t model_value; /* of a sector's content */

model_value model_value_of(const void *sector);
model_value model_zeros(void);
/* A sector full of this stamp. */
model_value model_value_stamp(uint32_t stamp);

/* One request that changes something. */
struct model_op {
    enum blk_op kind;
    unsigned line;
    uint32_t first, count; /* sectors that it changes */
    model_value value;
    bool fua;
    unsigned submitted, done; /* times; done 0: not answered */
    int error;
};

/* All that was answered on the line before `begin` is durable from `end` on (0: never). */
struct model_cover {
    unsigned line, begin, end;
    unsigned verb; /* which makes it; 0: a flush */
};

struct model_line {
    int volume;
    int sealed; /* it began with this sealed content; -1: with `base` */
    int before; /* that was a line of the model before this one, whose process was killed: not all
                 * of it is durable; -1: it is */
    model_value base[MODEL_SECTORS];
};

/* When something was there.  born_end 0: its making was not seen to succeed; died_begin 0: nobody
 * wanted to remove it; died_end 0: nobody saw it gone. */
struct model_life {
    unsigned born_begin, born_end, died_begin, died_end;
    unsigned verb; /* what is made by one verb is there as a whole or not at all */
};
enum model_presence { MODEL_ABSENT, MODEL_EITHER, MODEL_PRESENT };

struct model_sealed {
    unsigned line, begin, end; /* end 0: not answered */
    uint32_t limit;            /* the sectors that it has */
    bool exact;
    model_value content[MODEL_SECTORS]; /* if exact */
    struct model_life life;
    char snapshot[NAME_SIZE]; /* of a volume; or "" */
    char image[NAME_SIZE];
    uint32_t version;
    int volume;
};

/* What a verb set, the latest at last. */
#define MODEL_SETTINGS 24u
struct model_setting {
    uint64_t value;
    unsigned begin, end; /* end 0: not answered */
};
struct model_settings {
    unsigned count;
    struct model_setting at[MODEL_SETTINGS];
};
static inline void model_set(struct model_settings *s, uint64_t value, unsigned begin, unsigned end)
{
    s->at[s->count++] = (struct model_setting){ value, begin, end };
}
/* The last one that was answered. */
uint64_t model_setting(const struct model_settings *s);
bool model_setting_may(const struct model_settings *s, unsigned at, uint64_t value);

struct model_volume {
    char name[NAME_SIZE];
    struct model_life life;
    struct {
        unsigned line, begin, end; /* changed by a verb in this interval; end 0: not answered */
        uint64_t epoch;            /* known from `end` on */
    } turns[32];
    uint8_t tops[32][16]; /* that it wrote to before each turn */
    unsigned turn_count;
    struct model_settings limits;     /* the sectors that it has */
    struct model_settings quotas;     /* bytes */
    uint64_t most;                    /* that its top may hold because of that; 0: not known */
    int origin;                       /* the sealed content of the image it was made from */
    unsigned cleans[64], clean_count; /* all was answered, durable and marked clean */
};

struct model {
    const struct model *before;   /* of the process that was killed; NULL: none was */
    unsigned before_at;           /* when */
    uint64_t counts[MODEL_TIMES]; /* file operations that had begun at this time */
    unsigned time;
    struct model_op ops[MODEL_OPS];
    unsigned op_count;
    struct model_line lines[MODEL_LINES];
    unsigned line_count;
    struct model_cover covers[MODEL_COVERS];
    unsigned cover_count;
    struct model_sealed sealed[MODEL_SEALED];
    unsigned sealed_count;
    struct model_volume volumes[MODEL_VOLUMES];
    unsigned volume_count;
    unsigned verbs;
    unsigned stop; /* the server was told to end; 0: never */
    /* A COMMIT of this verb was answered with an error at this moment, and may be durable; what was
     * held for it went on.  0: none. */
    unsigned unsure_verb, unsure_at;
    unsigned unsure_begin; /* a verb that was to meet it began then */
};

/* Another moment, at which `count` file operations have begun. */
unsigned model_tick(struct model *m, uint64_t count);
/* The last moment before file operation `count`. */
unsigned model_moment(const struct model *m, uint64_t count);

enum model_presence model_present(const struct model_life *life, unsigned at);

/* ---- what may be shown --------------------------------------------------------------------------
 */
enum model_crash { MODEL_POWER, MODEL_KILL };

/* What is sure at `at`: cover is the latest cover known to hold (a time; what was answered before
 * is durable), with those that ended by then. */
struct model_view {
    unsigned at;
    enum model_crash crash;
    unsigned cover;
};
unsigned model_covered(const struct model *m, unsigned line, unsigned at);
/* Nothing can have been lost, and it is known to be: its epoch must not move. */
bool model_surely_clean(const struct model *m, unsigned volume, unsigned at);

bool model_line_may(const struct model *m, unsigned line, const struct model_view *view,
                    uint32_t sector, model_value shown);
/* since: as `begin` of the sealing, if more is known. */
bool model_sealed_may(const struct model *m, unsigned sealed, unsigned at, unsigned since,
                      uint32_t sector, model_value shown);
/* The latest submission among the requests whose writing is shown. */
unsigned model_latest_shown(const struct model *m, unsigned line, unsigned at,
                            const model_value *shown);

/* The volume's last turn that had begun by then. */
unsigned model_turn(const struct model *m, unsigned volume, unsigned at);

#endif

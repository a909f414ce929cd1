/* SPDX-License-Identifier: Apache-2.0 */
/* top - counts of the server become rates.  It knows no terminal. */
#include "server/cli/top.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/cli/client.h"

#define BUCKETS_MAX 64u

const char *const top_keys[] = { "iops",  "read",   "write", "latency", "dirty",
                                 "stall", "volume", "host",  NULL };

int top_key_parse(const char *text, enum top_key *ret, struct err *e)
{
    char all[100] = "";

    for (unsigned i = 0; top_keys[i]; i++) {
        if (strcmp(top_keys[i], text) == 0) {
            *ret = (enum top_key)i;
            return 0;
        }
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", top_keys[i]);
    }
    return err_set(e, -EINVAL, "--sort '%.40s': use one of %s", text, all);
}

/* ---- counts
 * -------------------------------------------------------------------------------------*/
/* What one answer says of one export: counts since it was opened. */
struct counts {
    uint64_t ops, read, write; /* all operations; bytes */
    uint64_t timed, total_us;  /* reads and writes */
    uint64_t latency[BUCKETS_MAX];
};

static uint64_t number(const json_t *object, const char *key)
{
    int64_t n = client_number(object, key);

    return n > 0 ? (uint64_t)n : 0;
}

static void add_kind(const json_t *export, const char *kind, struct counts *c)
{
    const json_t *k = json_object_get(export, kind), *latency = json_object_get(k, "latency");

    c->timed += number(k, "ops");
    c->total_us += number(k, "total_us");
    for (size_t i = 0; i < json_array_size(latency) && i < BUCKETS_MAX; i++) {
        int64_t n = json_integer_value(json_array_get(latency, i));
        c->latency[i] += n > 0 ? (uint64_t)n : 0;
    }
}

static void count(const json_t *export, struct counts *ret)
{
    *ret = (struct counts){ 0 };
    add_kind(export, "read", ret);
    add_kind(export, "write", ret);
    ret->ops = ret->timed + number(json_object_get(export, "flush"), "ops") +
               number(json_object_get(export, "trim"), "ops");
    ret->read = number(json_object_get(export, "read"), "bytes");
    ret->write = number(json_object_get(export, "write"), "bytes");
}

/* *now -= before; false if the counts have begun anew in between. */
static bool since(struct counts *now, const struct counts *before)
{
    if (now->ops < before->ops || now->read < before->read || now->write < before->write ||
        now->timed < before->timed || now->total_us < before->total_us)
        return false;
    now->ops -= before->ops;
    now->read -= before->read;
    now->write -= before->write;
    now->timed -= before->timed;
    now->total_us -= before->total_us;
    for (unsigned i = 0; i < BUCKETS_MAX; i++)
        now->latency[i] -=
            before->latency[i] < now->latency[i] ? before->latency[i] : now->latency[i];
    return true;
}

static void sum(struct counts *all, const struct counts *one)
{
    all->ops += one->ops;
    all->read += one->read;
    all->write += one->write;
    all->timed += one->timed;
    all->total_us += one->total_us;
    for (unsigned i = 0; i < BUCKETS_MAX; i++)
        all->latency[i] += one->latency[i];
}

/* The upper bound of the bucket in which 99 of 100 are reached; of the last, open one, its lower.
 */
static uint64_t p99(const struct counts *c, const json_t *bounds)
{
    size_t known = json_array_size(bounds);
    uint64_t all = 0, seen = 0;

    for (unsigned i = 0; i < BUCKETS_MAX; i++)
        all += c->latency[i];
    if (all == 0 || known == 0)
        return 0;
    for (unsigned i = 0; i < BUCKETS_MAX; i++) {
        seen += c->latency[i];
        if (seen * 100 < all * 99)
            continue;
        int64_t us = json_integer_value(json_array_get(bounds, i < known ? i : known - 1));
        return us > 0 ? (uint64_t)us : 0;
    }
    return 0;
}

/* ---- rows
 * ---------------------------------------------------------------------------------------*/
static uint64_t per_second(uint64_t n, uint64_t interval_ms)
{
    return interval_ms ? (uint64_t)((double)n * 1000 / (double)interval_ms + 0.5) : 0;
}

static void rate(struct top_row *row, const struct counts *c, uint64_t interval_ms,
                 const json_t *bounds)
{
    row->ops = per_second(c->ops, interval_ms);
    row->read = per_second(c->read, interval_ms);
    row->write = per_second(c->write, interval_ms);
    row->mean_us = c->timed ? c->total_us / c->timed : 0;
    row->p99_us = p99(c, bounds);
}

static void state(struct top_row *row, const json_t *export)
{
    row->name = client_text(export, "name");
    row->holder = client_text(export, "holder"); /* of a host its name, else "the command line" */
    row->holder += strncmp(row->holder, "the ", 4) == 0 ? 4 : 0;
    row->dirty_bytes = number(export, "dirty_bytes");
    row->busy_ms = number(export, "oldest_ms");
    row->connected = client_true(export, "connected");
    row->parked = client_true(export, "parked");
    row->failed = client_true(export, "failed");
}

static bool stalls(const struct top_row *r)
{
    return r->parked || r->failed || r->busy_ms >= TOP_STALL_MS;
}

static uint64_t weight(const struct top_row *r, enum top_key key)
{
    switch (key) {
    case TOP_IOPS:
        return r->ops;
    case TOP_READ:
        return r->read;
    case TOP_WRITE:
        return r->write;
    case TOP_LATENCY:
        return r->mean_us;
    case TOP_DIRTY:
        return r->dirty_bytes;
    case TOP_STALL:
        return stalls(r) ? r->busy_ms + 1 : 0;
    case TOP_VOLUME:
    case TOP_HOST:
        break;
    }
    return 0;
}

/* What stalls comes first, unless names decide; then the largest; then by name. */
static int compare(const void *pa, const void *pb, void *ctx)
{
    const struct top_row *a = pa, *b = pb;
    enum top_key key = *(const enum top_key *)ctx;

    if (key == TOP_HOST && strcmp(a->holder, b->holder) != 0)
        return strcmp(a->holder, b->holder);
    if (key != TOP_HOST && key != TOP_VOLUME) {
        uint64_t wa = weight(a, key), wb = weight(b, key);
        if (stalls(a) != stalls(b))
            return stalls(a) ? -1 : 1;
        if (wa != wb)
            return wa > wb ? -1 : 1;
    }
    return strverscmp(a->name, b->name);
}

static void auto_top(struct top *t)
{
    top_done(t);
}

void top_done(struct top *t)
{
    free(t->rows);
    *t = (struct top){ 0 };
}

/* The exports of an answer by name; NULL when out of memory. */
static json_t *by_name(const json_t *answer)
{
    AUTO(auto_json) json_t *index = json_object();
    size_t i;
    json_t *item;

    json_array_foreach(json_object_get(answer, "exports"), i, item)
    {
        if (json_object_set(index, client_text(item, "name"), item) < 0)
            return NULL;
    }
    return TAKE(index);
}

int top_new(const json_t *before, const json_t *now, enum top_key key, struct top *ret,
            struct err *e)
{
    AUTO(auto_top) struct top t = { 0 };
    AUTO(auto_json) json_t *index = by_name(before);
    const json_t *exports = json_object_get(now, "exports"), *store = json_object_get(now, "store"),
                 *bounds = json_object_get(now, "bounds_us");
    int64_t passed = client_number(now, "at_ms") - client_number(before, "at_ms");
    struct counts all = { 0 };

    t.rows = calloc(json_array_size(exports) + 1, sizeof *t.rows);
    if (!t.rows || !index)
        return err_set(e, -ENOMEM, "out of memory");
    t.interval_ms = before && passed > 0 ? (uint64_t)passed : 0;
    size_t i;
    json_t *item;
    json_array_foreach(exports, i, item)
    {
        struct top_row *row = &t.rows[t.count++];
        const json_t *old = json_object_get(index, client_text(item, "name"));
        struct counts c, o;
        state(row, item);
        count(item, &c);
        count(old, &o);
        if (t.interval_ms && since(&c, &o)) {
            rate(row, &c, t.interval_ms, bounds);
            sum(&all, &c);
        }
        t.total.dirty_bytes += row->dirty_bytes;
        t.total.connected |= row->connected;
    }
    rate(&t.total, &all, t.interval_ms, bounds);
    t.free_bytes = number(store, "free_bytes");
    t.size_bytes = number(store, "size_bytes");
    qsort_r(t.rows, t.count, sizeof *t.rows, compare, &key);
    *ret = t;
    t.rows = NULL;
    return 0;
}

/* ---- for programs
 * -------------------------------------------------------------------------------*/
static json_t *row_json(const struct top_row *r)
{
    return json_pack("{s:s, s:s?, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:b}", "volume",
                     r->name, "host", r->holder[0] ? r->holder : NULL, "iops", (json_int_t)r->ops,
                     "read_bytes_per_second", (json_int_t)r->read, "write_bytes_per_second",
                     (json_int_t)r->write, "latency_us", (json_int_t)r->mean_us, "latency_p99_us",
                     (json_int_t)r->p99_us, "dirty_bytes", (json_int_t)r->dirty_bytes, "oldest_ms",
                     (json_int_t)r->busy_ms, "connected", r->connected, "parked", r->parked,
                     "failed", r->failed);
}

json_t *top_json(const struct top *t)
{
    AUTO(auto_json) json_t *rows = json_array();

    for (size_t i = 0; i < t->count; i++)
        if (json_array_append_new(rows, row_json(&t->rows[i])) < 0)
            return NULL;
    return json_pack("{s:I, s:O}", "interval_ms", (json_int_t)t->interval_ms, "volumes", rows);
}

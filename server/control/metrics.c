/* SPDX-License-Identifier: Apache-2.0 */
/* metrics - what the server does, in numbers: GET /metrics for Prometheus (text format 0.0.4), GET
 * /v1/stats for `gridbox top`.  Both are for the administrator: names of volumes and hosts are in
 * them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/buf.h"
#include "server/base/clock.h"
#include "server/base/histogram.h"
#include "server/catalog/catalog.h"
#include "server/catalog/volumes.h"
#include "server/control/control.h"
#include "server/control/http.h"
#include "server/export/stats.h"
#include "server/store/stats.h"
#include "server/store/store.h"

#define TEXT_MAX  (256u << 20)
#define TEXT_TYPE "text/plain; version=0.0.4; charset=utf-8"

static const char *const ops[EXPORT_OPS] = {
    [EXPORT_READ] = "read",
    [EXPORT_WRITE] = "write",
    [EXPORT_FLUSH] = "flush",
    [EXPORT_TRIM] = "trim",
};

struct numbers {
    struct export_stats_row *exports;
    unsigned export_count, parked;
    struct store_stats store;
    struct store_space space;
    struct cat_counts counts;
};

static void numbers_done(struct numbers *n)
{
    free(n->exports);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct export_stats_row *)a)->name,
                  ((const struct export_stats_row *)b)->name);
}

static int collect(struct control *c, struct numbers *ret, struct err *e)
{
    int rc = cat_count(c->catalog, &ret->counts, e);

    if (rc == 0)
        rc = store_space(c->store, &ret->space, e);
    if (rc == 0)
        rc = export_stats_all(c->exports, &ret->exports, &ret->export_count, e);
    if (rc < 0)
        return rc;
    store_stats(c->store, &ret->store);
    qsort(ret->exports, ret->export_count, sizeof *ret->exports, by_name);
    for (unsigned i = 0; i < ret->export_count; i++)
        ret->parked += ret->exports[i].parked;
    return 0;
}

/* ---- Prometheus ------------------------------------------------------------------------------*/

static void add_head(struct buf *b, const char *name, const char *type, const char *help)
{
    buf_addf(b, "# HELP gridbox_%s %s\n# TYPE gridbox_%s %s\n", name, help, name, type);
}

static void add_one(struct buf *b, const char *name, const char *type, const char *help,
                    uint64_t value)
{
    add_head(b, name, type, help);
    buf_addf(b, "gridbox_%s %llu\n", name, (unsigned long long)value);
}

/* labels: `a="b",c="d"`, or "". */
static void add_histogram(struct buf *b, const char *name, const char *labels,
                          const struct histogram *h)
{
    const char *comma = *labels ? "," : "", *open = *labels ? "{" : "", *close = *labels ? "}" : "";
    unsigned long long below = 0;

    for (unsigned i = 0; i < HISTOGRAM_BOUNDS; i++) {
        below += h->count[i];
        buf_addf(b, "gridbox_%s_bucket{%s%sle=\"%.9g\"} %llu\n", name, labels, comma,
                 (double)histogram_bound_us(i) / 1e6, below);
    }
    below += h->count[HISTOGRAM_BOUNDS];
    buf_addf(b, "gridbox_%s_bucket{%s%sle=\"+Inf\"} %llu\n", name, labels, comma, below);
    buf_addf(b, "gridbox_%s_sum%s%s%s %.9g\n", name, open, labels, close, (double)h->sum_ns / 1e9);
    buf_addf(b, "gridbox_%s_count%s%s%s %llu\n", name, open, labels, close, below);
}

static void add_server(struct buf *b, const struct control *c, const struct numbers *n)
{
    add_head(b, "info", "gauge", "Always 1; the version of the server.");
    buf_addf(b, "gridbox_info{version=\"" GRIDBOX_VERSION "\"} 1\n");
    add_one(b, "uptime_seconds", "gauge", "Since the server was started.",
            (uint64_t)((clock_mono_ns() - c->started_ns) / NS_PER_S));
    add_one(b, "images", "gauge", "Image versions in the catalog.", n->counts.images);
    add_one(b, "volumes", "gauge", "Volumes in the catalog.", n->counts.volumes);
    add_one(b, "volumes_failed", "gauge", "Volumes that take no more writes.",
            n->counts.volumes_failed);
    add_one(b, "hosts", "gauge", "Hosts in the catalog.", n->counts.hosts);
    add_one(b, "domains", "gauge", "Domains in the catalog.", n->counts.domains);
}

static void add_store(struct buf *b, const struct numbers *n)
{
    const struct store_stats *s = &n->store;

    add_one(b, "store_size_bytes", "gauge", "Size of the store's file system.",
            n->space.size_bytes);
    add_one(b, "store_free_bytes", "gauge", "Free there.", n->space.free_bytes);
    add_one(b, "store_parked_volumes", "gauge", "Volumes whose writes wait for room.", n->parked);
    add_one(b, "store_journal_bytes_total", "counter", "Records appended to the map journal.",
            s->journal_bytes);
    add_one(b, "store_checkpoints_total", "counter",
            "Halves of the map journal that were put into map files.", s->checkpoints);
    add_head(b, "store_sync_seconds", "histogram", "fdatasync of a volume's data.");
    add_histogram(b, "store_sync_seconds", "", &s->sync);
    add_head(b, "store_append_seconds", "histogram",
             "A batch of the map journal, written and synced.");
    add_histogram(b, "store_append_seconds", "", &s->append);
}

static const char *labels_of(const struct export_stats_row *r, char ret[static 160])
{
    snprintf(ret, 160, "export=\"%s\",kind=\"%s\"", r->name, r->volume ? "volume" : "image");
    return ret;
}

static double get_connected(const struct export_stats_row *r)
{
    return r->connected;
}

static double get_failed(const struct export_stats_row *r)
{
    return r->failed;
}

static double get_parked(const struct export_stats_row *r)
{
    return r->parked;
}

static double get_in_flight(const struct export_stats_row *r)
{
    return r->in_flight;
}

static double get_oldest(const struct export_stats_row *r)
{
    return (double)r->oldest_ns / 1e9;
}

static double get_dirty(const struct export_stats_row *r)
{
    return (double)r->dirty_bytes;
}

static const struct gauge {
    const char *name, *help;
    double (*get)(const struct export_stats_row *r);
} gauges[] = {
    { "export_connected", "1: somebody is connected.", get_connected },
    { "export_failed", "1: takes no more writes.", get_failed },
    { "export_parked", "1: its writes wait for room.", get_parked },
    { "export_in_flight", "Requests that have come and are not answered.", get_in_flight },
    { "export_oldest_seconds", "How long the oldest of them has been there.", get_oldest },
    { "export_dirty_bytes", "Answered and not durable yet.", get_dirty },
};

static void add_gauges(struct buf *b, const struct numbers *n)
{
    char labels[160];

    for (size_t g = 0; g < sizeof gauges / sizeof *gauges; g++) {
        add_head(b, gauges[g].name, "gauge", gauges[g].help);
        for (unsigned i = 0; i < n->export_count; i++)
            buf_addf(b, "gridbox_%s{%s} %.12g\n", gauges[g].name, labels_of(&n->exports[i], labels),
                     gauges[g].get(&n->exports[i]));
    }
}

/* Counters of each export and operation; operations that never came are left out, but those of
 * reading. */
static void add_ops(struct buf *b, const struct numbers *n, const char *name,
                    void (*add)(struct buf *b, const char *name, const char *labels,
                                const struct export_op_stats *o))
{
    char labels[160], with_op[200];

    for (unsigned i = 0; i < n->export_count; i++)
        for (unsigned op = 0; op < EXPORT_OPS; op++) {
            const struct export_op_stats *o = &n->exports[i].op[op];
            if (op != EXPORT_READ && histogram_total(&o->latency) == 0)
                continue;
            snprintf(with_op, sizeof with_op, "%s,op=\"%s\"", labels_of(&n->exports[i], labels),
                     ops[op]);
            add(b, name, with_op, o);
        }
}

static void add_op_bytes(struct buf *b, const char *name, const char *labels,
                         const struct export_op_stats *o)
{
    buf_addf(b, "gridbox_%s{%s} %llu\n", name, labels, (unsigned long long)o->bytes);
}

static void add_op_errors(struct buf *b, const char *name, const char *labels,
                          const struct export_op_stats *o)
{
    buf_addf(b, "gridbox_%s{%s} %llu\n", name, labels, (unsigned long long)o->errors);
}

static void add_op_latency(struct buf *b, const char *name, const char *labels,
                           const struct export_op_stats *o)
{
    add_histogram(b, name, labels, &o->latency);
}

static void add_exports(struct buf *b, const struct numbers *n)
{
    char labels[160];

    add_head(b, "export_info", "gauge", "Always 1; whose attachment it is.");
    for (unsigned i = 0; i < n->export_count; i++)
        buf_addf(b, "gridbox_export_info{%s,holder=\"%s\"} 1\n", labels_of(&n->exports[i], labels),
                 n->exports[i].holder);
    add_gauges(b, n);
    add_head(b, "export_bytes_total", "counter", "Data of requests since the attachment was made.");
    add_ops(b, n, "export_bytes_total", add_op_bytes);
    add_head(b, "export_errors_total", "counter", "Requests that failed or were dropped.");
    add_ops(b, n, "export_errors_total", add_op_errors);
    add_head(b, "export_request_seconds", "histogram", "From a request's arrival to its answer.");
    add_ops(b, n, "export_request_seconds", add_op_latency);
}

static void on_metrics(struct http_request *r)
{
    struct control *c = http_context(r);
    AUTO(numbers_done) struct numbers n = { 0 };
    AUTO(buf_done) struct buf b = { 0 };
    struct err e = { 0 };

    if (collect(c, &n, &e) < 0) {
        http_answer_err(r, &e);
        return;
    }
    buf_init(&b, TEXT_MAX);
    add_server(&b, c, &n);
    add_store(&b, &n);
    add_exports(&b, &n);
    const char *text = buf_text(&b);
    if (text)
        http_answer_text(r, 200, TEXT_TYPE, text, b.length);
    else
        http_answer_problem(r, 500, "out of memory");
}

/* ---- JSON ------------------------------------------------------------------------------------*/

/* Zeros at its end are left out: most of 2,000 volumes do nothing at all. */
static json_t *latency_json(const struct histogram *h)
{
    json_t *list = json_array();
    unsigned count = HISTOGRAM_BUCKETS;

    while (count && h->count[count - 1] == 0)
        count--;
    for (unsigned i = 0; i < count; i++)
        json_array_append_new(list, json_integer((json_int_t)h->count[i]));
    return list;
}

static json_t *op_json(const struct export_op_stats *o)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:o}", "ops", (json_int_t)histogram_total(&o->latency),
                     "bytes", (json_int_t)o->bytes, "errors", (json_int_t)o->errors, "total_us",
                     (json_int_t)(o->latency.sum_ns / 1000), "latency", latency_json(&o->latency));
}

static json_t *work_json(const struct histogram *h)
{
    return json_pack("{s:I, s:I, s:o}", "ops", (json_int_t)histogram_total(h), "total_us",
                     (json_int_t)(h->sum_ns / 1000), "latency", latency_json(h));
}

static json_t *export_json(const struct export_stats_row *r)
{
    json_t *o = json_pack(
        "{s:s, s:s, s:s, s:b, s:b, s:b, s:I, s:I, s:I}", "name", r->name, "kind",
        r->volume ? "volume" : "image", "holder", r->holder, "connected", r->connected, "failed",
        r->failed, "parked", r->parked, "in_flight", (json_int_t)r->in_flight, "oldest_ms",
        (json_int_t)(r->oldest_ns / NS_PER_MS), "dirty_bytes", (json_int_t)r->dirty_bytes);

    for (unsigned op = 0; op < EXPORT_OPS; op++)
        json_object_set_new(o, ops[op], op_json(&r->op[op]));
    return o;
}

static void on_stats(struct http_request *r)
{
    struct control *c = http_context(r);
    AUTO(numbers_done) struct numbers n = { 0 };
    struct err e = { 0 };

    if (collect(c, &n, &e) < 0) {
        http_answer_err(r, &e);
        return;
    }
    json_t *bounds = json_array(), *exports = json_array();
    for (unsigned i = 0; i < HISTOGRAM_BOUNDS; i++)
        json_array_append_new(bounds, json_integer((json_int_t)histogram_bound_us(i)));
    for (unsigned i = 0; i < n.export_count; i++)
        json_array_append_new(exports, export_json(&n.exports[i]));
    http_answer_json(
        r, 200,
        json_pack("{s:I, s:o, s:o, s:{s:I, s:I, s:I, s:I, s:I, s:o, s:o}}", "at_ms",
                  (json_int_t)(clock_mono_ns() / NS_PER_MS), "bounds_us", bounds, "exports",
                  exports, "store", "size_bytes", (json_int_t)n.space.size_bytes, "free_bytes",
                  (json_int_t)n.space.free_bytes, "parked", (json_int_t)n.parked, "journal_bytes",
                  (json_int_t)n.store.journal_bytes, "checkpoints", (json_int_t)n.store.checkpoints,
                  "sync", work_json(&n.store.sync), "append", work_json(&n.store.append)));
}

int control_metrics_routes(struct http *h, struct err *e)
{
    static const struct http_route routes[] = {
        { "GET", "/metrics", HTTP_ADMIN, on_metrics, false },
        { "GET", "/v1/stats", HTTP_ADMIN, on_stats, false },
    };

    return http_routes(h, routes, sizeof routes / sizeof *routes, e);
}

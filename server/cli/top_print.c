/* SPDX-License-Identifier: Apache-2.0 */
/* top_print - the live table as text, cut to a screen.  It knows no terminal, only its size. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/cli/table.h"
#include "server/cli/text.h"
#include "server/cli/top.h"

#define LATENCY_SIZE 24
#define HEAD_LINES   3 /* the summary, an empty line, the headings */

static void auto_table(struct table **t)
{
    table_free(*t);
}

static const char *latency(uint64_t us, char ret[static LATENCY_SIZE])
{
    if (us == 0)
        ret[0] = '\0';
    else if (us < 1000)
        snprintf(ret, LATENCY_SIZE, "%u us", (unsigned)us);
    else if (us < 10000)
        snprintf(ret, LATENCY_SIZE, "%.1f ms", (double)us / 1e3);
    else if (us < 1000000)
        snprintf(ret, LATENCY_SIZE, "%u ms", (unsigned)(us / 1000));
    else
        snprintf(ret, LATENCY_SIZE, "%.1f s", (double)us / 1e6);
    return ret;
}

/* "parked 12 s", "3 s", "failed". */
static const char *stall(const struct top_row *r, char *ret, size_t size)
{
    char text[TEXT_SIZE] = "";

    if (r->busy_ms >= TOP_STALL_MS)
        text_duration((int64_t)(r->busy_ms / 1000), text);
    if (r->failed)
        snprintf(ret, size, "failed");
    else
        snprintf(ret, size, "%s%s%s", r->parked ? "parked" : "", r->parked && text[0] ? " " : "",
                 text);
    return ret;
}

static void amount(struct table *t, uint64_t bytes)
{
    char text[TEXT_SIZE];

    table_add(t, bytes ? text_bytes(bytes, text) : "");
}

static void add_row(struct table *t, const struct top_row *r)
{
    char text[64];

    table_add(t, r->name);
    table_add(t, r->holder);
    snprintf(text, sizeof text, "%llu", (unsigned long long)r->ops);
    table_add(t, r->ops ? text : "");
    amount(t, r->read);
    amount(t, r->write);
    table_add(t, latency(r->mean_us, text));
    table_add(t, latency(r->p99_us, text));
    amount(t, r->dirty_bytes);
    table_add(t, stall(r, text, sizeof text));
}

static void print_summary(const struct top *t, FILE *out)
{
    char read[TEXT_SIZE], write[TEXT_SIZE], dirty[TEXT_SIZE], rest[TEXT_SIZE], mean[LATENCY_SIZE];
    size_t in_use = 0;

    for (size_t i = 0; i < t->count; i++)
        in_use += t->rows[i].connected;
    latency(t->total.mean_us, mean);
    fprintf(out, "%zu attached, %zu in use; %llu IOPS, %s/s read, %s/s written", t->count, in_use,
            (unsigned long long)t->total.ops, text_bytes(t->total.read, read),
            text_bytes(t->total.write, write));
    if (mean[0])
        fprintf(out, ", %s", mean);
    fprintf(out, "; %s dirty, %s free\n\n", text_bytes(t->total.dirty_bytes, dirty),
            text_bytes(t->free_bytes, rest));
}

/* Bytes of the first `columns` characters of a line. */
static size_t cut(const char *line, size_t length, unsigned columns)
{
    size_t at = 0;

    for (unsigned n = 0; at < length; at++)
        if (((unsigned char)line[at] & 0xc0) != 0x80 && n++ == columns)
            break;
    return at;
}

static void print_cut(const char *text, unsigned columns, FILE *out)
{
    while (*text) {
        size_t length = strcspn(text, "\n");
        size_t keep = columns ? cut(text, length, columns) : length;
        fprintf(out, "%.*s\n", (int)keep, text);
        text += length + (text[length] == '\n');
    }
}

int top_print(const struct top *t, struct top_size size, FILE *out)
{
    AUTO(auto_table)
    struct table *table =
        table_new("VOLUME|HOST|>IOPS|>READ/S|>WRITE/S|>LATENCY|>P99|>DIRTY|STALL");
    AUTO(auto_free) char *text = NULL;
    size_t length = 0, shown = t->count;

    if (size.lines) { /* the last line tells of what did not fit */
        size_t room = size.lines > HEAD_LINES + 1 ? size.lines - HEAD_LINES - 1 : 1;
        shown = shown > room ? room : shown;
    }
    FILE *all = open_memstream(&text, &length);
    if (!all || !table) {
        if (all)
            fclose(all);
        return -ENOMEM;
    }
    for (size_t i = 0; i < shown; i++)
        add_row(table, &t->rows[i]);
    print_summary(t, all);
    int rc = table_print(table, all);
    if (shown < t->count)
        fprintf(all, "and %zu more\n", t->count - shown);
    if (fclose(all) != 0 || rc < 0 || !text)
        return -ENOMEM;
    print_cut(text, size.columns, out);
    return 0;
}

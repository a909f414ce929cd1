/* SPDX-License-Identifier: Apache-2.0 */
/* events - the table event, a ring. */
#include "server/catalog/events.h"

#include <stdio.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/catalog/catalog.h"
#include "server/catalog/db.h"

static int insert(struct catalog *c, const char *kind, const char *object, const char *text,
                  struct err *e)
{
    int rc = db_run(c, e, "INSERT INTO event (at, kind, object, text) VALUES (?, ?, ?, ?)", "ittt",
                    clock_wall_s(), kind, object, text);

    if (rc == 0)
        rc = db_run(c, e, "DELETE FROM event WHERE seq <= ?", "i", db_last_id(c) - CAT_EVENTS_KEPT);
    return rc;
}

int cat_event_add(struct catalog *c, const char *kind, const char *object, const char *text,
                  struct err *e)
{
    char clean[sizeof((struct cat_event *)0)->text];
    int rc = cat_begin(c, e);

    if (rc < 0)
        return rc;
    snprintf(clean, sizeof clean, "%s", text);
    for (char *p = clean; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    return cat_end(c, insert(c, kind, object, clean, e), e);
}

int cat_event_list(struct catalog *c, uint64_t after, unsigned limit,
                   int (*each)(void *ctx, const struct cat_event *event), void *ctx, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e,
                      "SELECT seq, at, kind, object, text FROM event WHERE seq > ?"
                      " ORDER BY seq LIMIT ?",
                      "ii", (int64_t)(after > INT64_MAX ? INT64_MAX : after), (int64_t)limit);

    while (rc == 0 && (rc = db_next(&q, e)) == 1) {
        struct cat_event event = { .seq = (uint64_t)db_int(&q, 0), .at = db_int(&q, 1) };
        db_text(&q, 2, event.kind, sizeof event.kind);
        db_text(&q, 3, event.object, sizeof event.object);
        db_text(&q, 4, event.text, sizeof event.text);
        rc = each(ctx, &event);
    }
    return rc;
}

int cat_event_last(struct catalog *c, uint64_t *ret_seq, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e, "SELECT coalesce(max(seq), 0) FROM event", "");

    if (rc == 0)
        rc = db_next(&q, e);
    if (rc < 0)
        return rc;
    *ret_seq = (uint64_t)db_int(&q, 0);
    return 0;
}

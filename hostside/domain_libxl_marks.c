/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: the agent's nodes in xenstore, and the watches there.
 * Must never know: libxl, how a domain is made. */
#include "hostside/domain_libxl_marks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xenstore.h>

#include "server/base/auto.h"

#define DISKS_TEXT (CONTRACT_DISKS_MAX * (DISK_ID_SIZE + 1))

struct marks {
    struct xs_handle *xs;
};

int marks_open(struct marks **ret, struct err *e)
{
    struct marks *m = calloc(1, sizeof *m);

    if (!m)
        return err_set(e, -ENOMEM, "out of memory");
    m->xs = xs_open(0);
    if (!m->xs || !xs_watch(m->xs, "@releaseDomain", "release") ||
        !xs_watch(m->xs, "@introduceDomain", "introduce")) {
        err_errno(e, "open xenstore");
        marks_close(m);
        return e && e->code ? e->code : -EIO;
    }
    *ret = m;
    return 0;
}

void marks_close(struct marks *m)
{
    if (m && m->xs)
        xs_close(m->xs);
    free(m);
}

/* Heap text of /local/domain/DOMID/NODE, or NULL. */
static char *read_node(struct marks *m, uint32_t domid, const char *node)
{
    char path[80];
    unsigned length;

    snprintf(path, sizeof path, "/local/domain/%" PRIu32 "/%s", domid, node);
    return xs_read(m->xs, XBT_NULL, path, &length);
}

static int write_node(struct marks *m, uint32_t domid, const char *node, const char *text,
                      struct err *e)
{
    char path[80];

    snprintf(path, sizeof path, "/local/domain/%" PRIu32 "/%s", domid, node);
    if (!xs_write(m->xs, XBT_NULL, path, text, (unsigned)strlen(text)))
        return err_errno(e, "xenstore: write %s", path);
    return 0;
}

static void read_disks(const char *text, struct domain_seen *d)
{
    char copy[DISKS_TEXT];
    char *rest = copy, *one;

    if (strlen(text) >= sizeof copy)
        return;
    memcpy(copy, text, strlen(text) + 1);
    while ((one = strsep(&rest, " ")) && d->disk_count < CONTRACT_DISKS_MAX)
        if (disk_id_parse(one, &d->disks[d->disk_count]) == 0)
            d->disk_count++;
}

void marks_read(struct marks *m, struct domain_seen *d)
{
    AUTO(auto_free) char *name = read_node(m, d->domid, "name");
    AUTO(auto_free) char *incarnation = read_node(m, d->domid, "gridbox/incarnation");
    AUTO(auto_free) char *disks = read_node(m, d->domid, "gridbox/disks");
    AUTO(auto_free) char *made = read_node(m, d->domid, "gridbox/made");
    AUTO(auto_free) char *stop = read_node(m, d->domid, "gridbox/stop");
    AUTO(auto_free) char *heard = read_node(m, d->domid, "gridbox/stop-heard");

    if (name && name_valid(name))
        memcpy(d->name, name, strlen(name) + 1);
    d->marked = incarnation != NULL;
    if (!d->marked)
        return;
    d->incarnation = strtoull(incarnation, NULL, 10);
    d->made = made != NULL;
    d->stop_asked_ns = stop ? strtoll(stop, NULL, 10) : 0;
    d->stop_heard = heard != NULL;
    if (disks)
        read_disks(disks, d);
}

int marks_set_made(struct marks *m, uint32_t domid, struct err *e)
{
    return write_node(m, domid, "gridbox/made", "1", e);
}

int marks_set_stop(struct marks *m, uint32_t domid, int64_t now_ns, struct err *e)
{
    AUTO(auto_free) char *present = read_node(m, domid, "gridbox/stop");
    char text[24];

    if (present)
        return 0;
    snprintf(text, sizeof text, "%" PRId64, now_ns);
    return write_node(m, domid, "gridbox/stop", text, e);
}

int marks_set_stop_heard(struct marks *m, uint32_t domid, struct err *e)
{
    return write_node(m, domid, "gridbox/stop-heard", "1", e);
}

char **marks_of_birth(const struct contract_domain *want)
{
    char incarnation[24], disks[DISKS_TEXT] = "";
    char **list = calloc(5, sizeof *list);

    if (!list)
        return NULL;
    snprintf(incarnation, sizeof incarnation, "%" PRIu64, want->incarnation);
    for (unsigned i = 0; i < want->disk_count; i++) {
        struct disk_id id = disk_id_of(&want->disks[i]);
        size_t used = strlen(disks);

        if (i > 0)
            disks[used++] = ' ';
        char text[DISK_ID_SIZE];

        disk_id_text(&id, text);
        snprintf(disks + used, sizeof disks - used, "%s", text);
    }
    list[0] = strdup("gridbox/incarnation");
    list[1] = strdup(incarnation);
    list[2] = strdup("gridbox/disks");
    list[3] = strdup(disks);
    for (int i = 0; i < 4; i++)
        if (!list[i]) {
            for (int k = 0; k < 4; k++)
                free(list[k]);
            free(list);
            return NULL;
        }
    return list;
}

int marks_fd(struct marks *m)
{
    return xs_fileno(m->xs);
}

void marks_drain(struct marks *m)
{
    char **event;

    while ((event = xs_check_watch(m->xs)))
        free(event);
}

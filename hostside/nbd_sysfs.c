/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: reading and writing the few sysfs files of NBD devices.
 * Must never know: netlink, handshakes. */
#include "hostside/nbd_sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nbd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/checked.h"
#include "server/base/file.h"

#define TEXT_MAX     4096u /* a sysfs file is at most a page */
#define SECTOR_BYTES 512u

/* One line without its end. */
static int read_line(const char *base, const char *device, const char *file, char **ret,
                     struct err *e)
{
    char path[512];
    int rc;

    snprintf(path, sizeof path, "%s/%s/%s", base, device, file);
    rc = file_read(path, TEXT_MAX, ret, NULL, e);
    if (rc == 0)
        (*ret)[strcspn(*ret, "\n")] = '\0';
    return rc;
}

static int read_number(const char *base, unsigned index, const char *file, uint64_t *ret,
                       struct err *e)
{
    AUTO(auto_free) char *text = NULL;
    char device[16], *end;
    int rc;

    snprintf(device, sizeof device, "nbd%u", index);
    rc = read_line(base, device, file, &text, e);
    if (rc < 0)
        return rc;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);

    if (errno || end == text || *end)
        return err_set(e, -EPROTO, "%s/%s: not a number", device, file);
    *ret = value;
    return 0;
}

int nbd_sysfs_size(const char *base, unsigned index, uint64_t *ret_bytes, struct err *e)
{
    uint64_t sectors;
    int rc = read_number(base, index, "size", &sectors, e);

    if (rc == 0 && !checked_mul(sectors, SECTOR_BYTES, ret_bytes))
        return err_set(e, -EPROTO, "nbd%u: impossible size", index);
    return rc;
}

/* "nbd7" and nothing else. */
static bool parse_device(const char *name, unsigned *ret_index)
{
    char *end;
    unsigned long index;

    if (strncmp(name, "nbd", 3) != 0 || name[3] < '0' || name[3] > '9')
        return false;
    index = strtoul(name + 3, &end, 10);
    if (*end || index > 0xfffff)
        return false;
    *ret_index = (unsigned)index;
    return true;
}

int nbd_sysfs_list(const char *base, struct nbd_sysfs_device *ret, unsigned max,
                   unsigned *ret_count, struct err *e)
{
    AUTO(auto_closedir) DIR *dir = opendir(base);
    struct dirent *entry;
    unsigned count = 0;

    if (!dir)
        return err_errno(e, "open %s", base);
    while ((entry = readdir(dir)) && count < max) {
        AUTO(auto_free) char *backend = NULL;
        struct nbd_sysfs_device *d = &ret[count];

        /* Without `backend` it is not connected; with another one it is not ours. */
        if (parse_device(entry->d_name, &d->index) &&
            read_line(base, entry->d_name, "backend", &backend, NULL) == 0 &&
            disk_id_parse(backend, &d->id) == 0 &&
            nbd_sysfs_size(base, d->index, &d->size_bytes, NULL) == 0)
            count++;
    }
    *ret_count = count;
    return 0;
}

uint64_t nbd_sysfs_visible(uint64_t flags)
{
    uint64_t visible = flags & (NBD_FLAG_READ_ONLY | NBD_FLAG_SEND_FLUSH);

    /* The kernel believes in FUA only together with flush. */
    if (flags & NBD_FLAG_SEND_FLUSH)
        visible |= flags & NBD_FLAG_SEND_FUA;
    return visible;
}

int nbd_sysfs_flags(const char *base, unsigned index, uint64_t *ret_flags, struct err *e)
{
    AUTO(auto_free) char *cache = NULL;
    uint64_t read_only, fua, flags = 0;
    char device[16];
    int rc;

    snprintf(device, sizeof device, "nbd%u", index);
    if ((rc = read_number(base, index, "ro", &read_only, e)) < 0 ||
        (rc = read_number(base, index, "queue/fua", &fua, e)) < 0 ||
        (rc = read_line(base, device, "queue/write_cache", &cache, e)) < 0)
        return rc;
    flags |= read_only ? NBD_FLAG_READ_ONLY : 0;
    flags |= strcmp(cache, "write back") == 0 ? NBD_FLAG_SEND_FLUSH : 0;
    flags |= fua ? NBD_FLAG_SEND_FUA : 0;
    *ret_flags = flags;
    return 0;
}

int nbd_sysfs_set_io_timeout(const char *base, unsigned index, unsigned ms, struct err *e)
{
    AUTO(auto_close) int fd = -1;
    char path[512], text[16];
    int rc;

    snprintf(path, sizeof path, "%s/nbd%u/queue/io_timeout", base, index);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, "open %s", path);
    snprintf(text, sizeof text, "%u\n", ms);
    rc = file_write_all(fd, text, strlen(text));
    return rc < 0 ? err_set(e, rc, "write %s: %s", path, strerror(-rc)) : 0;
}

bool nbd_sysfs_busy(const char *base, unsigned index)
{
    AUTO(auto_free) char *text = NULL;
    char device[16];
    unsigned reads, writes;

    snprintf(device, sizeof device, "nbd%u", index);
    return read_line(base, device, "inflight", &text, NULL) == 0 &&
           sscanf(text, "%u %u", &reads, &writes) == 2 && reads + writes > 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* live_place - where a live file lies, and what it must say to be believed. */
#include "server/store/live_place.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "server/base/auto.h"
#include "server/base/name.h"
#include "server/io/file_ops.h"
#include "server/store/layer.h"

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x00001000u
#endif
#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x00004000u /* Linux 6.8 */
#endif

#define INSTANCE_TEXT (2 * sizeof(struct disk_id) + 1) /* hex digits and a line's end */

/* ---- the directory ----------------------------------------------------------------------------*/

static int open_dir(const char *path, bool tmpfs_alone, int *ret_fd, struct err *e)
{
    struct statfs fs;
    struct stat st;

    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return err_errno(e, "make %s", path);
    AUTO(auto_close) int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
        return err_errno(e, "%s", path);
    if (st.st_uid != geteuid() || (st.st_mode & 022))
        return err_set(e, -EACCES, "%s: must belong to uid %u and be writable by nobody else", path,
                       geteuid());
    if (tmpfs_alone && fs.f_type != TMPFS_MAGIC)
        return err_set(e, -EXDEV, "%s: not on a tmpfs", path);
    *ret_fd = take_fd(&fd);
    return 0;
}

int live_place_open(const struct live_options *o, unsigned number, struct live_place *ret,
                    struct err *e)
{
    static const char *const shared[] = { "/run/gridbox", "/dev/shm/gridbox" };
    const unsigned count = sizeof shared / sizeof *shared;
    bool tmpfs_alone = !o->dir && number < count;

    if (number > count || (o->dir && number > 0))
        return 1;
    int length = o->dir        ? snprintf(ret->path, sizeof ret->path, "%s", o->dir)
                 : tmpfs_alone ? snprintf(ret->path, sizeof ret->path, "%s", shared[number])
                               : snprintf(ret->path, sizeof ret->path, "%s/live", o->state);
    if (length >= (int)sizeof ret->path)
        return err_set(e, -ENAMETOOLONG, "live maps: the path is too long");
    return open_dir(ret->path, tmpfs_alone, &ret->dir_fd, e);
}

/* ---- what the file must say -------------------------------------------------------------------*/

static void read_boot(struct disk_id *ret)
{
    char text[64] = "", hex[sizeof text];
    size_t digits = 0;

    *ret = (struct disk_id){ { 0 } };
    AUTO(auto_fclose) FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (!f || !fgets(text, sizeof text, f))
        return;
    for (const char *at = text; *at && *at != '\n'; at++)
        if (*at != '-')
            hex[digits++] = *at;
    hex[digits] = '\0';
    if (hex_decode(hex, ret->b, sizeof ret->b) < 0)
        *ret = (struct disk_id){ { 0 } };
}

static int read_mount(int state_fd, struct live_mount *ret, struct err *e)
{
    struct statx sx;
    struct stat st, ns;

    *ret = (struct live_mount){ 0 };
    if (fstat(state_fd, &st) < 0)
        return err_errno(e, "stat");
    ret->device = st.st_dev;
    ret->inode = st.st_ino;
    if (stat("/proc/self/ns/mnt", &ns) == 0)
        ret->name_space = ns.st_ino;
    if (statx(state_fd, "", AT_EMPTY_PATH, STATX_MNT_ID | STATX_MNT_ID_UNIQUE, &sx) == 0 &&
        (sx.stx_mask & (STATX_MNT_ID | STATX_MNT_ID_UNIQUE))) {
        ret->unique = (sx.stx_mask & STATX_MNT_ID_UNIQUE) != 0;
        memcpy(&ret->id, (const char *)&sx + 0x90, sizeof ret->id); /* stx_mnt_id */
    }
    return 0;
}

/* All zero: there is none, or it is no instance; then no live file is believed. */
static int read_instance(const struct live_options *o, struct disk_id *ret, struct err *e)
{
    const struct file_ops *ops = o->ops;
    char text[INSTANCE_TEXT] = "";

    *ret = (struct disk_id){ { 0 } };
    int fd = ops->open_at(ops->ctx, o->state_fd, "instance", O_RDONLY, 0);
    if (fd == -ENOENT)
        return 0;
    if (fd < 0)
        return err_set(e, fd, "%s/instance: %s", o->state, strerror(-fd));
    int rc = lay_read_all(ops, fd, text, sizeof text, 0);
    ops->close(ops->ctx, fd);
    if (rc < 0)
        return err_set(e, rc, "%s/instance: %s", o->state, strerror(-rc));
    text[sizeof text - 1] = '\0';
    if (hex_decode(text, ret->b, sizeof ret->b) < 0)
        *ret = (struct disk_id){ { 0 } };
    return 0;
}

int live_expect(const struct live_options *o, uint32_t slots, struct live_header *ret,
                struct err *e)
{
    int rc;

    *ret = (struct live_header){ .magic = LIVE_MAGIC, .version = LIVE_VERSION, .slots = slots };
    memcpy(ret->store.b, o->store.b, sizeof ret->store.b);
    read_boot(&ret->boot);
    rc = read_mount(o->state_fd, &ret->mount, e);
    return rc < 0 ? rc : read_instance(o, &ret->instance, e);
}

int live_new_instance(const struct live_options *o, struct disk_id *ret, struct err *e)
{
    const struct file_ops *ops = o->ops;
    char text[INSTANCE_TEXT + 1];
    struct disk_id fresh;
    int rc;

    random_bytes(fresh.b, sizeof fresh.b);
    hex_encode(fresh.b, sizeof fresh.b, text);
    text[INSTANCE_TEXT - 1] = '\n';
    int fd =
        ops->open_at(ops->ctx, o->state_fd, "instance.new", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    rc = fd < 0 ? fd : lay_write_all(ops, fd, text, INSTANCE_TEXT, 0);
    if (rc == 0)
        rc = ops->sync_data(ops->ctx, fd);
    if (fd >= 0)
        ops->close(ops->ctx, fd);
    if (rc == 0)
        rc = ops->rename_at(ops->ctx, o->state_fd, "instance.new", "instance");
    if (rc == 0)
        rc = ops->sync_dir(ops->ctx, o->state_fd);
    if (rc < 0)
        return err_set(e, rc, "%s/instance: %s", o->state, strerror(-rc));
    *ret = fresh;
    return 0;
}

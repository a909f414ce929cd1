/* SPDX-License-Identifier: Apache-2.0 */
/* store_fs - which file systems a store may lie on, and what they promise. */
#include <dirent.h>
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "server/base/auto.h"
#include "server/base/checked.h"
#include "server/store/store_state.h"

#define XFS_MAGIC 0x58465342ul
#define ZFS_MAGIC 0x2fc12fc1ul

int store_judge_fs(unsigned long fs_type, const char *super_options, const char **ret_durability,
                   struct err *e)
{
    static const unsigned long keeps_syncs[] = { EXT4_SUPER_MAGIC, XFS_MAGIC, BTRFS_SUPER_MAGIC,
                                                 F2FS_SUPER_MAGIC, ZFS_MAGIC };

    if (fs_type == NFS_SUPER_MAGIC)
        return err_set(e, -ENOTSUP,
                       "the store is on NFS, which can lose answered writes without telling: "
                       "choose a directory on a local file system (XFS or ext4)");
    *ret_durability = "process";
    for (size_t i = 0; i < sizeof keeps_syncs / sizeof *keeps_syncs; i++)
        if (fs_type == keeps_syncs[i] && !strstr(super_options, "data=writeback"))
            *ret_durability = "power";
    return 0;
}

/* The super block's options of the mount that has this device, from /proc/self/mountinfo. */
static void mount_options(dev_t dev, char *ret, size_t size)
{
    AUTO(auto_fclose) FILE *f = fopen("/proc/self/mountinfo", "re");
    char line[4096];

    ret[0] = '\0';
    while (f && fgets(line, sizeof line, f)) {
        unsigned major_no, minor_no;
        const char *tail = strstr(line, " - ");
        if (!tail || sscanf(line, "%*u %*u %u:%u", &major_no, &minor_no) != 2)
            continue;
        if (major_no == major(dev) && minor_no == minor(dev)) {
            snprintf(ret, size, "%s", tail);
            return;
        }
    }
}

/* Is the block device a thin volume of LVM?  Then a flush can fail for lack of space. */
static bool on_thin_pool(dev_t dev)
{
    char path[128];
    struct dirent *entry;
    bool found = false;

    snprintf(path, sizeof path, "/sys/dev/block/%u:%u/slaves", major(dev), minor(dev));
    AUTO(auto_closedir) DIR *dir = opendir(path);
    while (dir && !found && (entry = readdir(dir))) {
        char name[512], uuid[256] = "";
        snprintf(name, sizeof name, "%s/%s/dm/uuid", path, entry->d_name);
        AUTO(auto_fclose) FILE *f = fopen(name, "re");
        found = f && fgets(uuid, sizeof uuid, f) && strstr(uuid, "-tpool");
    }
    return found;
}

int store_check_fs(int state_fd, const char **ret_durability, struct err *e)
{
    struct statfs fs;
    struct stat st;
    char options[1024];
    int rc;

    if (fstatfs(state_fd, &fs) < 0 || fstat(state_fd, &st) < 0)
        return err_errno(e, "statfs");
    mount_options(st.st_dev, options, sizeof options);
    rc = store_judge_fs((unsigned long)fs.f_type, options, ret_durability, e);
    if (rc == 0 && on_thin_pool(st.st_dev))
        *ret_durability = "process";
    return rc;
}

int store_space(const struct store *s, struct store_space *ret, struct err *e)
{
    struct statvfs fs;

    if (fstatvfs(s->state_fd, &fs) < 0)
        return err_errno(e, "statvfs %s", s->path);
    uint64_t unit = fs.f_frsize ? fs.f_frsize : fs.f_bsize;
    *ret =
        (struct store_space){ .size_bytes = fs.f_blocks * unit, .free_bytes = fs.f_bavail * unit };
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: reading and replacing small files in one directory.
 * Must never know: what is in them. */
#include "hostside/sim_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "server/base/auto.h"
#include "server/base/file.h"

int sim_dir_open(const char *dir, const char *name, struct sim_dir *ret, struct err *e)
{
    int length = snprintf(ret->path, sizeof ret->path, "%s/%s", dir, name);

    if (length < 0 || (size_t)length >= sizeof ret->path - 80)
        return err_set(e, -ENAMETOOLONG, "%s: the path is too long", dir);
    if ((mkdir(dir, 0700) < 0 && errno != EEXIST) ||
        (mkdir(ret->path, 0700) < 0 && errno != EEXIST))
        return err_errno(e, "make %s", ret->path);
    return 0;
}

int sim_dir_write(const struct sim_dir *d, const char *file, const char *text, struct err *e)
{
    AUTO(auto_close) int fd = -1;
    char path[SIM_PATH_MAX + 80], fresh[SIM_PATH_MAX + 80];
    int rc;

    snprintf(path, sizeof path, "%s/%s", d->path, file);
    snprintf(fresh, sizeof fresh, "%s/.%s", d->path, file);
    fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(e, "open %s", fresh);
    rc = file_write_all(fd, text, strlen(text));
    if (rc < 0)
        return err_set(e, rc, "write %s: %s", fresh, strerror(-rc));
    return rename(fresh, path) < 0 ? err_errno(e, "rename %s", path) : 0;
}

int sim_dir_read(const struct sim_dir *d, const char *file, char ret_text[static SIM_TEXT_MAX],
                 struct err *e)
{
    AUTO(auto_free) char *text = NULL;
    char path[SIM_PATH_MAX + 80];
    size_t length;
    int rc;

    snprintf(path, sizeof path, "%s/%s", d->path, file);
    rc = file_read(path, SIM_TEXT_MAX - 1, &text, &length, e);
    if (rc == 0)
        memcpy(ret_text, text, length + 1);
    return rc;
}

void sim_dir_remove(const struct sim_dir *d, const char *file)
{
    char path[SIM_PATH_MAX + 80];

    snprintf(path, sizeof path, "%s/%s", d->path, file);
    unlink(path);
}

int sim_dir_each(const struct sim_dir *d,
                 int (*each)(void *arg, const char *file, const char *text), void *arg,
                 struct err *e)
{
    AUTO(auto_closedir) DIR *dir = opendir(d->path);
    char text[SIM_TEXT_MAX];
    struct dirent *entry;
    int rc;

    if (!dir)
        return err_errno(e, "open %s", d->path);
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.' || strlen(entry->d_name) > 64)
            continue;
        rc = sim_dir_read(d, entry->d_name, text, e);
        if (rc == -ENOENT)
            continue; /* went while we looked */
        if (rc < 0)
            return rc;
        rc = each(arg, entry->d_name, text);
        if (rc < 0)
            return rc;
    }
    return 0;
}

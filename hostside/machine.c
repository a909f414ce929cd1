/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: where Linux shows a PC's identity.
 * Must never know: Xen, the server. */
#include "hostside/machine.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/file.h"
#include "server/base/name.h"

#define PATH_SIZE     512u
#define TEXT_MAX      65536u
#define ARPHRD_ETHER_ "1" /* in sysfs as text */

/* Heap text of a small file, its first line only; NULL if it cannot be read. */
static char *first_line(const char *root, const char *path)
{
    char whole[PATH_SIZE];
    char *text = NULL;

    snprintf(whole, sizeof whole, "%s%s", root, path);
    if (file_read(whole, TEXT_MAX, &text, NULL, NULL) < 0)
        return NULL;
    text[strcspn(text, "\n")] = '\0';
    return text;
}

static void lower(char *text)
{
    for (; *text; text++)
        *text = (char)tolower((unsigned char)*text);
}

/* Hex digits where they should be, any one separator between: "52-54-…" or "52:54:…" → "52:54:…".
 */
static bool normal_mac(const char *text, char ret[CONTRACT_MAC_SIZE])
{
    for (int i = 0; i < 17; i++) {
        if (i % 3 == 2 ? text[i] != ':' && text[i] != '-' : !isxdigit((unsigned char)text[i]))
            return false;
        ret[i] = i % 3 == 2 ? ':' : text[i];
    }
    ret[17] = '\0';
    lower(ret);
    return true;
}

/* BOOTIF=01-52-54-00-12-34-56 as PXE loaders write it, or BOOTIF=52:54:00:12:34:56. */
static bool boot_mac(const char *root, char ret[CONTRACT_MAC_SIZE])
{
    AUTO(auto_free) char *line = first_line(root, "/proc/cmdline");
    const char *at = line ? strstr(line, "BOOTIF=") : NULL;

    if (!at || (at != line && at[-1] != ' '))
        return false;
    at += strlen("BOOTIF=");
    return (strncmp(at, "01-", 3) == 0 && normal_mac(at + 3, ret)) || normal_mac(at, ret);
}

/* A card of the PC: Ethernet, with a device behind it that is not one of Xen's own. */
static bool is_card(const char *root, const char *name)
{
    char path[PATH_SIZE], target[PATH_SIZE];
    ssize_t length;

    snprintf(path, sizeof path, "/sys/class/net/%s/type", name);
    AUTO(auto_free) char *type = first_line(root, path);

    if (!type || strcmp(type, ARPHRD_ETHER_) != 0)
        return false;
    snprintf(path, sizeof path, "%s/sys/class/net/%s/device/subsystem", root, name);
    length = readlink(path, target, sizeof target - 1);
    if (length < 0)
        return false;
    target[length] = '\0';
    return !strstr(target, "/xen");
}

static void add_card(const char *root, const char *name, const char *booted,
                     struct contract_register *r)
{
    char path[PATH_SIZE], mac[CONTRACT_MAC_SIZE];

    snprintf(path, sizeof path, "/sys/class/net/%s/address", name);
    AUTO(auto_free) char *text = first_line(root, path);

    if (!text || strlen(text) != 17 || !normal_mac(text, mac) || r->mac_count == CONTRACT_MACS_MAX)
        return;
    memcpy(r->macs[r->mac_count++], mac, sizeof mac);
    if (strcmp(mac, booted) == 0 && r->mac_count > 1) {
        memcpy(r->macs[r->mac_count - 1], r->macs[0], sizeof mac);
        memcpy(r->macs[0], mac, sizeof mac);
    }
}

static int read_cards(const char *root, struct contract_register *r, struct err *e)
{
    char booted[CONTRACT_MAC_SIZE] = "", path[PATH_SIZE];
    struct dirent **names;
    int count;

    boot_mac(root, booted);
    snprintf(path, sizeof path, "%s/sys/class/net", root);
    count = scandir(path, &names, NULL, alphasort); /* the same order at every boot */
    if (count < 0)
        return err_errno(e, "open %s", path);
    for (int i = 0; i < count; i++) {
        if (names[i]->d_name[0] != '.' && is_card(root, names[i]->d_name))
            add_card(root, names[i]->d_name, booted, r);
        free(names[i]);
    }
    free(names);
    return r->mac_count > 0 ? 0 : err_set(e, -ENODEV, "this PC has no network card");
}

static void read_cpu(const char *root, struct contract_register *r)
{
    AUTO(auto_free) char *text = NULL;
    char path[PATH_SIZE];
    const char *at;

    snprintf(path, sizeof path, "%s/proc/cpuinfo", root);
    if (file_read(path, 1u << 20, &text, NULL, NULL) < 0 || !(at = strstr(text, "model name")) ||
        !(at = strchr(at, ':')))
        return;
    at += 1 + strspn(at + 1, " \t");
    snprintf(r->cpu, sizeof r->cpu, "%.*s", (int)strcspn(at, "\n"), at);
}

static void read_uuid(const char *root, struct contract_register *r)
{
    AUTO(auto_free) char *text = first_line(root, "/sys/class/dmi/id/product_uuid");

    if (!text || strlen(text) != CONTRACT_UUID_SIZE - 1)
        return;
    lower(text);
    memcpy(r->uuid, text, CONTRACT_UUID_SIZE);
}

int machine_read(const char *root, struct contract_register *ret, struct err *e)
{
    struct contract_register r = { 0 };
    int rc = read_cards(root, &r, e);

    if (rc < 0)
        return rc;
    read_uuid(root, &r);
    read_cpu(root, &r);
    *ret = r;
    return 0;
}

static int make_up(const char *path, struct err *e)
{
    uint8_t random[3], uuid[16];
    char hex[33], text[80];

    random_bytes(random, sizeof random);
    random_bytes(uuid, sizeof uuid);
    hex_encode(uuid, sizeof uuid, hex);
    snprintf(text, sizeof text, "02:00:00:%02x:%02x:%02x %.8s-%.4s-%.4s-%.4s-%.12s\n", random[0],
             random[1], random[2], hex, hex + 8, hex + 12, hex + 16, hex + 20);
    return file_replace(path, text, strlen(text), 0600, e);
}

int machine_made_up(const char *dir, struct contract_register *ret, struct err *e)
{
    AUTO(auto_free) char *text = NULL;
    struct contract_register r = { .mac_count = 1, .cpu = "rehearsed CPU" };
    char path[PATH_SIZE];
    int rc;

    snprintf(path, sizeof path, "%s/machine", dir);
    if (access(path, F_OK) < 0 && (rc = make_up(path, e)) < 0)
        return rc;
    rc = file_read(path, 4096, &text, NULL, e);
    if (rc < 0)
        return rc;
    if (sscanf(text, "%17s %36s", r.macs[0], r.uuid) != 2)
        return err_set(e, -EINVAL, "%s: must be a MAC address and a UUID", path);
    *ret = r;
    return 0;
}

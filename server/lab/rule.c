/* SPDX-License-Identifier: Apache-2.0 */
/* rule - approval by MAC address, names by MAC address. */
#include "server/lab/rule.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MAC_LENGTH 17

/* Whole bytes "52", "52:54:00", … up to a whole address; trailing ':' is fine. */
static bool read_prefix(const char *text, size_t length, char *ret)
{
    if (length && (text[length - 1] == ':' || text[length - 1] == '-'))
        length--;
    if (length < 2 || length > MAC_LENGTH || length % 3 != 2)
        return false;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (i % 3 == 2 ? c != ':' && c != '-' : !isxdigit((unsigned char)c))
            return false;
        ret[i] = i % 3 == 2 ? ':' : (char)tolower((unsigned char)c);
    }
    ret[length] = '\0';
    return true;
}

bool lab_mac_read(const char *text, char ret_mac[static 18])
{
    return strnlen(text, MAC_LENGTH + 1) == MAC_LENGTH && read_prefix(text, MAC_LENGTH, ret_mac);
}

int lab_rule_read(const char *text, struct lab_rule *ret, struct err *e)
{
    struct lab_rule r = { 0 };

    if (!text || strcmp(text, "none") == 0) {
        *ret = r;
        return 0;
    }
    if (strcmp(text, "all") == 0) {
        r.all = true;
        *ret = r;
        return 0;
    }
    for (const char *at = text;;) {
        at += strspn(at, " ");
        size_t length = strcspn(at, ", ");
        if (r.count == LAB_PREFIXES_MAX)
            return err_set(e, -EINVAL, "the approval rule has more than %d MAC addresses",
                           LAB_PREFIXES_MAX);
        if (!read_prefix(at, length, r.prefix[r.count]))
            return err_set(e, -EINVAL,
                           "the approval rule '%.60s' is not valid: it must be none, all, or "
                           "beginnings of MAC addresses like 52:54:00,00:1b:21:3a",
                           text);
        r.count++;
        at += length;
        at += strspn(at, " ");
        if (!*at)
            break;
        if (*at++ != ',')
            return err_set(e, -EINVAL, "the approval rule '%.60s' wants commas between its parts",
                           text);
    }
    *ret = r;
    return 0;
}

bool lab_rule_approves(const struct lab_rule *r, const char *mac)
{
    for (size_t i = 0; i < r->count; i++)
        if (strncmp(mac, r->prefix[i], strlen(r->prefix[i])) == 0)
            return true;
    return r->all;
}

void lab_host_name(const char *mac, char ret_name[static NAME_SIZE])
{
    size_t at = (size_t)snprintf(ret_name, NAME_SIZE, "pc-");

    for (const char *p = mac; *p && at < NAME_SIZE - 1; p++)
        if (*p != ':')
            ret_name[at++] = *p;
    ret_name[at] = '\0';
}

/* SPDX-License-Identifier: Apache-2.0 */
/* interface - asks the kernel for an interface's addresses.  Changes nothing there. */
#include "server/boot/interface.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "server/base/auto.h"

static void auto_ifaddrs(struct ifaddrs **list)
{
    if (*list)
        freeifaddrs(*list);
}

/* "lo, eth0, lab0": each name once, as many as fit. */
static void list_names(char *ret, size_t size)
{
    struct if_nameindex *names = if_nameindex();
    size_t at = 0;

    ret[0] = '\0';
    for (struct if_nameindex *n = names; n && n->if_index && at < size; n++)
        at += (size_t)snprintf(ret + at, size - at, "%s%s", at ? ", " : "", n->if_name);
    if (names)
        if_freenameindex(names);
}

static void take_ipv4(const struct ifaddrs *a, struct boot_interface *i)
{
    struct sockaddr_in address, mask;

    if (i->address.s_addr || !a->ifa_netmask)
        return;
    memcpy(&address, a->ifa_addr, sizeof address);
    memcpy(&mask, a->ifa_netmask, sizeof mask);
    i->address = address.sin_addr;
    i->prefix = (unsigned)__builtin_popcount(mask.sin_addr.s_addr);
    inet_ntop(AF_INET, &i->address, i->text, sizeof i->text);
}

int boot_interface_read(const char *name, struct boot_interface *ret, struct err *e)
{
    struct boot_interface i = { .index = if_nametoindex(name) };
    AUTO(auto_ifaddrs) struct ifaddrs *list = NULL;

    if (!i.index || strlen(name) >= sizeof i.name) {
        char names[256];
        list_names(names, sizeof names);
        return err_set(e, -ENODEV, "there is no network interface '%.40s' here; there are: %s",
                       name, names);
    }
    snprintf(i.name, sizeof i.name, "%s", name);

    if (getifaddrs(&list) < 0)
        return err_errno(e, "read the addresses of interface %s", name);
    for (struct ifaddrs *a = list; a; a = a->ifa_next) {
        if (!a->ifa_addr || strcmp(a->ifa_name, name) != 0)
            continue;
        if (a->ifa_addr->sa_family == AF_INET)
            take_ipv4(a, &i);
    }
    if (!i.address.s_addr)
        return err_set(
            e, -EADDRNOTAVAIL,
            "interface %s has no IPv4 address: give it one, for example with `ip address "
            "add 10.77.0.1/24 dev %s`",
            name, name);
    *ret = i;
    return 0;
}

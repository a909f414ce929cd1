/* SPDX-License-Identifier: Apache-2.0 */
/* dnsmasq - writes its configuration.  dnsmasq(8) of version 2.90. */
#include "server/boot/dnsmasq.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/boot/interface.h"

#define SKIP_FIRST  10 /* routers, switches, printers: what has a fixed address lies there */
#define SMALL       32 /* a network with so few addresses needs them all */
#define LEASES_MOST 20000

/* ---- the range --------------------------------------------------------------------------------
 */

static int range_derive(const struct boot_interface *i, struct boot_range *ret, struct err *e)
{
    uint32_t own = ntohl(i->address.s_addr);
    uint32_t mask = i->prefix ? UINT32_MAX << (32 - i->prefix) : 0;
    uint32_t net = own & mask, broadcast = net | ~mask;

    if (i->prefix > 29)
        return err_set(e, -ERANGE,
                       "the network %s/%u of interface %s is too small to give out addresses: name "
                       "a range, or use --boot-proxy beside another DHCP server",
                       i->text, i->prefix, i->name);
    uint32_t first = net + (broadcast - net > SMALL ? SKIP_FIRST : 1), last = broadcast - 1;
    if (own >= first && own <= last) {
        if (last - own >= own - first)
            first = own + 1;
        else
            last = own - 1;
    }
    if (last - first >= LEASES_MOST)
        last = first + LEASES_MOST - 1;
    ret->first.s_addr = htonl(first);
    ret->last.s_addr = htonl(last);
    return 0;
}

/* An address that a PC of the interface's network can have: neither the network's own, nor the
 * broadcast address. */
static bool in_network(uint32_t address, const struct boot_interface *i)
{
    uint32_t mask = i->prefix ? UINT32_MAX << (32 - i->prefix) : 0;

    return ((address ^ ntohl(i->address.s_addr)) & mask) == 0 && (address & ~mask) != 0 &&
           (address & ~mask) != ~mask;
}

int boot_range_read(const char *text, const struct boot_interface *i, struct boot_range *ret,
                    struct err *e)
{
    char first_text[64];
    struct boot_range r;

    if (!text)
        return range_derive(i, ret, e);

    const char *dash = strchr(text, '-');
    snprintf(first_text, sizeof first_text, "%.*s", dash ? (int)(dash - text) : 0, text);
    if (!dash || inet_pton(AF_INET, first_text, &r.first) != 1 ||
        inet_pton(AF_INET, dash + 1, &r.last) != 1)
        return err_set(e, -EINVAL,
                       "the range '%.60s' is not valid: it must be FIRST-LAST, like "
                       "10.77.0.100-10.77.0.199",
                       text);
    uint32_t first = ntohl(r.first.s_addr), last = ntohl(r.last.s_addr);
    uint32_t own = ntohl(i->address.s_addr);
    if (first > last || !in_network(first, i) || !in_network(last, i) || last - first >= 1u << 20)
        return err_set(e, -EINVAL,
                       "the range '%.60s' is not valid: both addresses must lie in the network "
                       "%s/%u of interface %s, the lower one first",
                       text, i->text, i->prefix, i->name);
    if (own >= first && own <= last)
        return err_set(e, -EINVAL,
                       "the range '%.60s' is not valid: it holds the server's own "
                       "address %s",
                       text, i->text);
    *ret = r;
    return 0;
}

/* ---- the file ---------------------------------------------------------------------------------
 */

static const char *text_of(struct in_addr a, char ret[static INET_ADDRSTRLEN])
{
    return inet_ntop(AF_INET, &a, ret, INET_ADDRSTRLEN);
}

static int check_path(const char *path, struct err *e)
{
    for (const char *p = path; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == '"' || *p == '\\' || *p == 0x7f)
            return err_set(e, -EINVAL,
                           "the path '%.200s' holds a quote, a backslash or a control character: "
                           "dnsmasq cannot be told it; use another state directory",
                           path);
    return 0;
}

/* 7 and 9 are 64-bit UEFI (RFC 4578 and its errata); 6, 10 and 11 are UEFI of other CPUs, which no
 * loader of ours fits. */
static void add_tags(struct buf *out)
{
    buf_addf(out, "dhcp-match=set:ipxe,175\n"
                  "dhcp-match=set:efi,option:client-arch,7\n"
                  "dhcp-match=set:efi,option:client-arch,9\n"
                  "dhcp-match=set:alien,option:client-arch,6\n"
                  "dhcp-match=set:alien,option:client-arch,10\n"
                  "dhcp-match=set:alien,option:client-arch,11\n");
}

/* iPXE would wait 2 s for a proxy DHCP server as well: option 175.176 says that there is none.
 * (What else it waits for: boot/radv.h.) */
static void add_full(const struct boot_dnsmasq *d, struct buf *out)
{
    const struct boot_interface *i = d->interface;
    char first[INET_ADDRSTRLEN], last[INET_ADDRSTRLEN], mask[INET_ADDRSTRLEN];
    struct in_addr m = { .s_addr = htonl(i->prefix ? UINT32_MAX << (32 - i->prefix) : 0) };
    uint32_t count = ntohl(d->range.last.s_addr) - ntohl(d->range.first.s_addr) + 1;

    buf_addf(out,
             "dhcp-authoritative\n"
             "no-ping\n"
             "dhcp-range=%s,%s,%s,%u\n"
             "dhcp-lease-max=%u\n",
             text_of(d->range.first, first), text_of(d->range.last, last), text_of(m, mask),
             d->lease_seconds, count < LEASES_MOST ? count : LEASES_MOST);
    buf_addf(out, "dhcp-option=option:router%s%s\n", d->router ? "," : "",
             d->router ? d->router : "");
    buf_addf(out, "dhcp-option=option:dns-server%s%s\n", d->dns ? "," : "", d->dns ? d->dns : "");
    add_tags(out);
    buf_addf(out,
             "dhcp-boot=tag:!ipxe,tag:efi,ipxe.efi\n"
             "dhcp-boot=tag:!ipxe,tag:!efi,tag:!alien,undionly.kpxe\n"
             "dhcp-boot=tag:ipxe,http://%s:%u/boot/start.ipxe\n"
             "dhcp-option=encap:175,176,1b\n",
             i->text, (unsigned)d->http_port);
}

/* The other server's answer has the address, ours the file.  For PXE ROMs that is a boot menu of
 * one entry, for iPXE a file name. */
static void add_proxy(const struct boot_dnsmasq *d, struct buf *out)
{
    const struct boot_interface *i = d->interface;
    char net[INET_ADDRSTRLEN], mask[INET_ADDRSTRLEN];
    struct in_addr m = { .s_addr = htonl(i->prefix ? UINT32_MAX << (32 - i->prefix) : 0) };
    struct in_addr n = { .s_addr = i->address.s_addr & m.s_addr };

    buf_addf(out, "dhcp-range=%s,proxy,%s\n", text_of(n, net), text_of(m, mask));
    add_tags(out);
    buf_addf(out,
             "pxe-service=tag:!ipxe,x86PC,\"Gridbox\",undionly.kpxe\n"
             "pxe-service=tag:!ipxe,BC_EFI,\"Gridbox\",ipxe.efi\n"
             "pxe-service=tag:!ipxe,x86-64_EFI,\"Gridbox\",ipxe.efi\n"
             "dhcp-boot=tag:ipxe,http://%s:%u/boot/start.ipxe,,%s\n",
             i->text, (unsigned)d->http_port, i->text);
}

int boot_dnsmasq_conf(const struct boot_dnsmasq *d, struct buf *out, struct err *e)
{
    const char *paths[] = { d->pid_file, d->lease_file, d->tftp_dir };

    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        int rc = check_path(paths[i], e);
        if (rc < 0)
            return rc;
    }
    buf_addf(out,
             "# Written by gridboxd each time it starts: changes here are lost.\n"
             "port=0\n"
             "interface=%s\n"
             "except-interface=lo\n"
             "bind-interfaces\n"
             "no-hosts\n"
             "no-resolv\n"
             "user=%s\n"
             "log-facility=-\n"
             "pid-file=\"%s\"\n"
             "dhcp-leasefile=\"%s\"\n"
             "enable-tftp\n"
             "tftp-root=\"%s\"\n",
             d->interface->name, d->user, d->pid_file, d->lease_file, d->tftp_dir);
    if (d->proxy)
        add_proxy(d, out);
    else
        add_full(d, out);
    return out->failed ? err_set(e, -ENOMEM, "dnsmasq's configuration: out of memory") : 0;
}

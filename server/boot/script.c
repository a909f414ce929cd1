/* SPDX-License-Identifier: Apache-2.0 */
/* script - the texts that iPXE and xen.efi get.  Knows what they can do and nothing else. */
#include "server/boot/script.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Xen's own output goes to the first serial port and the screen; dom0's console is Xen's. */
#define XEN_OPTIONS "dom0_mem=%dM,max:%dM dom0_max_vcpus=1-2 com1=115200,8n1 console=com1,vga"

/* ---- what iPXE says ---------------------------------------------------------------------------
 */

static bool read_mac(const char *text, char *ret)
{
    if (!text || strnlen(text, BOOT_MAC_SIZE) != BOOT_MAC_SIZE - 1)
        return false;
    for (int i = 0; i < BOOT_MAC_SIZE - 1; i++) {
        bool between = i % 3 == 2;
        if (between ? text[i] != ':' && text[i] != '-' : !isxdigit((unsigned char)text[i]))
            return false;
        ret[i] = between ? ':' : (char)tolower((unsigned char)text[i]);
    }
    ret[BOOT_MAC_SIZE - 1] = '\0';
    /* Bit 0 of the first byte: a group, which nobody is. */
    return !strchr("13579bdf", ret[1]) && strcmp(ret, "00:00:00:00:00:00") != 0;
}

int boot_request_read(const char *mac, const char *chip, const char *platform,
                      struct boot_request *ret, struct err *e)
{
    struct boot_request r = { 0 };

    if (!read_mac(mac, r.mac))
        return err_set(e, -EINVAL, "mac must be the PC's MAC address, like 52:54:00:12:34:56");
    if (!platform || (strcmp(platform, "pcbios") != 0 && strcmp(platform, "efi") != 0))
        return err_set(e, -EINVAL, "platform must be pcbios or efi");
    r.efi = strcmp(platform, "efi") == 0;
    snprintf(r.chip, sizeof r.chip, "%s", chip ? chip : "");
    *ret = r;
    return 0;
}

enum boot_kind boot_decide(const struct boot_request *r, enum boot_loader loader)
{
    if (r->efi)
        return BOOT_EFI;
    /* Loaded by undionly.kpxe it asks again with chip=undionly: the chain ends there. */
    if (loader == BOOT_LOADER_UNDIONLY && strcmp(r->chip, "undionly") != 0)
        return BOOT_CHAIN;
    return BOOT_BIOS;
}

/* ---- texts ------------------------------------------------------------------------------------
 */

/* A boot that fails ends the chain as well as one that is refused: either way again from the top.
 */
void boot_script_start(const struct boot_server *s, struct buf *out)
{
    buf_addf(out,
             "#!ipxe\n"
             ":again\n"
             "chain --autofree http://%s:%u/boot/ipxe?mac=${netX/mac:hexhyp}&uuid=${uuid}"
             "&chip=${netX/chip:uristring}&platform=${platform} ||\n"
             "echo Gridbox: this PC was not booted; the reason is above. "
             "Trying again in 10 seconds.\n"
             "sleep 10\n"
             "goto again\n",
             s->address, (unsigned)s->http_port);
}

static void add_url(const struct boot_server *s, const char *path, struct buf *out)
{
    buf_addf(out, "http://%s:%u/boot/%s", s->address, (unsigned)s->http_port, path);
}

/* dom0's command line: its console is Xen's (serial line and, until the kernel takes it, screen),
 * what it says goes to the screen as well.  BOOTIF is the form of pxelinux: 01 for Ethernet, then
 * the MAC with dashes.
 */
static void add_dom0_options(const struct boot_server *s, const struct boot_request *r,
                             const char *token, struct buf *out)
{
    char bootif[BOOT_MAC_SIZE];

    snprintf(bootif, sizeof bootif, "%s", r->mac);
    for (char *p = bootif; *p; p++)
        if (*p == ':')
            *p = '-';
    buf_addf(out,
             "console=tty0 console=hvc0 nomodeset gridbox.server=http://%s:%u gridbox.token=%s "
             "BOOTIF=01-%s%s",
             s->address, (unsigned)s->http_port, token, bootif, s->debug ? " gridbox.debug" : "");
}

/* The images of an earlier try would be modules of this one: imgfree.  Xen drops the first word of
 * each command line, which is the URL that iPXE puts there. */
static void bios_script(const struct boot_server *s, const struct boot_request *r,
                        const char *token, struct buf *out)
{
    buf_addf(out, "kernel ");
    add_url(s, "xen", out);
    buf_addf(out, " " XEN_OPTIONS " || exit 1\nmodule ", BOOT_DOM0_MIB, BOOT_DOM0_MIB);
    add_url(s, "vmlinuz", out);
    buf_addf(out, " ");
    add_dom0_options(s, r, token, out);
    buf_addf(out, " || exit 1\nmodule ");
    add_url(s, "dom0.img", out);
    buf_addf(out, " || exit 1\n");
}

/* xen.efi takes a word behind its name as a section of xen.cfg: so there is none. */
static void efi_script(const struct boot_server *s, const struct boot_request *r, const char *token,
                       struct buf *out)
{
    buf_addf(out, "kernel ");
    add_url(s, "xen.efi", out);
    buf_addf(out, " || exit 1\ninitrd --name xen.cfg ");
    add_url(s, "xen.cfg", out);
    buf_addf(out, "?mac=%s&token=%s || exit 1\ninitrd --name vmlinuz ", r->mac, token);
    add_url(s, "vmlinuz", out);
    buf_addf(out, " || exit 1\ninitrd --name dom0.img ");
    add_url(s, "dom0.img", out);
    buf_addf(out, " || exit 1\n");
}

void boot_script(enum boot_kind kind, const struct boot_server *s, const struct boot_request *r,
                 const char *token, struct buf *out)
{
    buf_addf(out, "#!ipxe\nimgfree\n");
    if (kind == BOOT_CHAIN) {
        buf_addf(out,
                 "echo Gridbox: %s goes on with the ROM of its network card\n"
                 "chain tftp://%s/undionly.kpxe\n",
                 r->mac, s->address);
        return;
    }
    buf_addf(out, "echo Gridbox: %s boots Xen and dom0 from %s\n", r->mac, s->address);
    if (kind == BOOT_EFI)
        efi_script(s, r, token, out);
    else
        bios_script(s, r, token, out);
    buf_addf(out, "boot || exit 1\n");
}

void boot_xen_cfg(const struct boot_server *s, const struct boot_request *r, const char *token,
                  struct buf *out)
{
    buf_addf(out, "[global]\ndefault=dom0\n\n[dom0]\noptions=" XEN_OPTIONS "\nkernel=vmlinuz ",
             BOOT_DOM0_MIB, BOOT_DOM0_MIB);
    add_dom0_options(s, r, token, out);
    buf_addf(out, "\nramdisk=dom0.img\n");
}

void boot_script_refusal(const char *why, struct buf *out)
{
    buf_addf(out, "#!ipxe\necho Gridbox: ");
    /* iPXE would expand ${…} and cut at what its line editor means by a special character. */
    for (const char *p = why; *p; p++)
        buf_addf(out, "%c", isalnum((unsigned char)*p) || strchr(" .,:;'()-/%", *p) ? *p : '?');
    buf_addf(out, "\nexit 1\n");
}

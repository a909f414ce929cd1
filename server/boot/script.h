/* SPDX-License-Identifier: Apache-2.0 */
/* script - every decision about how a PC boots, as text for iPXE.  Pure: no catalog, no sockets.
 *
 * iPXE asks twice: first for boot_script_start(), the same for everybody, which then asks again
 * with what iPXE knows of the PC; boot_decide() and boot_script() answer that. */
#ifndef GRIDBOX_BOOT_SCRIPT_H
#define GRIDBOX_BOOT_SCRIPT_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/buf.h"
#include "server/base/err.h"

#define BOOT_MAC_SIZE   18 /* "52:54:00:12:34:56", lower case */
#define BOOT_TOKEN_SIZE 33 /* 32 hex digits */
#define BOOT_SCRIPT_MAX 4096

/* iPXE keeps the URLs and command lines of Xen and its modules in this many bytes, all together,
 * and cuts what is beyond without a word (its multiboot.c: MB_MAX_CMDLINE). */
#define BOOT_MULTIBOOT_MAX 512

#define BOOT_DOM0_MIB 512

/* What iPXE says of the PC. */
struct boot_request {
    char mac[BOOT_MAC_SIZE]; /* of the card that it boots from */
    char chip[32];           /* iPXE's driver; "undionly": through the card's own ROM */
    bool efi;
};

/* Checks what came in a query; any text may be NULL (absent).
 *   mac       six hex pairs with ':' or '-' between them, required, not a group address
 *   chip      optional; cut to its room
 *   platform  "pcbios" or "efi", required
 * -EINVAL names the part and says what would be right. */
int boot_request_read(const char *mac, const char *chip, const char *platform,
                      struct boot_request *ret, struct err *e);

enum boot_loader {
    BOOT_LOADER_AUTO,    /* whatever iPXE asks */
    BOOT_LOADER_UNDIONLY /* BIOS: through undionly.kpxe, that is, the card's own ROM drives the card
                          */
};

enum boot_kind {
    BOOT_CHAIN, /* load undionly.kpxe, which asks again */
    BOOT_BIOS,  /* Xen by multiboot */
    BOOT_EFI    /* xen.efi with xen.cfg */
};

enum boot_kind boot_decide(const struct boot_request *r, enum boot_loader loader);

/* Where the PC finds us. */
struct boot_server {
    const char *address; /* IPv4 */
    uint16_t http_port;
    bool debug; /* dom0 gives a root shell on its console */
};

/* The URLs in it are whole: iPXE of 2019 has no base for a relative one when DHCP named the script.
 */
void boot_script_start(const struct boot_server *s, struct buf *out);

/* token: one-time, for the kernel command line; not used by BOOT_CHAIN. */
void boot_script(enum boot_kind kind, const struct boot_server *s, const struct boot_request *r,
                 const char *token, struct buf *out);

/* What xen.efi reads: Xen's options and dom0's command line, as boot_script() gives them to a BIOS.
 */
void boot_xen_cfg(const struct boot_server *s, const struct boot_request *r, const char *token,
                  struct buf *out);

/* A refusal that iPXE can run: says why on the PC's screen. */
void boot_script_refusal(const char *why, struct buf *out);

#endif

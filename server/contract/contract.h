/* SPDX-License-Identifier: Apache-2.0 */
/* contract - what server and agent say to each other: registration, spec (down), report (up).
 *
 * JSON on the wire, plain structs here; both directions check every length and range, so neither
 * side trusts the other.  Unknown keys are ignored (a newer peer may send more); a missing or wrong
 * one is refused with its name.  No HTTP, no libxl, no storage in here. Ownership: *_parse fills a
 * caller's struct whose arrays are heap memory; *_done frees them (idempotent). */
#ifndef GRIDBOX_CONTRACT_CONTRACT_H
#define GRIDBOX_CONTRACT_CONTRACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"
#include "server/base/name.h"

#define CONTRACT_TEXT_MAX    (256u << 10) /* bytes of one JSON text */
#define CONTRACT_DOMAINS_MAX 64u          /* per host */
#define CONTRACT_DISKS_MAX   4u           /* per domain */
#define CONTRACT_MACS_MAX    16u
#define CONTRACT_MAC_SIZE    18u /* "52:54:00:12:34:56", lower case */
#define CONTRACT_UUID_SIZE   37u /* lower case, with dashes */

/* ---- a PC registers: POST /v1/agent/register ----------------------------------------------------
 */
struct contract_register {
    char macs[CONTRACT_MACS_MAX][CONTRACT_MAC_SIZE];
    unsigned mac_count;            /* >= 1; [0] is the card that it was booted from */
    char uuid[CONTRACT_UUID_SIZE]; /* SMBIOS; "" if the PC has none */
    char cpu[128];                 /* model name */
    unsigned cpus;                 /* logical CPUs of the PC, as Xen sees them */
    uint64_t memory_mib;           /* of the PC, as Xen sees it */
    bool hvm;                      /* PVH guests are possible (HAP) */
    char agent_version[32];
};

struct contract_registered {
    char session[65]; /* hex; the agent's bearer token from now on */
    char host[NAME_SIZE];
    bool approved; /* false: poll the spec; it comes when somebody approves */
};

/* ---- desired state: GET /v1/agent/spec?revision=N&wait=SECONDS
 * ----------------------------------- */
struct contract_disk {
    char volume[NAME_SIZE];
    char vdev[8];     /* "xvda" */
    char address[64]; /* numeric, of the NBD server */
    uint16_t port;
    char export_name[128]; /* "VOLUME.TOKEN": a secret */
    uint64_t size_bytes;
    uint64_t generation, epoch;
};

struct contract_domain {
    char name[NAME_SIZE];
    char uuid[CONTRACT_UUID_SIZE];
    uint32_t memory_mib; /* 32..1048576 */
    uint32_t vcpus;      /* 1..128 */
    char mac[CONTRACT_MAC_SIZE];
    bool running;          /* desired: running, or cleanly stopped */
    bool paused;           /* of a running one: its disk waits for room, and it with it */
    uint32_t stop_seconds; /* time for a clean shutdown before it is destroyed */
    /* A different value (epoch or generation moved, definition changed) means: what runs now must
     * be destroyed, its disks detached, and the domain started anew. */
    uint64_t incarnation; /* 1..INT64_MAX */
    struct contract_disk disks[CONTRACT_DISKS_MAX];
    unsigned disk_count;
};

struct contract_spec {
    uint64_t revision; /* grows with every change for this host */
    bool approved;
    struct contract_domain *domains;
    unsigned domain_count;
};

/* ---- actual state: POST /v1/agent/report
 * --------------------------------------------------------- */
enum contract_state {
    CONTRACT_STOPPED,   /* no domain, no device */
    CONTRACT_ATTACHING, /* its volumes are being attached */
    CONTRACT_CREATING,  /* libxl is building it */
    CONTRACT_RUNNING,
    CONTRACT_STOPPING, /* clean shutdown under way */
    CONTRACT_FAILED,   /* detail says why and what is tried next */
    CONTRACT_STATE_COUNT
};

struct contract_domain_report {
    char name[NAME_SIZE];
    enum contract_state state;
    uint64_t incarnation; /* of what runs; 0 = nothing */
    uint32_t domid;       /* 0 = none */
    char detail[200];
};

struct contract_report {
    uint64_t revision; /* of the spec that this answers */
    struct contract_domain_report *domains;
    unsigned domain_count;
};

const char *contract_state_name(enum contract_state s); /* "stopped", "attaching", … */

/* Text to struct.  -EPROTO with the key that is wrong; -EFBIG above the limits; -ENOMEM. */
int contract_register_parse(const char *json, size_t length, struct contract_register *ret,
                            struct err *e);
int contract_registered_parse(const char *json, size_t length, struct contract_registered *ret,
                              struct err *e);
int contract_spec_parse(const char *json, size_t length, struct contract_spec *ret, struct err *e);
int contract_report_parse(const char *json, size_t length, struct contract_report *ret,
                          struct err *e);

/* Struct to text: heap memory, the caller frees; NULL when out of memory, or when a 64-bit number
 * is above INT64_MAX (no JSON integer).  Bytes of a text that are no UTF-8 become '?'. */
char *contract_register_text(const struct contract_register *r);
char *contract_registered_text(const struct contract_registered *r);
char *contract_spec_text(const struct contract_spec *s);
char *contract_report_text(const struct contract_report *r);

void contract_spec_done(struct contract_spec *s);
void contract_report_done(struct contract_report *r);

#endif

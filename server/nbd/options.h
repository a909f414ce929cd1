/* SPDX-License-Identifier: Apache-2.0 */
/* options - option haggling: what one option asks for, and the bytes that answer it.  No I/O.
 * proto.md "Fixed newstyle negotiation", "Option types", "Option reply types". */
#ifndef GRIDBOX_NBD_OPTIONS_H
#define GRIDBOX_NBD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/nbd/requests.h"

#define NBDO_NAME_SIZE     128  /* longer names are answered like unknown ones */
#define NBDO_OPTION_MAX    8192 /* bytes of data that an option may have: a name of 4,096 and more */
#define NBDO_PREFERRED     4096u
#define NBDO_REFUSAL_BYTES 400

/* Bytes for the peer, in order. */
struct nbdo_output {
    size_t length;
    uint8_t bytes[640]; /* the longest answer to one option fits */
};

/* Is TLS there? */
enum nbdo_tls { NBDO_TLS_OFF, NBDO_TLS_ALLOWED, NBDO_TLS_REQUIRED };

struct nbdo {
    enum nbdo_tls tls;
    bool secure;                         /* hands were shaken */
    bool no_zeroes;                      /* agreed by the first flags */
    bool structured;                     /* agreed by STRUCTURED_REPLY */
    bool context;                        /* base:allocation selected … */
    char context_export[NBDO_NAME_SIZE]; /* … for this export */

    /* The option that is being answered. */
    uint32_t option;
    bool name_wanted;          /* INFO, GO: INFO_NAME was asked for */
    char name[NBDO_NAME_SIZE]; /* INFO, GO, EXPORT_NAME; "" if it cannot be one of ours */
};

enum nbdo_next {
    NBDO_ANSWERED, /* the answer is in *out; the next option may come */
    NBDO_LOOKUP,   /* look o->name up, then call nbdo_found() or nbdo_refuse() */
    NBDO_OPEN,     /* the same, and open it: on success transmission begins */
    NBDO_ABORT,    /* the answer is in *out; then close */
    NBDO_TLS,      /* the answer is in *out; then TLS begins, then nbdo_secure() */
    NBDO_HANG_UP,  /* there is no answer to this: close */
};

/* Handles one whole option.  data: `length` <= NBDO_OPTION_MAX bytes, not kept.
 * Appends to *out, which must be empty. */
enum nbdo_next nbdo_handle(struct nbdo *o, uint32_t option, const uint8_t *data, size_t length,
                           struct nbdo_output *out);

/* TLS is on from now on: what was agreed before it is forgotten, but for the client's flags. */
void nbdo_secure(struct nbdo *o);

/* The answer to an option whose data is too long to look at. */
void nbdo_too_big(uint32_t option, struct nbdo_output *out);

/* The export is there: *terms gets what was agreed, *out the answer. */
void nbdo_found(struct nbdo *o, uint64_t size_bytes, bool writable, struct nbds_terms *terms,
                struct nbdo_output *out);

/* It is not, and why, in words (cut to NBDO_REFUSAL_BYTES).  error: -ENOENT and -ESTALE are final
 * (ERR_UNKNOWN, ERR_POLICY); any other -errno says "try again later" (ERR_SHUTDOWN).
 * Not after EXPORT_NAME, to which there is no such answer. */
void nbdo_refuse(struct nbdo *o, int error, const char *why, struct nbdo_output *out);

/* The very first bytes. */
void nbdo_greet(struct nbdo_output *out);

#endif

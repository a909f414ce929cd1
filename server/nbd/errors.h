/* SPDX-License-Identifier: Apache-2.0 */
/* errors - the one table that turns a failure of the block device into an NBD error. */
#ifndef GRIDBOX_NBD_ERRORS_H
#define GRIDBOX_NBD_ERRORS_H

#include <stdint.h>

/* error: 0 or -errno, as blk_req.error.  Returns 0 or one of proto.md's "Error values"; what is not
 * in the table is NBDW_EIO. */
uint32_t nbd_error(int error);

/* A few words for the message of a structured error; never NULL. */
const char *nbd_error_text(uint32_t nbd_error);

#endif

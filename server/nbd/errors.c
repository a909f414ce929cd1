/* SPDX-License-Identifier: Apache-2.0 */
/* errors - -errno to NBD error.  proto.md "Error values". */
#include "server/nbd/errors.h"

#include <errno.h>
#include <stddef.h>

#include "server/nbd/wire.h"

static const struct {
    int error;
    uint32_t nbd;
} codes[] = {
    { -EPERM, NBDW_EPERM },         { -EROFS, NBDW_EPERM },     { -EACCES, NBDW_EPERM },
    { -EINVAL, NBDW_EINVAL },       { -ENOSPC, NBDW_ENOSPC },   { -EDQUOT, NBDW_ENOSPC },
    { -EFBIG, NBDW_ENOSPC },        { -EMSGSIZE, NBDW_EINVAL }, { -EOVERFLOW, NBDW_EOVERFLOW },
    { -ESHUTDOWN, NBDW_ESHUTDOWN },
};

static const struct {
    uint32_t nbd;
    const char *text;
} texts[] = {
    { NBDW_EPERM, "the export is read-only" },
    { NBDW_EIO, "the server could not read or write its disk" },
    { NBDW_EINVAL, "invalid request" },
    { NBDW_ENOSPC, "no space left" },
    { NBDW_EOVERFLOW, "the request is too large" },
    { NBDW_ESHUTDOWN, "the export is being closed" },
};

uint32_t nbd_error(int error)
{
    if (error >= 0)
        return 0;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (codes[i].error == error)
            return codes[i].nbd;
    return NBDW_EIO;
}

const char *nbd_error_text(uint32_t nbd_error)
{
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (texts[i].nbd == nbd_error)
            return texts[i].text;
    return "error";
}

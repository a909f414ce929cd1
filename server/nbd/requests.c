/* SPDX-License-Identifier: Apache-2.0 */
/* requests - the rules of each command in one table, checked in one order.
 * proto.md "Command flags", "Request types", "Error values". */
#include "server/nbd/requests.h"

#include <stddef.h>

#include "server/base/checked.h"
#include "server/nbd/errors.h"

static const struct rule {
    uint16_t flags;       /* that may be set, besides FUA */
    uint32_t outside;     /* the error for a range outside the export */
    enum blk_op op;       /* what it is to the device */
    bool known, has_data; /* has_data: its length is bounded by memory */
} rules[] = {
    [NBDW_CMD_READ] = { .known = true,
                        .flags = NBDW_CMD_FLAG_DF,
                        .outside = NBDW_EINVAL,
                        .op = BLK_READ,
                        .has_data = true },
    [NBDW_CMD_WRITE] = { .known = true, .outside = NBDW_ENOSPC, .op = BLK_WRITE, .has_data = true },
    [NBDW_CMD_FLUSH] = { .known = true, .op = BLK_FLUSH },
    [NBDW_CMD_TRIM] = { .known = true, .outside = NBDW_EINVAL, .op = BLK_TRIM },
    [NBDW_CMD_CACHE] = { .known = true, .outside = NBDW_EINVAL, .op = BLK_CACHE },
    [NBDW_CMD_WRITE_ZEROES] = { .known = true,
                                .flags = NBDW_CMD_FLAG_NO_HOLE,
                                .outside = NBDW_ENOSPC,
                                .op = BLK_ZERO },
    [NBDW_CMD_BLOCK_STATUS] = { .known = true,
                                .flags = NBDW_CMD_FLAG_REQ_ONE,
                                .outside = NBDW_EINVAL,
                                .op = BLK_STATUS },
};

static void refuse(struct nbds_request *r, uint32_t error, const char *why)
{
    r->run = false;
    r->error = error;
    r->why = why;
}

static uint16_t allowed_flags(const struct rule *rule, const struct nbds_terms *t)
{
    uint16_t allowed = rule->flags;

    if (t->flags & NBDW_TX_SEND_FUA)
        allowed |= NBDW_CMD_FLAG_FUA; /* on any command */
    if (!(t->flags & NBDW_TX_SEND_DF))
        allowed &= (uint16_t)~NBDW_CMD_FLAG_DF;
    return allowed;
}

static uint32_t op_flags(uint16_t wire_flags, enum blk_op op)
{
    uint32_t flags = 0;

    if ((wire_flags & NBDW_CMD_FLAG_FUA) && blk_op_mutates(op))
        flags |= BLK_FUA;
    if (wire_flags & NBDW_CMD_FLAG_NO_HOLE)
        flags |= BLK_NO_HOLE;
    if (wire_flags & NBDW_CMD_FLAG_REQ_ONE)
        flags |= BLK_ONE;
    return flags;
}

static void check_range(struct nbds_request *r, const struct rule *rule, const struct nbds_terms *t)
{
    if (r->op == BLK_FLUSH) {
        if (r->offset != 0 || r->length != 0)
            refuse(r, NBDW_EINVAL, "a flush has neither offset nor length");
    } else if (!range_inside(r->offset, r->length, t->size_bytes)) {
        refuse(r, rule->outside, "beyond the end of the export");
    } else if ((r->offset | r->length) % BLK_SECTOR != 0) {
        refuse(r, NBDW_EINVAL, "not a multiple of the block size, 512 bytes");
    } else if (rule->has_data && r->length > BLK_MAX_IO) {
        refuse(r, t->structured && r->op == BLK_READ ? NBDW_EOVERFLOW : NBDW_EINVAL,
               "more than 32 MiB in one request");
    } else if (r->op == BLK_STATUS && !t->status) {
        refuse(r, NBDW_EINVAL, "no metadata context was selected");
    } else if (r->op == BLK_STATUS && r->length == 0) {
        refuse(r, NBDW_EINVAL, "an empty range has no status");
    } else if (r->length == 0) {
        r->run = false; /* nothing to do, and done */
    }
}

void nbdr_check(const struct nbdw_request *wire, const struct nbds_terms *terms,
                struct nbds_request *ret)
{
    uint16_t flags = get_be16(wire->flags);
    uint16_t type = get_be16(wire->type);

    *ret = (struct nbds_request){ .cookie = get_be64(wire->cookie),
                                  .offset = get_be64(wire->offset),
                                  .length = get_be32(wire->length),
                                  .type = type,
                                  .run = true };
    if (type >= sizeof rules / sizeof rules[0] || !rules[type].known) {
        refuse(ret, NBDW_EINVAL, "unknown command");
        return;
    }
    const struct rule *rule = &rules[type];
    ret->op = rule->op;
    if (flags & ~allowed_flags(rule, terms))
        refuse(ret, NBDW_EINVAL, "a flag that this command or export does not take");
    else if (blk_op_mutates(rule->op) && (terms->flags & NBDW_TX_READ_ONLY))
        refuse(ret, NBDW_EPERM, nbd_error_text(NBDW_EPERM));
    else
        check_range(ret, rule, terms);
    if (ret->run)
        ret->op_flags = op_flags(flags, rule->op);
}

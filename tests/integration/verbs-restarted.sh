#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/verbs-restarted.sh - what the verbs did is there after the server stopped, or was killed
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
truncate -s 16M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"

# One round: all verbs, the server ends, all is looked at.
round() # NAME HOW
{
    n=$1
    uri=$(new_volume "$n" zero)
    gridbox volume create "$n-reset" --image zero >/dev/null
    nbd_write "$(gridbox volume attach "$n-reset")" 0 65536 0x55
    nbd_write "$uri" 0 65536 0x11
    gridbox volume snapshot "$n-s" "$n" >/dev/null
    nbd_write "$uri" 0 4096 0x22
    gridbox volume clone "$n" "$n-now" >/dev/null
    gridbox volume clone "$n@$n-s" "$n-then" >/dev/null
    promoted=$(gridbox volume promote "$n" "$n-image")
    # Answered, never flushed.
    nbdsh -u "$uri" -c 'h.pwrite(b"\x33" * 4096, 8192)' -c 'import os; os._exit(0)'
    gridbox volume reset "$n-reset" >/dev/null
    gridbox volume rollback "$n-s" "$n-none" >/dev/null 2>&1
    gridbox volume quota "$n" 8M >/dev/null
    epoch=$(volume_is "$n" .epoch)
    "$2"
    start_server

    expect_byte "$uri" 0 4096 0x22 "$n: the same URI reads what was written before the snapshot's clone"
    expect_byte "$uri" 4096 4096 0x11 "$n: and before the snapshot"
    expect_byte "$uri" 8192 4096 0x33 "$n: and after the last seal, unflushed"
    is "$(volume_is "$n" '"\(.epoch) \(.quota_bytes) \(.snapshots)"')" "$epoch 8388608 1" \
        "$n: its epoch, quota and snapshot are what they were"
    expect_byte "$(gridbox volume attach "$n-now")" 0 4096 0x22 "$n: the clone of the volume"
    expect_byte "$(gridbox volume attach "$n-then")" 0 65536 0x11 "$n: the clone of the snapshot"
    expect_byte "$(gridbox image attach "$promoted")" 0 4096 0x22 "$n: the promoted image"
    expect_byte "$(gridbox volume attach "$n-reset")" 0 65536 0x00 "$n: the volume that was reset"
    nbd_write "$uri" 0 4096 0x44
    ok $? "$n: it is written again"
    run gridbox volume rollback "$n-s" "$n"
    status_is 0 "$n: and rolled back"
    expect_byte "$(gridbox volume attach "$n")" 0 65536 0x11 "$n: to the snapshot"
    run gridbox store check
    status_is 0 "$n: the store is sound"
}

round stopped stop_server
round killed kill_server
like "$(gridbox store status)" '^start +.*killed' "the store says how the server before ended"
run gridbox snapshot remove stopped-s killed-s
status_is 0 "snapshots of both go"
done_testing

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/volume-failed.sh - a volume that failed serves again with a higher epoch, however
# soon it is detached and attached again
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs prlimit

# Writes of the server beyond its file size limit fail, and it lives.
server_wrapper="env --ignore-signal=XFSZ"
start_server
truncate -s 16M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
epoch_of() { gridbox volume list --json | jq ".volumes[] | select(.name == \"$1\") | .epoch"; }

break_it() # URI
{
    nbd_write "$1" 0 65536 0x42 || return 1
    prlimit --pid "$server_pid" --fsize=4194304:
    nbd_write "$1" 8388608 4096 0x43
    prlimit --pid "$server_pid" --fsize=unlimited:
    grep -q 'error\|failed' "$tap_tmp/.io"
}

uri=$(new_volume detached zero)
break_it "$uri"
ok $? "a write fails, and with it the volume"
gridbox volume detach detached
uri=$(gridbox volume attach detached)
is "$(epoch_of detached)" 2 "detached and attached at once, its epoch is one more"
expect_byte "$uri" 0 65536 0x42 "what was flushed is there"
nbd_write "$uri" 8388608 4096 0x44
ok $? "and it takes writes again"

uri=$(new_volume forced zero)
break_it "$uri"
ok $? "a write fails, and with it another volume"
uri=$(gridbox volume attach --force forced)
is "$(epoch_of forced)" 2 "taken over at once, its epoch is one more"
expect_byte "$uri" 0 65536 0x42 "what was flushed is there"

run gridbox events --json
is "$(json '[.events[] | select(.kind == "volume-failed")] | length')" 2 "each failure is an event"
done_testing

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/server-killed.sh - SIGKILL loses no answered write and no epoch
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs nbdsh

start_server
truncate -s 16M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
written=$(new_volume written zero)

# Writes, says so, and holds the connection until the server dies.
write_and_wait() # PYTHON
{
    rm -f "$tap_tmp/ready"
    nbdsh -u "$written" -c "$1" -c '
open("'"$tap_tmp"'/ready", "w").close()
try:
    while True: h.pread(512, 0)
except nbd.Error: pass
' >/dev/null 2>&1 &
    client=$!
    tap_cleanup "kill $client 2>/dev/null"
    tap_wait 20 "a client has written" test -e "$tap_tmp/ready"
    kill_server
    wait "$client" || :
}
epoch_of() { gridbox volume list --json | jq -r ".volumes[] | select(.name == \"$1\") | .epoch"; }

write_and_wait '
h.pwrite(b"\x42" * 65536, 0)
h.flush()
h.pwrite(b"\x43" * 4096, 1048576)
h.trim(4096, 8192)
'
is "$(find "$live" -name '*.live' | wc -l)" 1 "the live maps outlive the server"
start_server
is "$(epoch_of written)" 1 "no epoch moves"
api GET /v1/store
is "$(json .past)" killed "the server knows what happened"
expect_byte "$written" 0 8192 0x42 "by the same URI: what was flushed is there"
expect_byte "$written" 1048576 4096 0x43 "and what was answered, but not flushed"
expect_byte "$written" 8192 4096 0x00 "what was trimmed stays so"

write_and_wait 'h.pwrite(b"\x44" * 4096, 0)'
start_server
stop_server # with a volume that nobody has opened since the kill
is "$(find "$live" -name '*.live' | wc -l)" 0 "a clean stop leaves no live maps"
start_server
api GET /v1/store
is "$(json .past)" clean "for all of it is on the disk"
is "$(epoch_of written)" 1 "no epoch moved"
expect_byte "$written" 0 4096 0x44 "nor was a write lost"
done_testing

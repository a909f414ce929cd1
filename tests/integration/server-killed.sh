#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/server-killed.sh - SIGKILL is a power cut: flushed data is there, the epoch moves
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs nbdsh

start_server
truncate -s 16M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
written=$(new_volume written zero)
quiet=$(new_volume quiet zero)

# Flushed, then the connection stays open while the server dies.
nbdsh -u "$written" -c '
h.pwrite(b"\x42" * 65536, 0)
h.flush()
h.pwrite(b"\x43" * 4096, 1048576, nbd.CMD_FLAG_FUA)
open("'"$tap_tmp"'/ready", "w").close()
try:
    while True: h.pread(512, 0)
except nbd.Error: pass
' >/dev/null 2>&1 &
client=$!
tap_cleanup "kill $client 2>/dev/null"
tap_wait 20 "a client has written and flushed" test -e "$tap_tmp/ready"
kill_server
wait "$client" || :
start_server

run gridbox volume list --json
is "$(json '.volumes[] | select(.name == "written") | .epoch')" 2 "the written volume's epoch is one more"
is "$(json '.volumes[] | select(.name == "quiet") | .epoch')" 1 "the other one's is not"
refused_by_nbd "$written" 'over: epoch 1 .*attach it again' "the old URI is refused in words"
expect_byte "$quiet" 0 4096 0x00 "the other one's URI works"

uri=$(gridbox volume attach written)
expect_byte "$uri" 0 65536 0x42 "what was flushed is there"
expect_byte "$uri" 1048576 4096 0x43 "what was written with FUA is there"
nbd_write "$uri" 4096 4096 0x44
ok $? "and it goes on"
done_testing

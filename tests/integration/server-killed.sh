#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/server-killed.sh - SIGKILL of the server loses nothing that was answered: no epoch
# moves, and the same URIs go on
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
truncate -s 128M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
written=$(new_volume written zero)
quiet=$(new_volume quiet zero)

# Flushed, by FUA, and not at all; then the connection stays open while the server dies.
nbdsh -u "$written" -c '
h.pwrite(b"\x42" * 65536, 0)
h.flush()
h.pwrite(b"\x43" * 4096, 1048576, nbd.CMD_FLAG_FUA)
h.pwrite(b"\x44" * 8192, 61440)
h.pwrite(b"\x45" * 512, 100 << 20)
h.zero(4096, 0)
h.trim(4096, 4096)
open("'"$tap_tmp"'/ready", "w").close()
try:
    while True: h.pread(512, 0)
except nbd.Error: pass
' >/dev/null 2>&1 &
client=$!
tap_cleanup "kill $client 2>/dev/null"
tap_wait 20 "a client has written" test -e "$tap_tmp/ready"

before=$(gridbox volume list --json | jq -c '[.volumes[] | [.name, .generation, .epoch]]')
for round in first second; do
    kill_server
    start_server
    is "$(gridbox volume list --json | jq -c '[.volumes[] | [.name, .generation, .epoch]]')" "$before" \
        "$round kill: neither generation nor epoch is another"
    expect_byte "$written" 8192 53248 0x42 "$round kill: what was flushed is there"
    expect_byte "$written" 1048576 4096 0x43 "what was written with FUA is there"
    expect_byte "$written" 61440 8192 0x44 "and what was neither"
    expect_byte "$written" 104857600 512 0x45 "also a sector far away"
    expect_byte "$written" 0 8192 0x00 "and what was made zero"
    expect_byte "$quiet" 0 4096 0x00 "the other one's URI works"
done
wait "$client" || :
nbd_write "$written" 4096 4096 0x46
ok $? "and it goes on"
like "$(gridbox store status)" '^start +.*killed' "the server says how the one before ended"
stop_server
start_server
expect_byte "$written" 61440 8192 0x44 "all of it stays after a clean stop"
like "$(gridbox store status)" '^start +.*cleanly' "which is told from a kill"
[ "$(find "$state/lost+found" -type f | wc -l)" -eq 0 ]
ok $? "nothing is lost and found"
done_testing

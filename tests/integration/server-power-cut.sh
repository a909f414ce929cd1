#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/server-power-cut.sh - without its live maps a start is one after a loss of power: what
# was flushed is there, and exactly the volumes that were being written begin a new epoch
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
truncate -s 16M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
written=$(new_volume written zero)
quiet=$(new_volume quiet zero)
epoch_of() { volume_is "$1" .epoch; }

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
rm -rf "$live"
start_server

is "$(epoch_of written)" 2 "the written volume's epoch is one more"
is "$(epoch_of quiet)" 1 "the other one's is not"
refused_by_nbd "$written" 'over: epoch 1 .*attach it again' "the old URI is refused in words"
expect_byte "$quiet" 0 4096 0x00 "the other one's URI works"
like "$(gridbox store status)" '^start +.*lost power' "the server says how it began"

uri=$(gridbox volume attach written)
expect_byte "$uri" 0 65536 0x42 "what was flushed is there"
expect_byte "$uri" 1048576 4096 0x43 "what was written with FUA is there"
nbd_write "$uri" 4096 4096 0x44
ok $? "and it goes on"

# Live maps of a server before the last one are no live maps.
cp -a "$live" "$tap_tmp/old"
kill_server
rm -rf "$live"
start_server
uri=$(gridbox volume attach written)
nbd_write "$uri" 8192 4096 0x45
is "$(epoch_of written)" 3 "another loss of power"
kill_server
rm -rf "$live"
mv "$tap_tmp/old" "$live"
start_server
is "$(epoch_of written)" 4 "old live maps that were put back are not believed"
uri=$(gridbox volume attach written)
expect_byte "$uri" 8192 4096 0x45 "what was flushed is there"
run gridbox store check
status_is 0 "the store is sound"
done_testing

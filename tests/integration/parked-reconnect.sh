#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/parked-reconnect.sh - a write that waits for room ends with its connection: it never
# runs after a newer connection has begun
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
truncate -s 64M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
gridbox volume create v --image zero >/dev/null
gridbox volume quota v 1M >/dev/null
uri=$(gridbox volume attach v)

nbdsh -u "$uri" -c '
h.pwrite(b"\x11" * 1048576, 0)
open("'"$tap_tmp"'/full", "w").close()
h.pwrite(b"\x22" * 4096, 8388608)
' >"$tap_tmp/client" 2>&1 &
client=$!
tap_cleanup "kill $client 2>/dev/null; wait $client 2>/dev/null"
# shellcheck disable=SC2317 # tap_wait calls it
parked() { [ "$(volume_is v .parked)" = true ]; }
tap_wait 20 "a client writes beyond the quota, and its write is parked" parked

nbdsh -u "$uri" -c '
h.pwrite(b"\x33" * 4096, 0)
h.flush()
' >"$tap_tmp/second" 2>&1
is "$? $(cat "$tap_tmp/second")" "0 " "a second connection takes over, and writes what needs no room"
! wait "$client"
ok $? "the first one is gone"
is "$(volume_is v .parked)" false "and what it had parked with it"
gridbox volume quota v none >/dev/null
expect_byte "$uri" 8M 4096 0x00 "there is room now, and the write of the first is not there"
expect_byte "$uri" 0 4096 0x33 "that of the second is"
done_testing

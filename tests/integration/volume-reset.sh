#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/volume-reset.sh - reset brings volumes back to their images, cuts who uses them, and
# leaves snapshots alone
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
make_image "$tap_tmp/one.raw" 16 1
make_image "$tap_tmp/two.raw" 16 77
import_image golden "$tap_tmp/one.raw"
import_image golden "$tap_tmp/two.raw"
same() { nbdcopy "$1" "$tap_tmp/out.raw" && cmp "$2" "$tap_tmp/out.raw"; } # URI FILE

gridbox volume create old --image golden@1 >/dev/null
gridbox volume create 'new%d' --image golden --count 2 >/dev/null
uri=$(gridbox volume attach old)
nbd_write "$uri" 0 1M 0x11
gridbox volume snapshot kept old >/dev/null
nbd_write "$uri" 0 1M 0x22

# A client that is there when it happens.
nbdsh -u "$uri" -c '
open("'"$tap_tmp"'/there", "w").close()
try:
    while True: h.pwrite(b"\x33" * 4096, 4096)
except nbd.Error: print("cut")
' >"$tap_tmp/client" 2>/dev/null &
client=$!
tap_cleanup "kill $client 2>/dev/null"
tap_wait 20 "a client writes" test -e "$tap_tmp/there"
lives=$(volume_is old '"\(.generation + 1) \(.epoch + 1)"')
run gridbox volume reset old
is "$status $out" "0 volume old is back at golden@1" "one volume is reset, under the hands of a client"
wait "$client"
is "$(cat "$tap_tmp/client")" cut "whose connection ends"
refused_by_nbd "$uri" "epoch|reset" "the old URI is refused in words"
is "$(volume_is old '"\(.generation) \(.epoch) \(.data_bytes)"')" "$lives 0" \
    "generation and epoch are one more, and nothing is written"
uri=$(gridbox volume attach old)
same "$uri" "$tap_tmp/one.raw"
ok $? "it holds what the image of its version holds"
nbd_write "$uri" 8192 4096 0x44
ok $? "and can be written"

gridbox volume clone old@kept past >/dev/null
expect_byte "$(gridbox volume attach past)" 0 1M 0x11 "a snapshot taken before still holds what it held"

run gridbox volume reset --all
is "$status $out" "0 4 volumes are back at golden@1 (2), golden@2 (2)" "all are reset"
same "$(gridbox volume attach new1)" "$tap_tmp/two.raw"
ok $? "each to its own version"
run gridbox volume reset new0 new1 --json
is "$(json '[.volumes[] | "\(.volume) \(.to)"] | join(", ")')" "new0 golden@2, new1 golden@2" "as JSON too"
run gridbox events --json
like "$(json '.events[].kind')" 'reset' "it is an event"
done_testing

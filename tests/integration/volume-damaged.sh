#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/volume-damaged.sh - a volume whose map file is spoilt or gone says so: state, event, health
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
truncate -s 16M "$tap_tmp/zero.raw"
make_image "$tap_tmp/data.raw" 16
import_image zero "$tap_tmp/zero.raw"
touch "$tap_tmp/before"
import_image hurt "$tap_tmp/data.raw"
image=$(find "$state/layers" -name '*.map' -newer "$tap_tmp/before")
gridbox volume create fresh --image zero >/dev/null
gridbox volume create above --image hurt >/dev/null
# written NAME: a volume with data; prints its layer's files without their ending
written()
{
    touch "$tap_tmp/before"
    nbd_write "$(new_volume "$1" zero)" 0 65536 0x11 && gridbox volume detach "$1"
    found=$(find "$state/layers" -name '*.data' -newer "$tap_tmp/before")
    printf '%s\n' "${found%.data}"
}
written good >/dev/null
spoilt=$(written spoilt)
gone=$(written gone)
is "$(volume_is spoilt .state)" ok "a volume that can be opened is ok"
stop_server
start_server # with it the map files come
stop_server

for file in "$spoilt.map" "$image"; do
    printf 'not what it was' | dd of="$file" bs=1 seek=16 conv=notrunc status=none
done
rm "$gone.map"
# The journal still knows what was in it; behind its head it is empty now.
size=$(stat -c %s "$state/journal")
truncate -s 4096 "$state/journal"
truncate -s "$size" "$state/journal"
start_server
run gridbox store status # waits until all layers were looked at
is "$(gridbox volume list --json | jq -r '.volumes | map(.name + " " + .state) | join(", ")')" \
    "fresh ok, above damaged, good ok, spoilt damaged, gone damaged" \
    "those that cannot be opened are damaged, also by what they stand on, and no others"
like "$(gridbox volume show spoilt)" '^state +damaged: it cannot be opened; .*\.map: ' "and it is said why"
like "$(gridbox volume show gone)" '^state +damaged: .*what says where is gone' "of both"
like "$(gridbox events)" "layer-damaged .*layer ${spoilt##*/} of volume spoilt cannot be opened" "there is an event"
run gridbox status
status_is 1 "the server is not well"
like "$out$err" "gridbox store check" "and says where to look"
run gridbox store check
status_is 1 "a check fails, too"
like "$out" '^volume spoilt: ' "and names the one"
like "$out" '^volume gone: ' "and the other"
refused_by_nbd "$(gridbox volume attach spoilt)" "spoilt.*\.map" "a client is told in words"
expect_byte "$(gridbox volume attach good)" 0 65536 0x11 "the good one works"

run gridbox volume reset spoilt gone
status_is 0 "they are reset"
is "$(volume_is spoilt .state) $(volume_is gone .state)" "ok ok" "and are well again"
gridbox volume remove above >/dev/null && gridbox image remove hurt >/dev/null
run gridbox status
status_is 0 "so is the server, without the image that was"
expect_byte "$(gridbox volume attach gone)" 0 65536 0x00 "and they can be used"
done_testing

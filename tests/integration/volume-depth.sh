#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/volume-depth.sh - a volume stands on 64 layers at most; the next snapshot is refused in
# words, and removing some makes room
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
truncate -s 16M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
gridbox volume create flat --image zero >/dev/null
uri=$(new_volume deep zero)
taken=0
while [ "$taken" -lt 70 ]; do
    qemu-io -f raw -c "write -P $((taken + 1)) $((taken * 4096)) 4096" "$uri" >/dev/null || break
    run gridbox volume snapshot "s$taken" deep
    [ "$status" -eq 0 ] || break
    taken=$((taken + 1))
done
is "$taken" 63 "snapshots, until a volume stands on 64 layers"
like "$err" "deep.*64" "the next one is refused and says why"
run gridbox volume snapshot both flat deep
status_is 1 "together with another volume, too"
is "$(volume_is flat .snapshots)" 0 "which is then in no snapshot"
wrong=0
for i in 0 31 62 63; do
    nbd_is_byte "$uri" $((i * 4096)) 4096 $((i + 1)) || wrong=$((wrong + 1))
done
is "$wrong" 0 "all its layers are read"
run gridbox volume clone deep@s5 shallow
status_is 0 "an early snapshot can be cloned"

# shellcheck disable=SC2046 # a list of words
run gridbox snapshot remove $(seq -f 's%g' 10 40)
status_is 0 "many snapshots go"
# shellcheck disable=SC2317 # tap_wait calls it
room() { gridbox volume snapshot "again" deep; }
tap_wait 30 "and there is room for another" room
wrong=0
for i in 0 9 10 25 40 41 62 63; do
    nbd_is_byte "$uri" $((i * 4096)) 4096 $((i + 1)) || wrong=$((wrong + 1))
done
is "$wrong" 0 "what is shown is what was written"
done_testing

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/volume-clone.sh - a clone starts with what the other one holds, and then goes its own way
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
make_image "$tap_tmp/one.raw" 16
import_image golden "$tap_tmp/one.raw"
uri=$(new_volume v golden)
nbd_write "$uri" 0 65536 0x11
gridbox volume quota v 12M >/dev/null
gridbox volume snapshot early v >/dev/null
nbd_write "$uri" 0 4096 0x22

run gridbox volume clone v now
is "$status $out" "0 now" "a clone of a volume in use"
run gridbox volume clone v@early 'back-%d' --count 3
is "$status $(echo "$out" | tr '\n' ' ')" "0 back-0 back-1 back-2 " "three of a snapshot of it"
now=$(gridbox volume attach now)
back=$(gridbox volume attach back-2)
expect_byte "$now" 0 4096 0x22 "the first holds what the volume holds"
expect_byte "$now" 4096 61440 0x11 "all of it"
expect_byte "$back" 0 65536 0x11 "the others what it held at the snapshot"
nbdcopy "$back" "$tap_tmp/out.raw" && cmp -i 65536 "$tap_tmp/one.raw" "$tap_tmp/out.raw"
ok $? "and the image below"
is "$(volume_is now '"\(.image) \(.quota_bytes) \(.epoch) \(.data_bytes)"')" "golden@1 12582912 1 0" \
    "image and quota are the other one's"

nbd_write "$now" 0 4096 0x33
nbd_write "$uri" 4096 4096 0x44
expect_byte "$uri" 0 4096 0x22 "what is written to the clone is not in the volume"
expect_byte "$now" 4096 4096 0x11 "nor the other way round"
expect_byte "$back" 0 65536 0x11 "nor in a clone of the snapshot"

# A clone of a clone, and its reset.
gridbox volume clone now again >/dev/null
expect_byte "$(gridbox volume attach again)" 0 4096 0x33 "a clone can be cloned"
run gridbox volume reset again
is "$out" "volume again is back at golden@1" "and its image is that of the first"
gridbox volume detach --all
run gridbox volume remove v --snapshots
status_is 0 "the volume can go"
expect_byte "$(gridbox volume attach now)" 4096 61440 0x11 "and its clones stay"
done_testing

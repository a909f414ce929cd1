#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/volume-rollback.sh - rollback brings back what a snapshot holds, for all or for none
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
truncate -s 16M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
gridbox volume create 'v%d' --image zero --count 3 >/dev/null
for v in v0 v1 v2; do
    nbd_write "$(gridbox volume attach "$v")" 0 65536 0x11 || diag "$v cannot be written"
done
gridbox volume snapshot early v0 v1 >/dev/null
uri=$(gridbox volume attach --force v0)
nbd_write "$uri" 4096 8192 0x22
gridbox volume snapshot late v0 v1 v2 >/dev/null
nbd_write "$uri" 0 4096 0x33
ok $? "a volume has three pasts"

run gridbox volume rollback early v0 v2
is "$status" 1 "a volume that the snapshot does not hold is refused"
like "$err" "^gridbox: .*v2.*early|early.*v2" "and named"
expect_byte "$uri" 0 4096 0x33 "and the other one is as it was"

run gridbox volume rollback early v0
is "$status $out" "0 volume v0 is back at snapshot early" "one is rolled back"
is "$(volume_is v0 .epoch)" 2 "its epoch is one more"
refused_by_nbd "$uri" "epoch|rolled back|rollback" "the old URI is refused in words"
uri=$(gridbox volume attach v0)
expect_byte "$uri" 0 65536 0x11 "it holds what it held at the snapshot"

run gridbox volume rollback late v0
is "$status $out" "0 volume v0 is back at snapshot late" "forward again: the later snapshot is still there"
uri=$(gridbox volume attach v0)
expect_byte "$uri" 0 4096 0x11 "with the first write"
expect_byte "$uri" 4096 8192 0x22 "and the second"
expect_byte "$uri" 12288 4096 0x11 "and what was beside it"

nbd_write "$uri" 0 1M 0x44
run gridbox volume rollback late --all
is "$status $out" "0 3 volumes are back at snapshot late" "all that a snapshot holds"
expect_byte "$(gridbox volume attach v0)" 65536 65536 0x00 "hold what they held"
expect_byte "$(gridbox volume attach v2)" 0 65536 0x11 "each of them"
run gridbox volume rollback late --all --json
is "$(json '[.volumes[] | "\(.volume) \(.to)"] | sort | join(", ")')" "v0 late, v1 late, v2 late" "as JSON too"
run gridbox volume rollback never v0
is "$status" 1 "a snapshot that is not there"
like "$err" "never" "is named"
done_testing

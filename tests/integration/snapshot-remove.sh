#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/snapshot-remove.sh - a snapshot in the middle goes, its layers merge, what is shown stays
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
make_image "$tap_tmp/one.raw" 16
import_image golden "$tap_tmp/one.raw"
uri=$(new_volume v golden)
for i in 1 2 3 4; do
    nbd_write "$uri" 0 4096 0x1$i
    nbd_write "$uri" $((i * 65536)) 4096 0x2$i
    gridbox volume snapshot "s$i" v >/dev/null || diag "no snapshot s$i"
done
nbd_write "$uri" 0 4096 0x15
is "$(volume_is v .below)" 5 "a volume stands on four snapshots and its image"

# A client reads all the time, while layers go from under it.
nbdsh -u "$(gridbox volume clone v@s3 reader >/dev/null && gridbox volume attach reader)" -c '
import os
n = 0
while not os.path.exists("'"$tap_tmp"'/stop"):
    if h.pread(4096, 0) != b"\x13" * 4096: print("not what it was")
    if h.pread(4096, 65536) != b"\x21" * 4096: print("not what it was")
    n += 1
    if n == 100: open("'"$tap_tmp"'/reads", "w").close()
' >"$tap_tmp/reader" 2>&1 &
reader=$!
tap_cleanup "kill $reader 2>/dev/null; wait $reader 2>/dev/null"
tap_wait 20 "a client reads through all of it" test -e "$tap_tmp/reads"

run gridbox snapshot remove s2 s1
is "$status $out" "0 " "two of the snapshots go"
# shellcheck disable=SC2317 # tap_wait calls it
merged() { [ "$(volume_is v .below)" -le 3 ]; }
tap_wait 20 "and their layers are merged" merged
is "$(gridbox snapshot list --json | jq -r '[.snapshots[].name] | join(" ")')" "s3 s4" "the others stay"
expect_byte "$uri" 0 4096 0x15 "the volume shows what it showed"
for i in 1 2 3 4; do
    expect_byte "$uri" $((i * 65536)) 4096 0x2$i "all of it: $i"
done
nbd_write "$uri" 4096 4096 0x77
ok $? "and is written"
gridbox volume clone v@s3 c >/dev/null
c=$(gridbox volume attach c)
expect_byte "$c" 0 4096 0x13 "so does a snapshot above"
nbdcopy "$c" "$tap_tmp/out.raw" && cmp -i 262144 "$tap_tmp/one.raw" "$tap_tmp/out.raw"
ok $? "which has nothing of what came later"
touch "$tap_tmp/stop"
wait "$reader"
is "$? $(cat "$tap_tmp/reader")" "0 " "the client saw nothing of it"

gridbox volume detach --all
gridbox volume remove reader c >/dev/null
run gridbox snapshot remove s3 s4
status_is 0 "all snapshots go"
# shellcheck disable=SC2317 # tap_wait calls it
one() { [ "$(volume_is v .below)" -le 2 ] && [ "$(gridbox store status --json | jq .dead)" = 0 ]; }
tap_wait 20 "layers that nothing needs are gone" one
uri=$(gridbox volume attach v)
expect_byte "$uri" 0 4096 0x15 "the volume shows what it showed"
expect_byte "$uri" 65536 4096 0x21 "also what was written first"
run gridbox store scrub
status_is 0 "and the store is sound"
run gridbox snapshot remove s3
is "$status" 1 "what is gone cannot be removed"
like "$err" "s3" "and is named"
done_testing

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/store-check.sh - a byte that changed in a layer's file is found, and its image named
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
make_image "$tap_tmp/one.raw" 16 1
make_image "$tap_tmp/two.raw" 16 50
import_image sound "$tap_tmp/one.raw"
touch "$tap_tmp/between"
import_image hurt "$tap_tmp/two.raw"
# The data file of the image that came last.
file=$(find "$state/layers" -type f -newer "$tap_tmp/between" -size +8M | head -n 1)
nbd_write "$(new_volume v hurt)" 0 65536 0x11

run gridbox store status
status_is 0 "the store tells of itself"
like "$out" '^images +[1-9]' "with what images hold"
like "$out" '^start +the store is new' "and of no server before this one"
gridbox volume create untouched --image sound >/dev/null
gridbox volume snapshot kept v untouched >/dev/null
run gridbox snapshot show kept --json
is "$(json '.volumes | map("\(.volume) \(.data_bytes)") | join(", ")')" "v 65536, untouched 0" \
    "a snapshot keeps what was written, not the image"
stop_server
start_server
like "$(gridbox store status)" '^start +.*cleanly' "and how the server before ended"
run gridbox store check
is "$status" 0 "a store that is sound"
like "$out" '^[0-9]+ layers are sound' "is said to be"
run gridbox store scrub
is "$status" 0 "also when all is read"
run gridbox image verify sound hurt
is "$status" 0 "and so are its images"

# One byte of the image's data, as a disk that forgets.
printf 'x' | dd of="$file" bs=1 seek=8388708 conv=notrunc status=none
run gridbox store scrub
is "$status" 1 "a scrub of a store with a changed byte fails"
like "$out" '^image hurt@1: layer [0-9a-f]{32}: .*block 2048' "and says which image, and where"
unlike "$out" 'sound@1' "and nothing of others"
like "$err" '^gridbox: 1 of [0-9]+ layers is damaged: ' "and how many"
run gridbox store scrub --json
is "$(json '.result.problems | length')" 1 "as JSON too"
run gridbox image verify hurt
is "$status" 1 "verifying the image fails"
like "$err" "verification of 'hurt': ." "in words"
is "$(gridbox image show hurt --json | jq -r .state)" damaged "the image is marked"
run gridbox image verify sound
is "$status" 0 "the other one is sound"

# A file that is too short is found without reading it.
truncate -s 8M "$file"
run gridbox store check
is "$status" 1 "a check finds a file of the wrong size"
like "$out" '^image hurt@1: ' "and says of which image"
done_testing

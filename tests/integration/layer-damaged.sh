#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/layer-damaged.sh - a guest never gets wrong bytes from a disk that decays
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
make_image "$tap_tmp/one.raw" 16
import_image hurt "$tap_tmp/one.raw"
file=$(find "$state/layers" -name '*.data' -size +8M | head -n 1)
disk=$(new_volume v hurt)

# One byte of block 2048, in the page cache as read-ahead would have brought it.
printf 'x' | dd of="$file" bs=1 seek=8388708 conv=notrunc status=none
run qemu-io -r -f raw -c 'read 8388608 4096' "$disk"
like "$out$err" 'read failed: Input/output error' "the read of a wrong block fails"
run qemu-io -r -f raw -c 'read 8388608 65536' "$disk"
like "$out$err" 'read failed: Input/output error' "also as part of a longer one, and again"
run qemu-io -r -f raw -c 'read 8392704 65536' "$disk"
like "$out" 'read 65536/65536' "its neighbours are read"
run gridbox events --json
is "$(json '[.events[] | select(.kind == "layer-damaged")] | length')" 1 "one event tells of it"
is "$(grep -c 'block 2048 of layers/' "$server_log")" 1 "and one line of the log"

# What a guest writes there is its own, and sound.
expect_written=$(nbd_write "$disk" 8388608 4096 0x22 && echo yes)
is "$expect_written" yes "the block can be written"
expect_byte "$disk" 8388608 4096 0x22 "and is read then"
done_testing

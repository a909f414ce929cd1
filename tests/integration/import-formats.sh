#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/import-formats.sh - qcow2, vmdk, vdi and vhdx become the same image as the raw disk
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs qemu-img qemu-nbd

start_server
make_image "$tap_tmp/disk.raw" 32
sum=$(sha256sum "$tap_tmp/disk.raw" | cut -d' ' -f1)

for format in qcow2 vmdk vdi vhdx; do
    qemu-img convert -f raw -O "$format" "$tap_tmp/disk.raw" "$tap_tmp/disk.$format"
    run gridbox image import disk "$tap_tmp/disk.$format"
    status_is 0 "$format is imported"
    run gridbox image show disk --json
    is "$(json '"\(.format) \(.size_bytes) \(.sha256)"')" "$format 33554432 $sum" \
        "$format: format, size and content"
done

qemu-img convert -f raw -O qcow2 -c "$tap_tmp/disk.raw" "$tap_tmp/packed.qcow2"
run gridbox image import packed "$tap_tmp/packed.qcow2"
status_is 0 "a compressed qcow2"
run gridbox image show packed --json
is "$(json .sha256)" "$sum" "has the same content"

# A file is what its first bytes say, not what its name says.
cp "$tap_tmp/disk.qcow2" "$tap_tmp/named.raw"
run gridbox image import named "$tap_tmp/named.raw"
run gridbox image show named --json
is "$(json '"\(.format) \(.size_bytes)"')" "qcow2 33554432" "a qcow2 with another name"
run gridbox_tcp "$(cat "$state/token")" image import sent "$tap_tmp/disk.qcow2"
run gridbox image show sent --json
is "$(json '"\(.format) \(.sha256)"')" "qcow2 $sum" "an uploaded qcow2"
done_testing

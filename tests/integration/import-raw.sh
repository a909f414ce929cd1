#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/import-raw.sh - a raw disk comes in, and goes out the same: as an image, as a volume
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
disk=$tap_tmp/disk.raw
make_image "$disk" 64
sum=$(sha256sum "$disk" | cut -d' ' -f1)

run gridbox image import debian-12 "$disk"
is "$status $out" "0 debian-12@1" "import prints the image"
run gridbox image show debian-12 --json
is "$(json .size_bytes)" 67108864 "its size is the file's"
is "$(json .sha256)" "$sum" "its SHA-256 is the file's"
is "$(json .format)" raw "its format is raw"
like "$(json '.data_bytes < 10000000')" true "sparse stays sparse"
run gridbox image list
like "$out" '^debian-12@1 +64 MiB ' "list shows it with a size for people"

run gridbox image import debian-12 "$disk"
is "$out" "debian-12@2" "an existing name gets its next version"
run gridbox image show debian-12
like "$out" '^image +debian-12@2$' "no version means the newest"

uri=$(gridbox image attach debian-12@1)
like "$uri" "^nbd://$nbd/debian-12[^/]*\.[0-9a-f]{32}\$" "attach prints a URI"
run nbdcopy "$uri" "$tap_tmp/out.raw"
cmp "$disk" "$tap_tmp/out.raw"
ok $? "nbdcopy reads the image as it was"
nbd_write "$uri" 0 512 0x5a && rc=1 || rc=0
ok "$rc" "an image cannot be written"

uri=$(new_volume v1 debian-12)
like "$uri" "^nbd://$nbd/v1\.[0-9a-f]{32}\$" "volume attach prints a URI"
run nbdcopy "$uri" "$tap_tmp/out.raw"
cmp "$disk" "$tap_tmp/out.raw"
ok $? "a new volume reads as its image"

make_image "$tap_tmp/other.raw" 64 77
run nbdcopy "$tap_tmp/other.raw" "$uri"
status_is 0 "nbdcopy writes into the volume"
rm "$tap_tmp/out.raw"
run nbdcopy "$uri" "$tap_tmp/out.raw"
cmp "$tap_tmp/other.raw" "$tap_tmp/out.raw"
ok $? "and reads back what it wrote"

rm "$tap_tmp/out.raw"
run nbdcopy "$(gridbox image attach debian-12@2)" "$tap_tmp/out.raw"
cmp "$disk" "$tap_tmp/out.raw"
ok $? "the image below is as before"
done_testing

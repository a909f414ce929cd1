#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/volume-promote.sh - what a volume holds becomes an image, at once, and is hashed later
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
make_image "$tap_tmp/one.raw" 16
import_image golden "$tap_tmp/one.raw"
uri=$(new_volume master golden)
nbd_write "$uri" 1M 65536 0x11
nbd_write "$uri" 5000192 512 0x12

run gridbox volume promote master golden
is "$status $out" "0 golden@2" "a volume in use becomes the next version of an image"
nbd_write "$uri" 1M 4096 0x22
ok $? "and its client writes on"
nbdcopy "$(gridbox image attach golden@2)" "$tap_tmp/two.raw"
cp "$tap_tmp/one.raw" "$tap_tmp/want.raw"
head -c 65536 /dev/zero | tr '\0' '\021' | dd of="$tap_tmp/want.raw" bs=1M seek=1 conv=notrunc status=none
head -c 512 /dev/zero | tr '\0' '\022' | dd of="$tap_tmp/want.raw" bs=512 seek=9766 conv=notrunc status=none
cmp "$tap_tmp/want.raw" "$tap_tmp/two.raw"
ok $? "the image holds what the volume held"

# shellcheck disable=SC2317 # tap_wait calls it
verified() { [ "$(gridbox image show golden@2 --json | jq -r .state)" = verified ]; }
tap_wait 20 "the server hashes it by itself" verified
sum=$(sha256sum <"$tap_tmp/want.raw" | cut -d' ' -f1)
is "$(gridbox image show golden@2 --json | jq -r .sha256)" "$sum" "and finds its SHA-256"
run gridbox image verify golden@1 golden
is "$status $(printf '%s\n' "$out" | tail -n 1)" "0 golden@2 is sound: sha256 $sum" "it can be verified again"
like "$out" '^golden@1 is sound: sha256 [0-9a-f]{64}$' "as the first one can"

expect_byte "$(new_volume child golden)" 1M 65536 0x11 "a volume made of it holds it"
run gridbox volume promote child fresh
is "$status $out" "0 fresh@1" "a promoted image's volume becomes an image of another name"
gridbox volume detach --all
run gridbox volume remove master child
status_is 0 "the volumes can go"
nbdcopy "$(gridbox image attach fresh)" "$tap_tmp/out.raw" && cmp "$tap_tmp/want.raw" "$tap_tmp/out.raw"
ok $? "and the image stays"
run gridbox volume promote nothing golden
is "$status" 1 "a volume that is not there"
like "$err" "nothing" "is named"
done_testing

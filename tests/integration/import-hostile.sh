#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/import-hostile.sh - disk files that are broken, or that point at other files
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs qemu-img qemu-nbd

start_server --image-limit 1G
files_before=$(find "$state/layers" "$state/tmp" | sort)
cd "$tap_tmp" || exit 1
secret=$tap_tmp/secret.raw
make_image "$secret" 4
qemu-img create -q -f qcow2 whole.qcow2 64M
qemu-io -f qcow2 -c 'write -P 0x5a 0 8M' whole.qcow2 >/dev/null

refused() # FILE ERE WHAT
{
    run gridbox image import bad "$1"
    is "$status" 1 "$3: refused"
    is "$(printf '%s\n' "$err" | grep -c '^gridbox: .')$(printf '%s\n' "$err" | wc -l)" 11 "in one line"
    like "$err" "$2" "that says why"
}

head -c 3000000 whole.qcow2 >truncated.qcow2
refused "$tap_tmp/truncated.qcow2" . "a truncated qcow2"
head -c 60 whole.qcow2 >header.qcow2
refused "$tap_tmp/header.qcow2" . "half a header"
cp whole.qcow2 corrupt.qcow2
printf '\377\377\377\377\377\377\377\377' | dd of=corrupt.qcow2 bs=1 seek=40 conv=notrunc status=none
refused "$tap_tmp/corrupt.qcow2" . "a qcow2 whose L1 table lies nowhere"

qemu-img create -q -f qcow2 -b "$secret" -F raw backed.qcow2
refused "$tap_tmp/backed.qcow2" 'backing|other file|another file' "a backing file"
qemu-img create -q -f qcow2 -o "data_file=$tap_tmp/data.raw,data_file_raw=on" outside.qcow2 4M
refused "$tap_tmp/outside.qcow2" 'data file|other file|another file' "an external data file"
qemu-img convert -f raw -O vmdk -o subformat=monolithicFlat "$secret" flat.vmdk
refused "$tap_tmp/flat.vmdk" 'extent|other file|another file|vmdk|format' "a VMDK with extents elsewhere"
cat >passwd.vmdk <<'END'
# Disk DescriptorFile
version=1
CID=fffffffe
parentCID=ffffffff
createType="monolithicFlat"

# Extent description
RW 2 FLAT "/etc/passwd" 0

ddb.virtualHWVersion = "4"
END
refused "$tap_tmp/passwd.vmdk" . "a VMDK that names /etc/passwd"
cp whole.qcow2 json.qcow2
qemu-img rebase -q -u -f qcow2 -b 'json:{"driver":"file","filename":"/etc/passwd"}' -F raw json.qcow2
refused "$tap_tmp/json.qcow2" 'backing|other file|another file' "a json: backing file"

qemu-img create -q -f qcow2 huge.qcow2 63T
refused "$tap_tmp/huge.qcow2" 'size|large|limit' "a virtual size over the limit"
truncate -s 2G huge.raw
refused "$tap_tmp/huge.raw" 'size|large|limit' "a raw file over the limit"

run gridbox image list --json
is "$(json '.images | length')" 0 "there is no image"
is "$(find "$state/layers" "$state/tmp" | sort)" "$files_before" "no file is left"
pgrep -f "qemu-nbd.*$state" >/dev/null && rc=1 || rc=0
ok "$rc" "no qemu-nbd is left"
run gridbox image import good "$tap_tmp/whole.qcow2"
status_is 0 "a good one is imported after all that"
done_testing

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# dom0's image: the same input makes the same bytes; what must be in it is, what must not be is not; a missing agent is named.
# limit: 300
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"

top=$(cd "$(dirname "$0")/../.." && pwd)
needs cpio zstd readelf depmod
build=$top/initramfs/build

# An agent that is none, but a program with shared libraries of its own.
printf 'extern const char *zlibVersion(void);\nint main(void)\n{\n    return zlibVersion()[0] == 0;\n}\n' >"$tap_tmp/agent.c"
gcc -g -o "$tap_tmp/agent" "$tap_tmp/agent.c" -l:libz.so.1 || bail_out "gcc"

run "$build" --agent "$tap_tmp/agent" "$tap_tmp/one/dom0.img"
status_is 0 "an image is made"
mkdir "$tap_tmp/two"
run env -i PATH="$PATH" HOME=/ TZ=Asia/Tokyo LC_ALL=C.UTF-8 sh -c "umask 077; cd /; exec '$build' --agent '$tap_tmp/agent' '$tap_tmp/two/dom0.img'"
status_is 0 "and once more: elsewhere, with other environment, time zone and umask"
run cmp "$tap_tmp/one/dom0.img" "$tap_tmp/two/dom0.img"
status_is 0 "both are the same bytes"
run cmp "$tap_tmp/one/dom0.img.packages" "$tap_tmp/two/dom0.img.packages"
status_is 0 "and of the same packages"
is "$(grep -cvE '^[a-z0-9.+-]+ [^ ]+ [0-9a-f]{64}$' "$tap_tmp/one/dom0.img.packages")" 0 "their list is NAME VERSION SHA256"
is "$(ls -A "$tap_tmp/one")" "dom0.img
dom0.img.packages" "nothing else is left beside it"

mkdir "$tap_tmp/root"
(cd "$tap_tmp/root" && zstd -q -d -c "$tap_tmp/one/dom0.img" | cpio -i --quiet -d --no-absolute-filenames)
root=$tap_tmp/root
is "$(readlink "$root/etc/xen/scripts/block") $(readlink "$root/etc/xen/scripts/vif-bridge")" \
    "/usr/sbin/gridbox-host /usr/sbin/gridbox-host" "the agent is the hotplug helper"
run cmp "$top/initramfs/init" "$root/init"
status_is 0 "init is ours"
run chroot "$root" /usr/sbin/gridbox-host
status_is 0 "the agent finds its shared libraries in the image"
for program in xl xenstored xenconsoled xen-init-dom0 guest-console ../lib/xen-4.17/bin/libxl-save-helper; do
    run chroot "$root" /lib64/ld-linux-x86-64.so.2 --list "/usr/sbin/$program"
    is "$status $(printf '%s' "$out$err" | grep -c 'not found')" "0 0" "$program finds its shared libraries in the image"
done
missing=
while read -r module; do
    grep -q "/${module//[-_]/[-_]}.ko:" "$root"/usr/lib/modules/*/modules.dep ||
        missing+=" $module"
done < <(sed -e 's/[[:space:]]*#.*//' -e '/^$/d' "$top/initramfs/modules")
is "$missing" "" "every module of the list is there"
run find "$root/usr/lib/modules" -name 'ahci.ko' -o -name 'sd_mod.ko' -o -name 'nvme.ko' -o -name 'usb-storage.ko'
is "$out" "" "no driver for the PC's own disks is"

run "$build" --agent "$tap_tmp/nonesuch" "$tap_tmp/three.img"
status_is 1 "without the agent there is no image"
like "$err" "no agent at .*nonesuch.*make" "and it says what to do"
run "$build"
status_is 2 "no name for the image is wrong use"
printf 'int nothing(void) { return 0; }\n' >"$tap_tmp/lib.c"
gcc -shared -fPIC -o "$tap_tmp/libnowhere.so.7" -Wl,-soname,libnowhere.so.7 "$tap_tmp/lib.c"
printf 'int nothing(void);\nint main(void) { return nothing(); }\n' >"$tap_tmp/lost.c"
gcc -o "$tap_tmp/lost" "$tap_tmp/lost.c" "$tap_tmp/libnowhere.so.7"
run "$build" --agent "$tap_tmp/lost" "$tap_tmp/three.img"
status_is 1 "nor with an agent that needs a library of no package"
like "$err" "gridbox-host needs libnowhere.so.7.*initramfs/packages" "which is named"
run ls "$tap_tmp/three.img"
status_is 2 "nothing is left of that"
done_testing

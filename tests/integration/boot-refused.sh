#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# limit: 60
# tests/integration/boot-refused.sh - what keeps the boot service from starting is one clear line and exit 2,
# and leaves nothing running
if [ -z "${BOOT_REFUSED:-}" ]; then
    exec env BOOT_REFUSED=1 unshare --net --mount --propagation private -- "$0"
fi
mount -t tmpfs none /run || exit 1 # for this test alone
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs ip dnsmasq socat

{
    ip link add lab0 type veth peer name far0
    ip addr add 10.77.0.1/24 dev lab0
    ip link set lo up
    ip link set lab0 up
    ip link set far0 up
} >"$tap_tmp/net.log" 2>&1
ok $? "a network" || sed 's/^/# /' "$tap_tmp/net.log"
files=$tap_tmp/boot
mkdir "$files"
for file in xen xen.efi vmlinuz dom0.img undionly.kpxe ipxe.efi; do
    echo "$file" >"$files/$file"
done

refused() # ERE DESCRIPTION OPTION...
{
    refused_by=$1
    refused_what=$2
    shift 2
    run gridboxd --state "$tap_tmp/state" --http 127.0.0.1:8420 --nbd 127.0.0.1:10809 "$@"
    status_is 2 "$refused_what: exit 2"
    like "$err" "$refused_by" "$refused_what: in words"
    is "$(printf '%s\n' "$err" | grep -cE '^(error|gridboxd:)')" 1 "$refused_what: in one line"
    is "$(find /run -name 'undionly*' | wc -l)" 0 "$refused_what: nothing is left"
}

refused 'no network interface .lab7. here; there are: .*lab0' "no such interface" --boot lab7 --boot-files "$files"
refused 'far0 has no IPv4 address: give it one' "an interface without address" --boot far0 --boot-files "$files"
refused 'range .*10\.78\.' "a range of another network" --boot lab0 --boot-files "$files" \
    --dhcp-range 10.78.0.10-10.78.0.20
refused 'approval rule .sometimes. is not valid: it must be none, all' "a rule that is none" --boot lab0 \
    --boot-files "$files" --approve sometimes
mv "$files/dom0.img" "$tap_tmp/dom0.img"
refused 'dom0\.img is missing: make them with .make boot-files.' "a boot file is missing" --boot lab0 --boot-files "$files"
mv "$tap_tmp/dom0.img" "$files/dom0.img"

# dnsmasq shares DHCP's port with other servers, but not TFTP's.
socat -u UDP4-RECV:69,bind=10.77.0.1 "OPEN:$tap_tmp/other,creat" &
other=$!
tap_cleanup "kill $other 2>/dev/null"
# shellcheck disable=SC2317 # tap_wait calls it
bound() { grep -q ' 01004D0A:0045 ' /proc/net/udp; }
tap_wait 10 "another TFTP server is there" bound
refused 'dnsmasq did not start; its own line above says why' "another server has the port" --boot lab0 \
    --boot-files "$files"
kill "$other"

mkdir "$tap_tmp/bin"
for tool in timeout setarch head; do
    ln -s "$(command -v $tool)" "$tap_tmp/bin/$tool"
done
whole_path=$PATH
PATH=$tap_tmp/bin
run gridboxd --state "$tap_tmp/state" --http 127.0.0.1:8420 --nbd 127.0.0.1:10809 --boot lab0 --boot-files "$files"
PATH=$whole_path
status_is 2 "dnsmasq is not installed: exit 2"
like "$err" 'install the package dnsmasq-base' "dnsmasq is not installed: in words"
done_testing

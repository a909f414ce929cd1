#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# limit: 120
# tests/integration/boot-dhcp.sh - real dnsmasq under gridboxd: who gets which address, loader and script,
# by DHCP and TFTP; beside another DHCP server; after dnsmasq or gridboxd was killed
if [ -z "${BOOT_DHCP:-}" ]; then
    exec env BOOT_DHCP=1 unshare --net --mount --propagation private -- "$0"
fi
mount -t tmpfs none /run || exit 1 # for this test alone: `ip netns` and the TFTP directory
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs ip dnsmasq busybox

# ---- a server's interface and a PC on one cable -------------------------------------------------
{
    ip netns add pc
    ip link add lab0 type veth peer name eth0 netns pc address 52:54:00:00:01:01
    ip addr add 10.77.0.1/24 dev lab0
    ip link set lo up
    ip link set lab0 up
    ip -n pc link set lo up
    ip -n pc link set eth0 up
} >"$tap_tmp/net.log" 2>&1
ok $? "a network" || sed 's/^/# /' "$tap_tmp/net.log"
on_pc() { ip netns exec pc "$@"; }

mkdir "$tap_tmp/boot"
for file in xen xen.efi vmlinuz dom0.img undionly.kpxe ipxe.efi; do
    echo "this is $file" >"$tap_tmp/boot/$file"
done
http=127.0.0.1:8420
nbd=127.0.0.1:10809

cat >"$tap_tmp/udhcpc" <<'SCRIPT'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip address flush dev "$interface" && ip address add "$ip/$mask" dev "$interface"
printf '%s\n' "ip=$ip" "file=$boot_file" "server=$siaddr" "router=$router" "ipxe=$opt175"
SCRIPT
chmod +x "$tap_tmp/udhcpc"

# What DHCP says to a PC, a line for each thing.  Options as of udhcpc's -x: NUMBER:HEX
dhcp() # OPTION...
{
    dhcp_options=
    for dhcp_option in "$@"; do
        dhcp_options="$dhcp_options -x $dhcp_option"
    done
    # shellcheck disable=SC2086 # a list of words
    run on_pc busybox udhcpc -i eth0 -n -q -f -t 20 -T 1 -s "$tap_tmp/udhcpc" -O 175 $dhcp_options
}
bios=0x5d:0000
efi=0x5d:0007
efi32=0x5d:0006
ipxe=0xaf:010101

# ---- DHCP and TFTP ------------------------------------------------------------------------------
start_server --boot lab0 --boot-files "$tap_tmp/boot" --dhcp-range 10.77.0.100-10.77.0.150
dhcp $bios
like "$out" '^ip=10\.77\.0\.1[0-5][0-9]$' "a PC gets an address of the range"
like "$out" '^file=undionly\.kpxe$' "a BIOS gets undionly.kpxe"
like "$out" '^server=10\.77\.0\.1$' "from this server"
like "$out" '^router=$' "and no router, as none was named"
dhcp $efi
like "$out" '^file=ipxe\.efi$' "UEFI gets ipxe.efi"
dhcp $efi32
like "$out" '^file=$' "UEFI of another CPU gets no loader that cannot run there"
dhcp $bios $ipxe
like "$out" '^file=http://10\.77\.0\.1:8420/boot/start\.ipxe$' "iPXE gets the script's URL"
like "$out" '^ipxe=b00101' "and is told to wait for no other DHCP server"

tftp() # FILE
{
    rm -f "$tap_tmp/got"
    on_pc curl -s -m 10 -o "$tap_tmp/got" "tftp://10.77.0.1/$1"
}
tftp undionly.kpxe
is "$(cat "$tap_tmp/got")" "this is undionly.kpxe" "undionly.kpxe comes over TFTP"
tftp ipxe.efi
is "$(cat "$tap_tmp/got")" "this is ipxe.efi" "ipxe.efi comes over TFTP"
for file in vmlinuz ../token ../../etc/passwd dnsmasq.conf; do
    tftp "$file"
    run test -s "$tap_tmp/got"
    status_is 1 "$file does not"
done
is "$(on_pc curl -s --noproxy '*' http://10.77.0.1:8420/boot/start.ipxe | head -n 1)" '#!ipxe' \
    "the script comes over HTTP"

# ---- dnsmasq and its life -----------------------------------------------------------------------
dnsmasq_pid() { cat "$state/boot/dnsmasq.pid" 2>/dev/null; }
first=$(dnsmasq_pid)
is "$(stat -c %u "/proc/$first")" "$(id -u dnsmasq 2>/dev/null || id -u nobody)" "dnsmasq is not root"
is "$(stat -c %a "$state/boot/dnsmasq.conf")" 600 "its configuration is closed to others"

kill -9 "$first"
# shellcheck disable=SC2317 # tap_wait and run call these
is_another() { [ -n "$(dnsmasq_pid)" ] && [ "$(dnsmasq_pid)" != "$1" ] && readlink "/proc/$(dnsmasq_pid)/exe"; }
tap_wait 10 "a dnsmasq that was killed is started again" is_another "$first"
dhcp $bios
like "$out" '^file=undionly\.kpxe$' "and serves"

# Not even a zombie has that.
# shellcheck disable=SC2317
lives() { readlink "/proc/$1/exe"; }
second=$(dnsmasq_pid)
kill_server
run lives "$second"
status_is 0 "dnsmasq outlives a gridboxd that was killed"
start_server --boot lab0 --boot-files "$tap_tmp/boot" --dhcp-router 10.77.0.9
run lives "$second"
status_is 1 "the next gridboxd ends it"
dhcp $bios
like "$out" '^router=10\.77\.0\.9$' "and starts its own, with its own configuration"
third=$(dnsmasq_pid)
stop_server
is "$server_status" 0 "gridboxd ends in order"
run lives "$third"
status_is 1 "and dnsmasq with it"
is "$(find /run -name 'undionly*' | wc -l)" 0 "nothing lies in /run"

# ---- beside another DHCP server -----------------------------------------------------------------
{
    ip netns add other
    ip link add br0 type bridge forward_delay 0
    ip link set lab0 down
    ip address flush dev lab0
    ip link add lab1 type veth peer name wan0 netns other
    ip -n other addr add 10.77.0.2/24 dev wan0
    ip -n other link set wan0 up
    ip link set lab0 master br0
    ip link set lab1 master br0
    ip addr add 10.77.0.1/24 dev br0
    ip link set lab0 up
    ip link set lab1 up
    ip link set br0 up
} >"$tap_tmp/net.log" 2>&1
ok $? "another DHCP server's network" || sed 's/^/# /' "$tap_tmp/net.log"
ip netns exec other dnsmasq --conf-file=/dev/null --port=0 --interface=wan0 --bind-interfaces \
    --except-interface=lo --dhcp-range=10.77.0.30,10.77.0.40,10m --dhcp-authoritative --no-ping \
    --dhcp-leasefile="$tap_tmp/other.leases" --pid-file="$tap_tmp/other.pid" --keep-in-foreground \
    --log-facility=- >"$tap_tmp/other.log" 2>&1 &
tap_cleanup "kill $! 2>/dev/null"
tap_wait 10 "it is there" test -s "$tap_tmp/other.pid"
start_server --boot br0 --boot-proxy --boot-files "$tap_tmp/boot"
dhcp $bios
like "$out" '^ip=10\.77\.0\.(3[0-9]|40)$' "the address is the other server's"

# A real one: the ROM of QEMU's card is iPXE.  It gets its address there and its script here.
needs qemu-system-x86_64
ip tuntap add dev tap0 mode tap && ip link set tap0 master br0 && ip link set tap0 up
ok $? "a cable for an emulated PC"
qemu-system-x86_64 -machine q35,graphics=off -accel tcg -m 256 -nodefaults -no-user-config -display none \
    -vga none -serial "file:$tap_tmp/serial" -netdev tap,id=n0,ifname=tap0,script=no,downscript=no \
    -device e1000,netdev=n0,mac=52:54:00:00:01:02 -no-reboot >"$tap_tmp/qemu.log" 2>&1 &
tap_cleanup "kill $! 2>/dev/null; wait $! 2>/dev/null"
# shellcheck disable=SC2317
asked() { gridbox events --json 2>/dev/null | grep -q '52:54:00:00:01:02 loads Xen from address 10\.77\.0\.\(3[0-9]\|40\) '; }
tap_wait 60 "a PC gets its address there and its script here" asked
done_testing

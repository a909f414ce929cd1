#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The kernel encrypts what a TLS connection sends: gridboxd and its clients in an emulated machine whose kernel, Debian's, has TLS.
# All of it in one initrd, on one loopback; the machine tells what it saw on its serial line.
# limit: 300
# shellcheck source=tests/rack/functions.sh
. "$(dirname "$0")/functions.sh"

root=$tap_tmp/root
serial=$RACK_DIR/ktls.log
modules=(crypto/gf128mul crypto/ghash-generic crypto/ctr crypto/gcm net/tls/tls)

# shellcheck disable=SC2317 # called by must
add() # PROGRAM: into /bin, wherever it lay (a checkout under /tmp would be hidden by the mount there); its libraries where they are
{
    local file

    cp "$1" "$root/bin" || return 1
    for file in $(ldd "$1" 2>/dev/null | grep -o '/[^ ]*'); do
        [ -e "$root$file" ] || cp -L --parents "$file" "$root" || return 1
    done
}

# shellcheck disable=SC2317 # called by must
add_module() # PATH under kernel/
{
    cp "$build"/unpacked/lib/modules/*/kernel/"$1.ko" "$root/modules/"
}

# shellcheck disable=SC2317 # called by must
pack() # CPIO
{
    (cd "$root" && find . -print0 | cpio --quiet -0 -o -H newc >"$1")
}

# ---- the machine ----------------------------------------------------------------------------------
mkdir -p "$root"/{bin,dev,proc,sys,run,tmp,modules}
must "the unit test is built" make -s -C "$top" build/unit/nbd/tls_test
for program in "$build/gridboxd" "$build/gridbox" "$build/unit/nbd/tls_test" "$(command -v nbdcopy)"; do
    must "${program##*/} is there, with its libraries" add "$program"
done
must "busybox is there" cp "$build/unpacked/bin/busybox" "$root/bin"
for module in "${modules[@]}"; do
    must "the kernel's ${module##*/}" add_module "$module"
done

printf 'alice:00112233445566778899aabbccddeeff\n' >"$root/psk"
printf '[overrides]\ndisabled-version = tls1.3\n' >"$root/tls-1.2"
head -c 8M /dev/urandom >"$root/image"
cat >"$root/init" <<END
#!/bin/busybox sh
modules="${modules[*]##*/}"
/bin/busybox --install -s /bin
END
cat >>"$root/init" <<'END'
export PATH=/bin GRIDBOX_SERVER=unix:/tmp/state/control.sock
fact() { printf 'ktls: %s=%s\n' "$1" "$2"; }
mount -t proc none /proc
mount -t devtmpfs none /dev
for place in run tmp; do mount -t tmpfs none /$place; done
ip link set lo up

start_server()
{
    gridboxd --state /tmp/state --nbd-tls require --nbd-tls-psk /psk >>/tmp/log 2>&1 &
    until gridbox status >/dev/null 2>&1; do
        kill -0 $! || break
        usleep 100000
    done
}

# How many connections the kernel has had, of one kind.
links() { awk -v kind="$1" '$1 == kind { print $2 }' /proc/net/tls_stat; }

# What a client wrote and read, and what the server and its kernel say of it.
try() # NAME
{
    lines=$(wc -l </tmp/log)
    nbdcopy --flush /image "$uri" && nbdcopy "$uri" /tmp/copy && cmp /image /tmp/copy
    fact "$1.status" $?
    tail -n +$((lines + 1)) /tmp/log >/tmp/new
    fact "$1.kernel" "$(grep -c '(TLS, encrypted by the kernel)' /tmp/new)"
    fact "$1.ours" "$(grep -c '(TLS)' /tmp/new)"
    rm -f /tmp/copy
}

start_server
gridbox image import image /image
gridbox volume create v --image image
uri=$(gridbox volume attach v)
uri="nbds://alice@${uri#nbds://}?tls-psk-file=/psk"
try without
for module in $modules; do insmod /modules/$module.ko; done
GRIDBOX_KTLS=1 tls_test
fact unit $?
sent=$(links TlsTxSw)
try with
fact with.sent $(($(links TlsTxSw) - sent))
fact with.received "$(links TlsRxSw)"
GNUTLS_SYSTEM_PRIORITY_FILE=/tls-1.2 try old
fact end 0
cat /tmp/log
reboot -f
END
chmod 755 "$root/init"
must "the machine is packed" pack "$tap_tmp/initrd"
timeout 150 qemu-system-x86_64 -machine q35,graphics=off -accel tcg -cpu qemu64,+rdrand -smp 1 -m 1024 -nodefaults -no-user-config \
    -display none -no-reboot -serial "file:$serial" -kernel "$build/boot/vmlinuz" -initrd "$tap_tmp/initrd" \
    -append "console=ttyS0 quiet panic=-1" </dev/null >"$RACK_DIR/ktls.qemu.log" 2>&1
is "$?" 0 "it comes up, and ends"
fact() { sed -n "s/^ktls: $1=\([0-9]*\)\r*$/\1/p" "$serial"; }
[ "$(fact end)" = 0 ] || diag "$(tail -n 40 "$serial")" "$(cat "$RACK_DIR/ktls.qemu.log")"

# ---- what it saw ----------------------------------------------------------------------------------
is "$(fact without.status)" 0 "a kernel without TLS: all is written and read"
is "$(fact without.kernel)" 0 "the server encrypts"
is "$(fact unit)" 0 "with it: the unit tests, which insist that the kernel encrypts"
is "$(fact with.status)" 0 "all is written and read"
is "$(fact with.ours)" 0 "the server encrypts nothing"
like "$(fact with.kernel)" '^[1-9]' "but the kernel does, says the server"
is "$(fact with.sent)" "$(fact with.kernel)" "and the kernel, of each connection"
is "$(fact with.received)" 0 "what comes is decrypted by the server"
is "$(fact old.status)" 0 "TLS 1.2: all is written and read"
is "$(fact old.kernel)" 0 "encrypted by the server"
done_testing

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/store-full.sh - a full store parks writes, and they go on when there is room
# limit: 120
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs unshare nsenter mkfs.ext4

# The state lies on a small file system, mounted in a mount name space that ends with the server.
cat >"$tap_tmp/inside" <<END
#!/bin/sh
set -e
mkdir -p "$state"
case \$1 in
    tmpfs) mount -t tmpfs -o size=112m,mode=700 none "$state" ;;
    ext4) mount -o loop "$tap_tmp/ext4.img" "$state" && chmod 700 "$state" ;;
esac
shift
exec "\$@"
END
chmod +x "$tap_tmp/inside"
truncate -s 120M "$tap_tmp/ext4.img"
mkfs.ext4 -q -m 0 "$tap_tmp/ext4.img"
truncate -s 256M "$tap_tmp/zero.raw"

inside() { nsenter -t "$server_pid" -m -- "$@"; }
# Its socket is only there as well.
# shellcheck disable=SC2086 # a list of words
gridbox() { inside $as_is "$build/gridbox" "$@"; }
# shellcheck disable=SC2317 # tap_wait calls these
parked() { [ "$(volume_is v .parked)" = true ]; }
# shellcheck disable=SC2317
not_parked() { [ "$(volume_is v .parked)" = false ]; }
free_mib() { echo $(($(gridbox store status --json | jq .free_bytes) / 1048576)); }

fill() # FILE SYSTEM
{
    fs=$1
    rm -f "$tap_tmp/done"
    server_wrapper="unshare -m --propagation private $tap_tmp/inside $fs"
    launch_server
    await_server
    ok $? "$fs: a server whose state is small: $(free_mib) MiB free"
    import_image zero "$tap_tmp/zero.raw"
    ballast=$(new_volume ballast zero)
    nbd_write "$ballast" 0 "$(($(free_mib) - 40))M" 0x01
    ok $? "$fs: a volume takes up room: $(free_mib) MiB left"
    gridbox volume detach ballast
    uri=$(new_volume v zero)

    nbdsh -u "$uri" -c '
for i in range(64): h.pwrite(bytes([1 + i]) * 1048576, i * 1048576)
h.flush()
open("'"$tap_tmp"'/done", "w").close()
' >"$tap_tmp/client" 2>&1 &
    client=$!
    tap_wait 20 "$fs: a client writes more than there is room for, and is parked" parked
    [ ! -e "$tap_tmp/done" ] && kill -0 "$client"
    ok $? "$fs: it waits, without an error"
    is "$(volume_is v .state)" ok "$fs: the volume has not failed"
    run gridbox events --json
    like "$(json '.events[] | select(.kind | test("park")) | "\(.object) \(.text)"')" '^v .*(full|room|space)' \
        "$fs: an event says why"
    run gridbox status
    like "$status $out$err" 'wait.* for room' "$fs: and so does the status"
    expect_byte "$(gridbox image attach zero)" 0 1M 0x00 "$fs: who reads goes on"

    run gridbox volume snapshot full v
    is "$status $out$err" "0 snapshot full holds 1 volume" "$fs: a snapshot does not wait for what is parked"
    run gridbox volume remove ballast
    status_is 0 "$fs: another volume is removed, with the store full"
    tap_wait 20 "$fs: and the writes go on" test -e "$tap_tmp/done" || kill "$client"
    wait "$client"
    is "$? $(cat "$tap_tmp/client")" "0 " "$fs: to their end, without an error"
    tap_wait 10 "$fs: it is parked no more" not_parked
    for i in 0 41 63; do
        expect_byte "$uri" ${i}M 1M $((1 + i)) "$fs: what was written is there: MiB $i"
    done
    gridbox volume clone v@full copy >/dev/null
    expect_byte "$(gridbox volume attach copy)" 63M 1M 0x00 "$fs: the snapshot holds nothing of what waited"
    run gridbox status
    status_is 0 "$fs: the server is well"
    stop_server
    is "$server_status" 0 "$fs: and stops cleanly"
}
# shellcheck disable=SC2016 # evaluated at the end
tap_cleanup 'kill "$client" 2>/dev/null; wait "$client" 2>/dev/null'
fill tmpfs
mkdir "$tap_tmp/probe"
if unshare -m mount -o loop "$tap_tmp/ext4.img" "$tap_tmp/probe" 2>/dev/null; then
    fill ext4
else
    diag "this kernel has no loop devices: on tmpfs alone"
fi
done_testing

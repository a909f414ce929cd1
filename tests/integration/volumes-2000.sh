#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/volumes-2000.sh - 2,000 volumes attached, opened, connected and written at once; what an
# idle one costs in memory
# limit: 180
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
volumes=2000
volume_kib=32
connection_kib=64
written_kib=96 # all of it: open, connected, and its first block written

start_server
make_image "$tap_tmp/one.raw" 64
import_image golden "$tap_tmp/one.raw"

# Memory of the server itself, without files, in KiB.
memory() { awk '/^Rss(Anon|Shmem):/ { kib += $2 } END { print kib }' "/proc/$server_pid/status"; }

# What each of them takes; the limits are those of a program without a sanitizer.
at_most() # KIB LIMIT WHAT
{
    diag "$3: $(awk "BEGIN { printf \"%.1f\", $1 / $volumes }") KiB each"
    [ "${GRIDBOX_BUILD:-build}" != build ] || [ "$1" -le $((volumes * $2)) ]
    ok $? "$3: at most $2 KiB each"
}

for n in 0 1 2 3; do
    gridbox volume create "pc-$n-%d" --image golden --count $((volumes / 4)) >/dev/null || diag "not created"
done
gridbox volume attach --all >"$tap_tmp/uris"
is "$(wc -l <"$tap_tmp/uris")" "$volumes" "$volumes URIs"

# once: opens each volume and lets it go; it stays open in the server until it is detached.  all: holds
# a connection to each, and goes on, when it is given a line, to write to each, and with the next line
# to end; what it has done it says.
cat >"$tap_tmp/client.py" <<'END'
import resource, sys, nbd
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
directory, uris = sys.argv[2], open(sys.argv[2] + "/uris").read().split()
golden = open(directory + "/one.raw", "rb").read(4096)

def opened(uri):
    h = nbd.NBD()
    h.connect_uri(uri)
    if h.pread(4096, 0) != golden: sys.exit("not the image's first block")
    return h

def done(what):
    print(what, flush=True)
    sys.stdin.readline()

if sys.argv[1] == "once":
    for uri in uris: opened(uri).shutdown()
    sys.exit()
handles = [opened(uri) for uri in uris]
done("connected")
for i, h in enumerate(handles): h.pwrite(i.to_bytes(4, "little") * 1024, 8192)
for h in handles: h.flush()
for i, h in enumerate(handles):
    if h.pread(4096, 8192) != i.to_bytes(4, "little") * 1024: sys.exit("volume %d: not what was written" % i)
done("written")
END

# What the server needs once for all is there after the first.
nbd_is_byte "$(gridbox volume create first --image golden >/dev/null && gridbox volume attach first)" 63000000 512 0
empty=$(memory)
run nbd_python "$tap_tmp/client.py" once "$tap_tmp"
is "$status$err" 0 "each can be opened"
at_most $(($(memory) - empty)) "$volume_kib" "idle volumes that are open"

before=$(memory)
mkfifo "$tap_tmp/say" "$tap_tmp/said"
nbd_python "$tap_tmp/client.py" all "$tap_tmp" <"$tap_tmp/say" >"$tap_tmp/said" 2>"$tap_tmp/client" &
client=$!
tap_cleanup "kill $client 2>/dev/null; wait $client 2>/dev/null"
exec 3>"$tap_tmp/say" 4<"$tap_tmp/said"
read -r said <&4
is "$said" connected "$volumes connections at once"
at_most $(($(memory) - before)) "$connection_kib" "idle connections"
is "$(gridbox volume list --json | jq '[.volumes[] | select(.attachment.connected)] | length')" "$volumes" \
    "all are in use"
echo write >&3
read -r said <&4
is "$said" written "all are written"
at_most $(($(memory) - empty)) "$written_kib" "volumes that are open, connected and written"
run gridbox volume snapshot all --all
is "$status $out$err" "0 snapshot all holds $((volumes + 1)) volumes" "a snapshot of all"
echo stop >&3
wait "$client"
is "$? $(cat "$tap_tmp/client")" "0 " "no client saw an error"
run gridbox status
status_is 0 "the server is well"
done_testing

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/conformance/nbd-rude.sh - garbage, half a write, beyond the end, 1,000 idle connections: nobody else notices
# limit: 120
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs nbdsh

start_server
truncate -s 16M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
good=$(new_volume good zero)
bad=$(new_volume bad zero)
nbd_write "$good" 0 4096 0x11

# rude.py NAME HOST PORT EXPORT: one rude client, by name.
cat >"$tap_tmp/rude.py" <<'PY'
import os, resource, socket, struct, sys

what, host, port, export = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
READ, WRITE, DISC, FLUSH = 0, 1, 2, 3

def dial():
    s = socket.create_connection((host, port), timeout=10)
    return s

def get(s, n):
    data = b""
    while len(data) < n:
        more = s.recv(n - len(data))
        assert more, "the connection ended after %d of %d bytes" % (len(data), n)
        data += more
    return data

def ended(s):
    try:
        while s.recv(65536):
            pass
    except ConnectionResetError:
        pass

def opened():
    s = dial()
    get(s, 18)
    name = export.encode()
    s.sendall(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 1, len(name)) + name)
    get(s, 10)
    return s

def request(kind, cookie, offset, length):
    return struct.pack(">IHHQQI", 0x25609513, 0, kind, cookie, offset, length)

def reply(s, cookie):
    magic, error, got = struct.unpack(">IIQ", get(s, 16))
    assert magic == 0x67446698 and got == cookie
    return error

if what == "garbage":
    for n in range(20):
        s = dial() if n % 2 else opened()
        s.sendall(os.urandom(5000))
        ended(s)
elif what == "http":
    s = dial()
    s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    ended(s)
elif what == "half-a-write":
    for length in (4096, 1 << 20):
        s = opened()
        s.sendall(request(WRITE, 1, 0, length) + b"\xee" * 3000)
        s.close()
    s = opened()
    s.sendall(request(READ, 2, 0, 4096))
    assert reply(s, 2) == 0 and get(s, 4096) == bytes(4096), "half a write is on the disk"
elif what == "beyond-the-end":
    s = opened()
    for offset, length in ((16 << 20, 512), ((16 << 20) - 512, 1024), (2**64 - 512, 1024)):
        s.sendall(request(READ, 3, offset, length))
        assert reply(s, 3) == 22
    s.sendall(request(READ, 4, 0, 512))
    assert reply(s, 4) == 0
elif what == "huge-write":
    s = opened()
    s.sendall(request(WRITE, 5, 0, 0xfffffe00) + bytes(100000))
    assert reply(s, 5) in (22, 28)
    ended(s)
elif what == "no-reader":
    s = opened()
    s.settimeout(1)
    try:
        for n in range(20000):
            s.sendall(request(READ, n, 0, 1 << 20))
    except socket.timeout:
        pass
elif what == "long-option":
    s = dial()
    get(s, 18)
    s.sendall(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 6, 200000) + bytes(200000))
    magic, option, kind, length = struct.unpack(">QIII", get(s, 20))
    assert option == 6 and kind == 0x80000009
    get(s, length)
    s.sendall(b"IHAVEOPT" + struct.pack(">II", 3, 0))
    assert struct.unpack(">QIII", get(s, 20)) == (0x3e889045565a9, 3, 1, 0)
elif what == "idle":
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    crowd = [dial() for _ in range(1000)]
    print("ready", flush=True)
    sys.stdin.read()
PY
export_of() { printf '%s' "${1##*/}"; }
rude() { python3 "$tap_tmp/rude.py" "$1" "$address" 10809 "$(export_of "$bad")"; }

still_good()
{
    nbd_is_byte "$good" 0 4096 0x11 && nbd_write "$good" 8192 4096 0x22 &&
        nbd_is_byte "$good" 8192 4096 0x22
}

for what in garbage http half-a-write beyond-the-end huge-write long-option no-reader; do
    run rude "$what"
    status_is 0 "$what is dealt with"
    still_good
    ok $? "$what: the other volume goes on"
done

mkfifo "$tap_tmp/crowd"
rude idle <"$tap_tmp/crowd" >"$tap_tmp/crowd.out" 2>&1 &
crowd=$!
exec 3>"$tap_tmp/crowd"
tap_wait 30 "1,000 idle connections are there" grep -q ready "$tap_tmp/crowd.out"
still_good
ok $? "idle: the other volume goes on"
run gridbox status
status_is 0 "idle: the server answers and is healthy"
exec 3>&-
wait "$crowd"

# Reads of an image's blocks that lie in memory, sent behind a write that uses up the client's share
# of ours: none of them may keep the image's files.
make_image "$tap_tmp/data.raw" 32
layers() { find "$state/layers" -type f | wc -l; }
before=$(layers)
import_image greedy "$tap_tmp/data.raw"
greedy=$(new_volume greedy greedy)
run nbdsh -u "$greedy" -c '
h.pread(1 << 20, 0)
write = nbd.Buffer(16 << 20)
reads = [nbd.Buffer(4096) for _ in range(8)]
for n in range(20):
    todo = [h.aio_pwrite(write, 8 << 20)]
    todo += [h.aio_pread(buf, i * 4096) for i, buf in enumerate(reads)]
    while h.aio_in_flight() > 0: h.poll(-1)
    assert all([h.aio_command_completed(c) for c in todo])
'
status_is 0 "reads behind a write that is larger than a client's share"
gridbox volume detach greedy >/dev/null && gridbox volume remove greedy >/dev/null &&
    gridbox image remove greedy >/dev/null
ok $? "and the image can be removed"
# shellcheck disable=SC2317 # tap_wait calls it
gone() { [ "$(layers)" -eq "$before" ]; }
tap_wait 20 "its files with it: no read holds them any more" gone

server_runs
ok $? "the server has survived all of it"
done_testing

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/conformance/nbd-hand-over.sh - one connection a volume: a new one ends the old one, nothing else does
# limit: 60
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs nbdsh
# shellcheck disable=SC2317 # called through run
nbdsh() { /usr/bin/python3 -m nbd "$@"; }

start_server
truncate -s 16M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
volume=$(new_volume v zero)
image=$(gridbox image attach zero)

cat >"$tap_tmp/two.py" <<'PY'
a = nbd.NBD()
a.connect_uri(uri)
a.pwrite(b"\x01" * 4096, 0)

# Neither INFO, nor LIST, nor a wrong name touches the one that is there.
i = nbd.NBD()
i.set_opt_mode(True)
i.connect_uri(uri)
i.opt_info()
i.opt_list(lambda name, description: 0)
i.set_export_name("v." + "0" * 32)
for ask in (i.opt_info, i.opt_go):
    try:
        ask()
        assert False, "a wrong token was let in"
    except nbd.Error:
        pass
i.opt_abort()
a.flush()

# A second GO ends the first connection, and sees all that it had written.
b = nbd.NBD()
b.connect_uri(uri)
try:
    a.pwrite(b"\x02" * 4096, 0)
    a.flush()
    assert False, "the first connection still writes"
except nbd.Error:
    pass
assert b.pread(4096, 0) == b"\x01" * 4096
b.pwrite(b"\x03" * 4096, 0)

# So does EXPORT_NAME.
c = nbd.NBD()
c.set_handshake_flags(0)
c.connect_uri(uri)
try:
    b.pread(4096, 0)
    assert False, "the second connection still reads"
except nbd.Error:
    pass
assert c.pread(4096, 0) == b"\x03" * 4096
c.shutdown()
PY
run nbdsh -n -c "uri = '$volume'" -c - <"$tap_tmp/two.py"
status_is 0 "only GO and EXPORT_NAME end the previous connection of a volume"

# Thirty times, with a load on the old connection: what the new one writes is never undone.
cat >"$tap_tmp/race.py" <<'PY'
old = None
for turn in range(30):
    new = nbd.NBD()
    new.connect_uri(uri)
    if old:
        try:
            while True:
                old.poll(0)
                if old.aio_is_dead() or old.aio_is_closed():
                    break
        except nbd.Error:
            pass
    new.pwrite(bytes([100 + turn]) * 65536, 0)
    assert new.pread(65536, 0) == bytes([100 + turn]) * 65536, turn
    data = nbd.Buffer.from_bytearray(bytearray([turn]) * 65536)
    for _ in range(40):
        new.aio_pwrite(data, 0)
    old = new
PY
run nbdsh -n -c "uri = '$volume'" -c - <"$tap_tmp/race.py"
status_is 0 "no write of an old connection comes after the first write of a new one"

cat >"$tap_tmp/images.py" <<'PY'
clients = []
for _ in range(8):
    h = nbd.NBD()
    h.connect_uri(uri)
    clients.append(h)
for h in clients:
    assert h.can_multi_conn() and h.pread(4096, 0) == bytes(4096)
PY
run nbdsh -n -c "uri = '$image'" -c - <"$tap_tmp/images.py"
status_is 0 "an image serves eight connections at once"

gridbox volume detach v >/dev/null
run nbdinfo "$volume"
is "$((status != 0))" 1 "after detach the URI is refused"
LIBNBD_DEBUG=1 nbdinfo "$volume" >"$tap_tmp/why" 2>&1
like "$(cat "$tap_tmp/why")" "detach|attachment|over" "and the answer to GO says why, in words"
done_testing

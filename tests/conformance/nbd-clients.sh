#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/conformance/nbd-clients.sh - other people's clients work: nbdinfo, nbdcopy, nbdsh, qemu-img, qemu-io
# limit: 120
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs nbdsh qemu-img
# The Debian module, whatever other Python comes first on this machine's path.
# shellcheck disable=SC2317 # called through run
nbdsh() { /usr/bin/python3 -m nbd "$@"; }

golden=$tap_tmp/golden.raw
make_image "$golden" 64
start_server
import_image golden "$golden"
image=$(gridbox image attach golden)
volume=$(new_volume v golden)

# ---- what they are told -------------------------------------------------------------------------
run nbdinfo --json "$image"
is "$(json '.exports[0] | "\(."export-size") \(.is_read_only) \(.can_multi_conn) \(.can_trim)"')" \
    "67108864 true true false" "nbdinfo: an image is read-only and may be shared"
run nbdinfo --json "$volume"
is "$(json '.exports[0] | "\(."export-size") \(.is_read_only) \(.can_multi_conn) \(.can_flush) \(.can_fua)"')" \
    "67108864 false false true true" "nbdinfo: a volume is writable, for one connection, and can flush"
is "$(json '.exports[0] | "\(.can_trim) \(.can_zero) \(.can_cache) \(.can_df) \(.can_fast_zero)"')" \
    "true true true true false" "nbdinfo: trim, zero, cache, df, and no fast zero"
is "$(json '.exports[0] | [.block_size_minimum, .block_size_preferred, .block_size_maximum] | @text')" \
    "[512,4096,33554432]" "nbdinfo: the block sizes"
run nbdinfo --json --list "nbd://$nbd"
is "$(json '.exports | length')" 0 "nbdinfo --list: no names"

# ---- whole disks --------------------------------------------------------------------------------
nbdcopy "$image" "$tap_tmp/out.raw" && cmp "$golden" "$tap_tmp/out.raw"
ok $? "nbdcopy reads an image, over several connections"
nbdcopy "$volume" "$tap_tmp/out.raw" && cmp "$golden" "$tap_tmp/out.raw"
ok $? "nbdcopy reads a fresh volume"
make_image "$tap_tmp/other.raw" 64 77
nbdcopy --flush "$tap_tmp/other.raw" "$volume" && nbdcopy "$volume" "$tap_tmp/out.raw" &&
    cmp "$tap_tmp/other.raw" "$tap_tmp/out.raw"
ok $? "nbdcopy writes a volume and reads it back"
run qemu-img compare -f raw -F raw "$image" "$golden"
status_is 0 "qemu-img compare: the image has not changed"
run qemu-img compare -f raw -F raw "$volume" "$tap_tmp/other.raw"
status_is 0 "qemu-img compare: the volume is what was written"
run nbdinfo --map --totals "$image"
like "$out" "hole,zero" "nbdinfo --map: the image's holes are holes"
run qemu-img map -f raw --output=json "$image"
is "$(json '[.[] | .length] | add')" 67108864 "qemu-img map covers the whole disk"
is "$(json '[.[] | select(.zero | not) | .length] | add < 8000000')" true "and knows where data is"

# ---- single commands ----------------------------------------------------------------------------
run qemu-io -f raw -c 'write -P 0xab 1M 64k' -c 'write -f -P 0xcd 100k 512' -c 'write -z 2M 1M' \
    -c 'discard 4M 1M' -c flush -c 'read -P 0xab 1M 64k' -c 'read -P 0xcd 100k 512' \
    -c 'read -P 0 2M 1M' -c 'read -P 0 4M 1M' "$volume"
unlike "$out$err" "[Ff]ail|error" "qemu-io: write, write with FUA, zero, discard, flush, read"

cat >"$tap_tmp/commands.py" <<'PY'
h.pwrite(b"\x11" * 8192, 0)
h.pwrite(b"\x22" * 512, 512, nbd.CMD_FLAG_FUA)
h.zero(4096, 4096, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
h.trim(1 << 20, 8 << 20, nbd.CMD_FLAG_FUA)
h.cache(1 << 20, 0)
h.flush()
chunks = []
h.pread_structured(65536, 0, lambda data, offset, status, err: chunks.append(len(data)),
                   nbd.CMD_FLAG_DF)
assert chunks == [65536], chunks
assert h.pread(8192, 0) == b"\x11" * 512 + b"\x22" * 512 + b"\x11" * 3072 + bytes(4096)
assert h.pread(1 << 20, 8 << 20) == bytes(1 << 20)
extents = []
h.block_status(16 << 20, 0, lambda context, offset, e, err: extents.extend(e))
assert sum(extents[0::2]) <= 16 << 20 and 0 not in extents[0::2]
one = []
h.block_status(4096, 8 << 20, lambda context, offset, e, err: one.extend(e), nbd.CMD_FLAG_REQ_ONE)
assert one == [4096, nbd.STATE_HOLE | nbd.STATE_ZERO], one
assert h.pread(32 << 20, 0)[512:1024] == b"\x22" * 512
PY
run nbdsh --base-allocation -u "$volume" -c - <"$tap_tmp/commands.py"
status_is 0 "nbdsh: FUA, zero, trim, cache, flush, DF, block status, a read of 32 MiB"

cat >"$tap_tmp/errors.py" <<'PY'
h.set_strict_mode(0)
size = h.get_size()
def errno_of(f):
    try:
        f()
    except nbd.Error as e:
        return e.errno
    return None
cases = [("read beyond the end", lambda: h.pread(1024, size - 512), "EINVAL"),
         ("write beyond the end", lambda: h.pwrite(bytes(512), size), "ENOSPC"),
         ("zero beyond the end", lambda: h.zero(1024, size - 512), "ENOSPC"),
         ("trim beyond the end", lambda: h.trim(512, size), "EINVAL"),
         ("unaligned read", lambda: h.pread(512, 1), "EINVAL"),
         ("unaligned write", lambda: h.pwrite(bytes(100), 0), "EINVAL"),
         ("read of more than 32 MiB", lambda: h.pread(33 << 20, 0), "EOVERFLOW"),
         ("fast zero", lambda: h.zero(4096, 0, nbd.CMD_FLAG_FAST_ZERO), "EINVAL")]
for what, f, want in cases:
    got = errno_of(f)
    assert got == want, "%s: %s, not %s" % (what, got, want)
assert h.pread(512, 0) is not None
PY
run nbdsh -u "$volume" -c - <"$tap_tmp/errors.py"
status_is 0 "nbdsh: what cannot be done gets the right error, and the connection stays"

cat >"$tap_tmp/read-only.py" <<'PY'
h.set_strict_mode(0)
for f in (lambda: h.pwrite(bytes(512), 0), lambda: h.trim(512, 0), lambda: h.zero(512, 0)):
    try:
        f()
        assert False, "an image was written"
    except nbd.Error as e:
        assert e.errno == "EPERM", e.errno
h.pread(512, 0)
PY
run nbdsh -u "$image" -c - <"$tap_tmp/read-only.py"
status_is 0 "nbdsh: an image refuses every change"

cat >"$tap_tmp/simple.py" <<'PY'
h.set_request_structured_replies(False)
h.connect_uri(uri)
assert not h.get_structured_replies_negotiated()
h.pwrite(b"\x33" * 1024, 0)
assert h.pread(1024, 0) == b"\x33" * 1024
h.shutdown()
PY
run nbdsh -c "uri = '$volume'" -c - <"$tap_tmp/simple.py"
status_is 0 "nbdsh: simple replies, as the kernel's client wants them"

cat >"$tap_tmp/old.py" <<'PY'
h.set_handshake_flags(0)
h.connect_uri(uri)
assert h.pread(1024, 0) == b"\x33" * 1024
h.shutdown()
PY
run nbdsh -c "uri = '$volume'" -c - <"$tap_tmp/old.py"
status_is 0 "nbdsh: EXPORT_NAME, for clients that know nothing else"
done_testing

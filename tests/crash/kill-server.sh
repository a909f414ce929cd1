#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# limit: 600
# tests/crash/kill-server.sh - the server is killed again and again while a volume is written: whatever
# was flushed is there, and every sector holds something that was written to it.  KILLS says how often
# (20); SEED repeats a run.
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

python=/usr/bin/python3 # the one that libnbd's module belongs to
kills=${KILLS:-20}
seed=${SEED:-$RANDOM}
RANDOM=$seed
diag "SEED=$seed"
flushed() { "$python" "$top/tests/crash/flushed.py" "$@"; }

start_server
truncate -s 16M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
gridbox volume create v --image zero >/dev/null
gridbox volume create quiet --image zero >/dev/null
quiet=$(gridbox volume attach quiet)
nbd_write "$quiet" 0 65536 0x77
stop_server # so that it is clean
start_server

for ((kill = 1; kill <= kills; kill++)); do
    uri=$(gridbox volume attach v)
    rm -f "$tap_tmp/ready"
    flushed write "$uri" "$tap_tmp/expected" "$tap_tmp/ready" "$((seed + kill))" &
    writer=$!
    for ((i = 0; i < 400; i++)); do
        [ ! -e "$tap_tmp/ready" ] || break
        timeout 0.05 tail -f /dev/null
    done
    timeout "0.$(printf '%03d' $((RANDOM % 400)))" tail -f /dev/null # anywhere in its work
    kill_server
    wait "$writer"
    start_server
    uri=$(gridbox volume attach v) && flushed verify "$uri" "$tap_tmp/expected" 2>"$tap_tmp/why"
    ok $? "after kill $kill" || diag "$(cat "$tap_tmp/why") (SEED=$seed)"
    gridbox volume detach v
done

uri=$(gridbox volume attach v)
nbd_write "$uri" 512 512 0x99
flushed verify "$uri" "$tap_tmp/expected" 2>"$tap_tmp/why" && rc=1 || rc=0
ok "$rc" "a sector that nobody wrote would have been seen"
run gridbox volume list --json
is "$(json '.volumes[0].epoch')" $((kills + 1)) "each kill began an epoch"
is "$(json '.volumes[1].epoch')" 1 "but not of the volume that was quiet"
expect_byte "$quiet" 0 65536 0x77 "which is as it was, by its first URI"
done_testing

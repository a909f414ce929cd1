#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/volume-snapshot.sh - a snapshot of many volumes is one instant over all of them, and
# who writes them keeps the connection
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
counter=$top/tests/lib/round_robin.py

start_server
truncate -s 16M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
gridbox volume create 'v%d' --image zero --count 8 >/dev/null
gridbox volume create other --image zero >/dev/null
uris=$(gridbox volume attach v0 v1 v2 v3 v4 v5 v6 v7)

# shellcheck disable=SC2086 # a list of words
nbd_python "$counter" write "$tap_tmp" $uris >"$tap_tmp/writer" 2>&1 &
writer=$!
tap_cleanup "kill $writer 2>/dev/null; wait $writer 2>/dev/null"
lives=$(volume_is v0 '"\(.generation) \(.epoch)"')
# shellcheck disable=SC2317 # tap_wait calls it
beyond() { [ -s "$tap_tmp/at" ] && [ "$(cat "$tap_tmp/at")" -gt "$1" ]; }
tap_wait 20 "a client writes" beyond 400

run gridbox volume snapshot one v0 v1 v2 v3 v4 v5 v6 v7
is "$status $out" "0 snapshot one holds 8 volumes" "a snapshot of eight that are written"
for name in two three four; do
    tap_wait 20 "it writes on" beyond $(($(cat "$tap_tmp/at") + 400))
    run gridbox volume snapshot "$name" --all
    is "$status $out" "0 snapshot $name holds 9 volumes" "snapshot $name, of all"
done
tap_wait 20 "it writes on after the last" beyond $(($(cat "$tap_tmp/at") + 400))
touch "$tap_tmp/stop"
wait "$writer"
is "$? $(cat "$tap_tmp/writer")" "0 " "no connection was lost, no write failed"

# Each snapshot is looked at through clones.
before=0
for name in one two three four; do
    clones=
    for i in 0 1 2 3 4 5 6 7; do
        gridbox volume clone "v$i@$name" "$name-$i" >/dev/null || diag "no clone of v$i@$name"
        clones="$clones $name-$i"
    done
    # shellcheck disable=SC2046,SC2086 # lists of words
    run nbd_python "$counter" check $(gridbox volume attach $clones)
    is "$status" 0 "snapshot $name is of one instant: $out$err"
    [ "${out:-0}" -gt "$before" ]
    ok $? "and later than the one before"
    before=${out:-0}
done
# shellcheck disable=SC2086 # a list of words
run nbd_python "$counter" check $uris
is "$status" 0 "the volumes themselves hold all that was written: $out$err"

run gridbox snapshot list --json
is "$(json '[.snapshots[] | "\(.name) \(.volumes)"] | join(", ")')" "one 8, two 9, three 9, four 9" \
    "they are listed, oldest first"
run gridbox snapshot show one --json
is "$(json '[.volumes[].volume] | sort | join(" ")')" "v0 v1 v2 v3 v4 v5 v6 v7" "each with its volumes"
is "$(volume_is v0 .snapshots)" 4 "a volume knows how many hold it"
is "$(volume_is v0 '"\(.generation) \(.epoch)"')" "$lives" "neither generation nor epoch has grown"
run gridbox events --json
is "$(json '[.events[] | select(.kind | test("snapshot"))] | length')" 4 "each is an event"
done_testing

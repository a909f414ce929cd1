#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# limit: 1800
# tests/crash/kill-server.sh - the server is killed again and again under clients of 16 volumes that
# write and verify: nothing that was answered is lost, flushed or not; no epoch begins; the same URIs go
# on.  KILLS says how often (20); SEED repeats a run.
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs "$build/nbd_load"

kills=${KILLS:-20}
seed=${SEED:-$RANDOM}
RANDOM=$seed
volumes=16
diag "SEED=$seed"

# Waits for the clients' next line "up …"; false when they have ended, or a minute has passed.
await_up()
{
    local word
    read -r -t 60 word _ up_ms <&"$lines" && [ "$word" = up ]
}

now_ms() { echo $(($(date +%s%N) / 1000000)); }

start_server
truncate -s 4M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
uris=()
for ((i = 0; i < volumes; i++)); do
    uris+=("$(new_volume "v$i" zero)")
done
mkfifo "$tap_tmp/lines"
"$build/nbd_load" kills "$seed" "${uris[@]}" >"$tap_tmp/lines" 2>"$tap_tmp/why" &
load=$!
exec {lines}<"$tap_tmp/lines"
await_up
ok $? "$volumes clients write and verify" || bail_out "$(cat "$tap_tmp/why")"

longest_start=0
longest_stall=0
died=
for ((kill = 1; kill <= kills; kill++)); do
    # Anywhere in their work, also before all of them are back.
    timeout "0.$(printf '%03d' $((1 + RANDOM % 300)))" tail -f /dev/null
    kill_server
    began=$(now_ms)
    start_server
    start_ms=$(($(now_ms) - began))
    [ "$start_ms" -le "$longest_start" ] || longest_start=$start_ms
    ((kill % 4 == 0)) || continue # now and then they come to an end of their reading
    up_ms=0
    if ! await_up; then
        died="after kill $kill: $(cat "$tap_tmp/why")"
        break
    fi
    [ "$up_ms" -le "$longest_stall" ] || longest_stall=$up_ms
done
[ -z "$died" ] && kill -0 "$load" 2>/dev/null
ok $? "$kills kills: every answered write was there, whenever it was read" ||
    diag "$died $(cat "$tap_tmp/why") (SEED=$seed)"
kill -TERM "$load" 2>/dev/null
wait "$load"
ok $? "the clients saw no error" || diag "$(cat "$tap_tmp/why") (SEED=$seed)"
exec {lines}<&-

run gridbox volume list --json
is "$(json '[.volumes[].epoch] | unique | map(tostring) | join(" ")')" 1 "no volume began an epoch"
[ "$longest_start" -lt 15000 ]
ok $? "a new server serves again soon"
diag "| $kills kills under $volumes clients: a new server answered after $longest_start ms at most, a client waited $longest_stall ms at most"
done_testing

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# limit: 900
# tests/crash/kill-verbs.sh - the server is killed in the middle of snapshots, rollbacks, resets, clones,
# promotions and removals: each has happened as a whole or not at all, what was answered has happened,
# and everything shows what it should.  STEPS says how many (60); SEED repeats a run.
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs jq /usr/bin/python3

steps=${STEPS:-60}
seed=${SEED:-$RANDOM}
diag "SEED=$seed"

start_server
for ((block = 1; block <= 16; block++)); do
    head -c 65536 /dev/zero | tr '\0' "\\$(printf '%03o' $block)"
done >"$tap_tmp/blocks.raw"
import_image blocks "$tap_tmp/blocks.raw"

mkfifo "$tap_tmp/orders" "$tap_tmp/answers"
/usr/bin/python3 "$(dirname "$0")/verbs.py" "$tap_tmp/state/control.sock" blocks@1 "$seed" "$steps" \
    <"$tap_tmp/answers" >"$tap_tmp/orders" 2>"$tap_tmp/why" &
verbs=$!
tap_cleanup "kill $verbs 2>/dev/null"
exec {answers}>"$tap_tmp/answers" {orders}<"$tap_tmp/orders"
kills=0
word=
while read -r -t 120 word rest <&"$orders" && [ "$word" = kill ]; do
    kill_server
    start_server
    kills=$((kills + 1))
    echo up >&"$answers"
done
is "$word" "done" "$steps steps, $kills kills: all or nothing, and nothing answered is lost" ||
    diag "$(cat "$tap_tmp/why")"
diag "$rest"
ok $((kills > 0 ? 0 : 1)) "it was killed in the middle"

# shellcheck disable=SC2317 # tap_wait calls it
quiet() { [ "$(gridbox store status --json | jq .dead)" = 0 ]; }
tap_wait 20 "what nothing needs goes away" quiet
run gridbox store scrub
status_is 0 "the store is sound"
is "$(find "$tap_tmp/state/lost+found" -type f 2>/dev/null | wc -l)" 0 "nothing lies about"
done_testing

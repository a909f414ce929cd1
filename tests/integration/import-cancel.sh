#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/import-cancel.sh - Ctrl-C ends an import, and nothing of it is left
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs nbdkit

start_server
files_before=$(find "$state/layers" "$state/tmp" | sort)

# A disk that would take minutes to read.
nbdkit --exit-with-parent -f -U "$tap_tmp/slow.sock" --filter=delay pattern 1G rdelay=500ms \
    >"$tap_tmp/nbdkit.log" 2>&1 &
nbdkit_pid=$!
tap_cleanup "kill $nbdkit_pid 2>/dev/null; wait $nbdkit_pid 2>/dev/null"
tap_wait 10 "a slow NBD server listens" test -S "$tap_tmp/slow.sock"

# A background job of sh ignores SIGINT unless it is told not to.
# shellcheck disable=SC2086 # a list of words
import() { exec env --default-signal=INT $as_is "$build/gridbox" image import slow "nbd+unix:///?socket=$tap_tmp/slow.sock"; }
# shellcheck disable=SC2317 # tap_wait calls it
under_way() { [ -n "$(find "$state/layers" "$state/tmp" -type f)" ]; }

for signal in INT TERM; do
    import >"$tap_tmp/out" 2>"$tap_tmp/err" &
    import_pid=$!
    tap_wait 20 "SIG$signal: an import is under way" under_way
    kill "-$signal" "$import_pid"
    timeout 20 tail --pid="$import_pid" -s 0.05 -f /dev/null
    ok $? "it ends"
    wait "$import_pid"
    is $? 1 "with exit status 1"
    like "$(cat "$tap_tmp/err")" '^gridbox: .*cancelled' "and says that it was cancelled"
    is "$(cat "$tap_tmp/out")" "" "no image is named"
    is "$(find "$state/layers" "$state/tmp" | sort)" "$files_before" "no file is left"
done

run gridbox image list --json
is "$(json '.images | length')" 0 "there is no image"
run gridbox volume create v --image slow
status_is 1 "nor can one use it"

truncate -s 16M "$tap_tmp/zero.raw"
run gridbox image import slow "$tap_tmp/zero.raw"
is "$out" "slow@1" "the next import is version 1"
done_testing

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/progress.sh - a long import shows a progress bar on a terminal, and nowhere else
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs nbdkit script

start_server
nbdkit --exit-with-parent -f -U "$tap_tmp/slow.sock" -P "$tap_tmp/nbd.pid" --filter=rate pattern 24M \
    rate=64M burstiness=0.1 >"$tap_tmp/nbdkit.log" 2>&1 &
nbdkit_pid=$!
tap_cleanup "kill $nbdkit_pid 2>/dev/null; wait $nbdkit_pid 2>/dev/null"
tap_wait 10 "a slow NBD server listens" test -s "$tap_tmp/nbd.pid"
uri="nbd+unix:///?socket=$tap_tmp/slow.sock"

# On a terminal: 24 MiB at 8 MiB a second, evenly: more than the requests that are under way at a time,
# which might all be answered together, within the first second or at the end.
cat >"$tap_tmp/import" <<END
exec $as_is "$build/gridbox" image import slow "$uri"
END
script -qec "sh $tap_tmp/import" "$tap_tmp/tty" </dev/null >/dev/null 2>&1
is $? 0 "an import on a terminal"
lines=$(tr '\r' '\n' <"$tap_tmp/tty")
like "$lines" '^slow: .*\[#*-*\] .* [0-9]+ %  .* of 24 MiB  .*/s' "shows a bar with figures"
like "$lines" 'slow@1' "and the image in the end"

run gridbox image import slow "$uri"
is "$status $out" "0 slow@2" "into a file it prints the image alone"
is "$err" "" "and nothing on standard error"
done_testing

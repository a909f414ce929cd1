#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/two-thousand.sh - 2,000 volumes attached, open and written to at once; what an idle one costs
# limit: 120
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs /usr/bin/python3

count=2000
disk=$tap_tmp/disk.raw
make_image "$disk" 8
start_server --log-level warn
import_image disk "$disk"

# own_memory: of the server alone, KiB
own_memory() { sed -n 's/^Pss_Anon: *\([0-9]*\) kB/\1/p' "/proc/$server_pid/smaps_rollup"; }
empty=$(own_memory)
run gridbox volume create 'v%d' --image disk --count "$count"
status_is 0 "$count volumes are made"
gridbox volume attach --all >"$tap_tmp/uris"
is "$(wc -l <"$tap_tmp/uris")" "$count" "and attached"
each=$((($(own_memory) - empty) * 1024 / count))
diag "| a volume that is attached: $each bytes"

run /usr/bin/python3 "$top/tests/lib/many_volumes.py" "$server_pid" "$tap_tmp/uris"
status_is 0 "all are open at once; each reads, writes and flushes"
# grown STEP: bytes for each connection
grown() { printf '%s\n' "$out" | sed -n "s/^$1 $count //p"; }
diag "| and open: $(grown connected) bytes more; after a first write: $(grown flushed) more"
times=1
[ "$build" = "$top/build" ] || times=16 # sanitizers need memory of their own
ok "$([ "$each" -le $((32768 * times)) ]; echo $?)" "an idle volume costs at most 32 KiB ($each)"
ok "$([ "$(grown connected)" -le $((65536 * times)) ]; echo $?)" "an idle connection costs at most 64 KiB ($(grown connected))"
ok "$([ "$(grown flushed)" -le $((98304 * times)) ]; echo $?)" "both, with a block written, cost at most 96 KiB ($(grown flushed))"
done_testing

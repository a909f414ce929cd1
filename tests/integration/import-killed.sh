#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/import-killed.sh - an import whose server is killed between sealing its layer and naming it
# leaves nothing
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs jq /usr/bin/python3

start_server
make_image "$tap_tmp/one.raw" 16
import_image golden "$tap_tmp/one.raw"

# Kills the server as soon as there is one map file more.
cat >"$tap_tmp/kill.py" <<'END'
import os, signal, sys, time
layers, server, deadline = sys.argv[1], int(sys.argv[2]), time.monotonic() + 30
maps = lambda: sum(n.endswith(".map") for n in os.listdir(layers))
before = maps()
open(sys.argv[3], "w").close()
while maps() <= before and time.monotonic() < deadline: pass
os.kill(server, signal.SIGKILL)
END
lost_files() { find "$state/lost+found" -type f 2>/dev/null | wc -l; }
# shellcheck disable=SC2317 # tap_wait calls it
quiet() { [ "$(gridbox store status --json | jq .dead)" = 0 ]; }

killed=0
for n in 1 2 3; do
    rm -f "$tap_tmp/ready"
    /usr/bin/python3 "$tap_tmp/kill.py" "$state/layers" "$server_pid" "$tap_tmp/ready" &
    killer=$!
    tap_wait 20 "somebody looks at the layers" test -e "$tap_tmp/ready"
    gridbox image import "new$n" "$tap_tmp/one.raw" >/dev/null 2>&1 || :
    wait "$killer"
    kill_server
    start_server
    tap_wait 20 "what nothing needs goes away" quiet
    images=$(gridbox image list --json | jq '.images | length')
    is "$(find "$state/layers" -name '*.map' | wc -l)" "$images" "each layer is an image's"
    is "$(lost_files)" 0 "nothing went to lost+found"
    gridbox image list --json | jq -e ".images[] | select(.name == \"new$n\")" >/dev/null || killed=$((killed + 1))
done
diag "$killed of 3 were killed before they had a name"
run gridbox store check
status_is 0 "the store is sound"
done_testing

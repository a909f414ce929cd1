#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/store-full.sh - a full store parks writes, and they go on when there is room
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs unshare nsenter

# The state lies on a tmpfs of 96 MiB, mounted in a mount name space that ends with the server.
mkdir "$state"
cat >"$tap_tmp/in-tmpfs" <<END
#!/bin/sh
mount -t tmpfs -o size=96m,mode=700 none "$state" && exec "\$@"
END
chmod +x "$tap_tmp/in-tmpfs"
server_wrapper="unshare -m --propagation private $tap_tmp/in-tmpfs"
launch_server
inside() { nsenter -t "$server_pid" -m -- "$@"; }
# Its socket is only there as well.
# shellcheck disable=SC2086 # a list of words
gridbox() { inside $as_is "$build/gridbox" "$@"; }
await_server
ok $? "a server whose state has 96 MiB"

truncate -s 256M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
ballast=$(new_volume ballast zero)
nbd_write "$ballast" 0 24M 0x01
ok $? "a volume takes up room"
gridbox volume detach ballast
uri=$(new_volume v zero)

nbdsh -u "$uri" -c '
open("'"$tap_tmp"'/begun", "w").close()
for i in range(64): h.pwrite(bytes([1 + i]) * 1048576, i * 1048576)
h.flush()
open("'"$tap_tmp"'/done", "w").close()
' >"$tap_tmp/client" 2>&1 &
client=$!
tap_cleanup "kill $client 2>/dev/null; wait $client 2>/dev/null"
# shellcheck disable=SC2317 # tap_wait calls it
parked() { [ "$(volume_is v .parked)" = true ]; }
tap_wait 20 "a client writes more than there is room for, and is parked" parked
[ ! -e "$tap_tmp/done" ] && kill -0 "$client"
ok $? "it waits, without an error"
is "$(volume_is v .state)" ok "the volume has not failed"
run gridbox events --json
like "$(json '.events[] | select(.kind | test("park")) | "\(.object) \(.text)"')" '^v .*(full|room|space)' \
    "an event says why"
run gridbox status
like "$status $out$err" 'full|room|wait|park' "and so does the status"

run gridbox volume remove ballast
status_is 0 "another volume is removed, with the store full"
tap_wait 20 "and the writes go on" test -e "$tap_tmp/done" || kill "$client"
wait "$client"
is "$? $(cat "$tap_tmp/client")" "0 " "to their end, without an error"
# shellcheck disable=SC2317 # tap_wait calls it
not_parked() { [ "$(volume_is v .parked)" = false ]; }
tap_wait 10 "it is parked no more" not_parked
for i in 0 41 63; do
    expect_byte "$uri" ${i}M 1M $((1 + i)) "what was written is there: MiB $i"
done
done_testing

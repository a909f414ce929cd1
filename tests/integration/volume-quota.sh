#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/volume-quota.sh - beyond its quota a volume's writes wait, without an error, until it
# is raised
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
truncate -s 64M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
gridbox volume create v --image zero >/dev/null
run gridbox volume quota v 4M
is "$status $out" "0 volume v may hold 4 MiB of its own" "a quota"
is "$(volume_is v .quota_bytes)" 4194304 "is shown"
uri=$(gridbox volume attach v)
other=$(new_volume other zero)

# 4 MiB go in, the next 4 KiB do not.
nbdsh -u "$uri" -c '
for i in range(64): h.pwrite(b"\x11" * 65536, i * 65536)
open("'"$tap_tmp"'/full", "w").close()
h.pwrite(b"\x22" * 4096, 8388608)
h.flush()
open("'"$tap_tmp"'/over", "w").close()
' >"$tap_tmp/client" 2>&1 &
client=$!
tap_cleanup "kill $client 2>/dev/null; wait $client 2>/dev/null"
tap_wait 20 "a client writes as much as it may" test -e "$tap_tmp/full"
# shellcheck disable=SC2317 # tap_wait calls it
parked() { [ "$(volume_is v .parked)" = true ]; }
tap_wait 10 "the next write is parked" parked
[ ! -e "$tap_tmp/over" ] && kill -0 "$client"
ok $? "its client waits"
like "$(gridbox volume show v)" '^state +parked' "the volume says so"
like "$(gridbox volume list)" '^v .* parked ' "and the list"
is "$(gridbox store status --json | jq .parked)" 1 "and the store"
run gridbox events --json
like "$(json '.events[] | select(.kind | test("park")) | "\(.object) \(.text)"')" '^v .*quota' \
    "and an event says why"
nbd_write "$other" 0 1M 0x33
ok $? "another volume goes on"

run gridbox volume quota v 8M
status_is 0 "a larger quota"
tap_wait 10 "lets it go on" test -e "$tap_tmp/over" || kill "$client"
wait "$client"
is "$? $(cat "$tap_tmp/client")" "0 " "and its client has seen no error"
is "$(volume_is v .parked)" false "it is parked no more"
expect_byte "$uri" 0 4M 0x11 "what was written before is there"
expect_byte "$uri" 8M 4096 0x22 "and what waited"

# What is there already can be written again; a trim gives room back.
run gridbox volume quota v 1M
status_is 0 "a quota below what it holds"
nbd_write "$uri" 0 65536 0x44
ok $? "keeps nobody from writing over what is there"
run gridbox volume quota v none
is "$status $out" "0 volume v has no quota" "none"
is "$(volume_is v .quota_bytes)" null "is none"
nbd_write "$uri" 16M 16M 0x55
ok $? "and it may hold what it likes"
run gridbox volume quota v 4K
is "$status" 1 "too small a quota is refused"
like "$err" "quota|1048576" "in words"
done_testing

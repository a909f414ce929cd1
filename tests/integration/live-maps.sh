#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tests/integration/live-maps.sh - live maps on a full tmpfs: writes wait; a store that was mounted anew: a power cut
if [ -z "$LIVE_MAPS" ]; then # its mounts are its own
    exec env LIVE_MAPS=1 unshare --mount --propagation private -- "$0"
fi
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs nbdsh

mkdir "$live" "$state" "$tap_tmp/disk" "$tap_tmp/other"
mount -t tmpfs -o size=64k,mode=700 none "$live" || bail_out "cannot mount a tmpfs"
mount --bind "$tap_tmp/disk" "$state"
tap_cleanup "umount -l '$live' '$state' '$tap_tmp/other' 2>/dev/null"
start_server
truncate -s 1G "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
first=$(new_volume first zero)
second=$(new_volume second zero)

# 13 pages of maps have room; each is that of 64 MiB of the disk.
holder() # URI PAGES FILE: writes to so many pages, makes FILE, and stays until FILE.go is there
{
    nbdsh -u "$1" -c "
import os, time
for page in range($2): h.pwrite(b'\\x51' * 4096, page << 26)
open('$3', 'w').close()
while not os.path.exists('$3.go'): h.pread(512, 0); time.sleep(0.02)
" >/dev/null 2>&1 &
    tap_cleanup "kill $! 2>/dev/null"
}
# shellcheck disable=SC2317 # tap_wait calls it
parked() { [ "$(gridbox volume show second --json | jq -r .parked)" = true ]; }

holder "$first" 10 "$tap_tmp/first"
tap_wait 20 "a volume writes to 10 pages" test -e "$tap_tmp/first"
holder "$second" 10 "$tap_tmp/second"
tap_wait 20 "another one's writes wait for room" parked
ok "$([ ! -e "$tap_tmp/second" ]; echo $?)" "and are not answered"
run gridbox status
like "$out$err" 'wait for room' "the server lives, and says it"
like "$(cat "$server_log")" 'no room for live maps' "and why"
touch "$tap_tmp/first.go"
gridbox volume detach first
tap_wait 20 "the first volume is closed, and the other one goes on" test -e "$tap_tmp/second"
kill_server
start_server
is "$(gridbox volume list --json | jq -r '[.volumes[].epoch] | join(" ")')" "1 1" "a kill moves no epoch"
for page in 0 9; do
    expect_byte "$second" $((page << 26)) 4096 0x51 "page $page of what waited is there"
done
touch "$tap_tmp/second.go"

# What a disk that went away and came back has dropped, the live maps do not know.
nbd_write "$second" 4096 4096 0x52
kill_server
umount "$state"
mount --bind "$tap_tmp/other" "$tap_tmp/other" # takes the number of the old mount, where numbers are used again
mount --bind "$tap_tmp/disk" "$state"
start_server
is "$(gridbox volume list --json | jq -r '.volumes[] | select(.name == "second") | .epoch')" 2 \
    "a store that was mounted anew has lost power"
like "$(cat "$server_log")" 'mounted anew' "and the log says why"
uri=$(gridbox volume attach second)
expect_byte "$uri" 4096 4096 0x52 "what was flushed is there"
done_testing

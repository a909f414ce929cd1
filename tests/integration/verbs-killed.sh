#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/verbs-killed.sh - the server is killed while it does a verb over many volumes: the verb
# has happened for all of them or for none, and what was flushed is there
# limit: 120
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
volumes=16

start_server
make_image "$tap_tmp/one.raw" 16
import_image golden "$tap_tmp/one.raw"
gridbox volume create 'v%d' --image golden --count "$volumes" >/dev/null

# write: 3 blocks of each volume, flushed.  show: the byte that these blocks hold in all volumes, or "image".
cat >"$tap_tmp/disks.py" <<'END'
import sys, nbd
blocks = (100, 200, 300)
golden = open(sys.argv[1] + "/one.raw", "rb").read()
golden = b"".join(golden[b * 4096:(b + 1) * 4096] for b in blocks)
seen = set()
for uri in open(sys.argv[1] + "/uris").read().split():
    h = nbd.NBD()
    h.connect_uri(uri)
    if sys.argv[2] == "write":
        for b in blocks: h.pwrite(bytes([int(sys.argv[3])]) * 4096, b * 4096)
        h.flush()
    else:
        data = b"".join(h.pread(4096, b * 4096) for b in blocks)
        seen.add("image" if data == golden else str(data[0]) if len(set(data)) == 1 else "torn")
    h.shutdown()
print(" ".join(sorted(seen)))
END
show() { nbd_python "$tap_tmp/disks.py" "$tap_tmp" show; }
write() { nbd_python "$tap_tmp/disks.py" "$tap_tmp" write "$1" >/dev/null; }
names=$(seq -f 'v%g' 0 $((volumes - 1)) | tr '\n' ' ')
# shellcheck disable=SC2086 # a list of words
attach() { gridbox volume attach --force $names >"$tap_tmp/uris"; }

# The call goes out, and so many milliseconds later the server is dead.
killed_in() # MILLISECONDS METHOD PATH BODY
{
    curl -s -o "$tap_tmp/answer" --unix-socket "$state/control.sock" -X "$2" \
        -H 'Content-Type: application/json' -d "$4" "http://localhost$3" &
    killed_call=$!
    timeout "0.0$1" tail -f /dev/null || :
    kill_server
    wait "$killed_call"
    start_server
}

round=1
for ms in 03 07 15 40; do
    attach
    write "$round"
    killed_in "$ms" POST /v1/snapshots "{\"name\": \"s$round\", \"all\": true}"
    held=$(gridbox snapshot show "s$round" --json 2>/dev/null | jq '.volumes | length')
    like "${held:-0}" "^(0|$volumes)\$" "a snapshot that was killed after $ms ms holds all or is none: ${held:-0}"
    is "$(show)" "$round" "and the volumes show what was flushed"
    write $((100 + round))
    killed_in "$ms" POST /v1/resets '{"all": true}'
    attach
    like "$(show)" "^(image|$((100 + round)))\$" "a reset that was killed after $ms ms: all or none"
    shown=$(show)
    if [ "${held:-0}" -gt 0 ]; then
        killed_in "$ms" POST /v1/rollbacks "{\"snapshot\": \"s$round\", \"all\": true}"
        attach
        like "$(show)" "^($shown|$round)\$" "a rollback that was killed after $ms ms: all or none"
    fi
    killed_in "$ms" POST /v1/volumes/v3/promote '{"image": "made"}'
    killed_in "$ms" DELETE "/v1/snapshots/s$((round - 1))" '{}'
    round=$((round + 1))
done
attach
write 99
is "$(show)" 99 "all can be written in the end"
gridbox volume promote v3 made >/dev/null
versions=$(gridbox image list --json | jq -r '.images[] | select(.name == "made") | "made@\(.version)"')
# shellcheck disable=SC2086 # a list of words
run gridbox image verify $versions
status_is 0 "every promoted image is sound: $(echo "$versions" | wc -w)"
run gridbox store scrub
status_is 0 "so is the store"
[ "$(find "$state/lost+found" -type f | wc -l)" -eq 0 ]
ok $? "nothing is lost and found"
[ "$(gridbox store status --json | jq .dead)" = 0 ] || diag "$(gridbox store status)"
done_testing

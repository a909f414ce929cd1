#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/volumes-375.sh - a class of 375 volumes is made, cloned, snapshot and reset, each in one
# call; how long the calls took is printed and not judged
# limit: 120
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
make_image "$tap_tmp/one.raw" 16
import_image golden "$tap_tmp/one.raw"

# One call, with its time from request to reply.
call() # WHAT METHOD PATH BODY
{
    call_time=$(curl -s -o "$tap_tmp/.body" -w '%{time_starttransfer} %{http_code}' \
        --unix-socket "$state/control.sock" -X "$2" -H 'Content-Type: application/json' -d "$4" \
        "http://localhost$3")
    out=$(cat "$tap_tmp/.body")
    case ${call_time#* } in
        2*) ok 0 "$1" ;;
        *) ok 1 "$1" || diag "$out" ;;
    esac
    diag "$1: ${call_time% *} s"
}
count() { gridbox volume list --json | jq '.volumes | length'; }

call "create 375 volumes" POST /v1/volumes '{"name": "pc-%d", "image": "golden", "count": 375}'
uris=$(gridbox volume attach --all)
is "$(printf '%s\n' "$uris" | wc -l)" 375 "375 URIs"

# All are written, at a place of each one's own.
printf '%s\n' "$uris" >"$tap_tmp/uris"
cat >"$tap_tmp/write.py" <<'END'
import sys, nbd
byte = int(sys.argv[2])
for i, uri in enumerate(open(sys.argv[1]).read().split()):
    h = nbd.NBD()
    h.connect_uri(uri)
    h.pwrite(bytes([byte]) * 4096, i * 4096)
    h.shutdown()
END
cat >"$tap_tmp/check.py" <<'END'
import sys, nbd
byte, image = int(sys.argv[2]), open(sys.argv[3], "rb").read()
for i, uri in enumerate(open(sys.argv[1]).read().split()):
    h = nbd.NBD()
    h.connect_uri(uri)
    want = bytes([byte]) * 4096 if byte else image[i * 4096:(i + 1) * 4096]
    around = max(0, i * 4096 - 4096)
    if h.pread(4096, i * 4096) != want: sys.exit("volume %d: not what was written" % i)
    if i and h.pread(4096, around) != image[around:around + 4096]: sys.exit("volume %d: not the image" % i)
    h.shutdown()
END
run nbd_python "$tap_tmp/write.py" "$tap_tmp/uris" 17
is "$status$err" 0 "each is written"
call "snapshot 375 volumes that were written" POST /v1/snapshots '{"name": "s1", "all": true}'
is "$(json '.volumes | length')" 375 "all are in it"
run nbd_python "$tap_tmp/write.py" "$tap_tmp/uris" 34
is "$status$err" 0 "each is written again"
run nbd_python "$tap_tmp/check.py" "$tap_tmp/uris" 34 "$tap_tmp/one.raw"
is "$status$err" 0 "and each shows it"
call "snapshot 375 volumes again" POST /v1/snapshots '{"name": "s2", "all": true}'
call "snapshot 375 volumes that nothing was written to" POST /v1/snapshots '{"name": "s3", "all": true}'
call "clone 375 volumes of one" POST /v1/volumes '{"name": "copy-%d", "clone": "pc-0", "count": 375}'
call "clone 375 volumes of a snapshot" POST /v1/volumes '{"name": "then-%d", "clone": "pc-7@s1", "count": 375}'
is "$(count)" 1125 "1,125 volumes are there"
expect_byte "$(gridbox volume attach then-374)" 28672 4096 0x11 "a clone of the snapshot holds what it held"
names=$(seq -f '"pc-%g"' 0 374 | paste -sd,)
call "roll 375 volumes back" POST /v1/rollbacks "{\"snapshot\": \"s1\", \"volumes\": [$names]}"
# shellcheck disable=SC2046 # a list of words
gridbox volume attach $(seq -f 'pc-%g' 0 374) >"$tap_tmp/uris"
run nbd_python "$tap_tmp/check.py" "$tap_tmp/uris" 17 "$tap_tmp/one.raw"
is "$status$err" 0 "each shows what it held at the snapshot"
call "reset 375 volumes" POST /v1/resets "{\"volumes\": [$names]}"
# shellcheck disable=SC2046 # a list of words
gridbox volume attach $(seq -f 'pc-%g' 0 374) >"$tap_tmp/uris"
run nbd_python "$tap_tmp/check.py" "$tap_tmp/uris" 0 "$tap_tmp/one.raw"
is "$status$err" 0 "each shows its image"
call "reset 1,125 volumes" POST /v1/resets '{"all": true}'
run gridbox store check
status_is 0 "the store is sound"
done_testing

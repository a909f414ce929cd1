#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/verbs-bad.sh - what cannot be done with volumes and snapshots is told in one line, and
# nothing of it is done
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
truncate -s 16M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
gridbox volume create 'v%d' --image zero --count 2 >/dev/null
uri=$(gridbox volume attach v0)
nbd_write "$uri" 0 4096 0x11
gridbox volume snapshot s v0 >/dev/null
before=$(gridbox volume list --json | jq -cS '[.volumes[] | del(.attachment)]'; gridbox snapshot list --json)
refused() # ERE COMMAND...
{
    refused_why=$1
    shift
    run gridbox "$@"
    shown=$(printf '%.60s' "$*" | tr -c 'a-zA-Z0-9./% @-' _)
    is "$status $(printf '%s\n' "$err" | grep -c '^gridbox: .')$(printf '%s\n' "$err" | wc -l)" "1 11" \
        "refused in one line: $shown"
    like "$err" "$refused_why" "which says why: $shown"
}

for name in a/b ../../etc .. Ä A 'a b' 'a%sb' s@1; do
    refused . volume snapshot -- "$name" v0
    refused . volume clone v0 -- "$name"
    refused . volume promote v0 -- "$name"
    refused . volume rollback -- "$name" v0
    refused . volume reset -- "$name"
    refused . volume resize -- "$name" 1G
    refused . snapshot remove -- "$name"
    refused . image verify -- "$name"
done
refused "nothing" volume snapshot t v0 nothing
refused "'?s'? .*(taken|exists|already)|already.*s" volume snapshot s v1
refused "v0" volume snapshot t v0 v0
refused "nothing" volume reset v0 nothing
refused "v1" volume rollback s v0 v1
refused "nothing" volume rollback nothing --all
refused "nothing" volume clone nothing c
refused "nothing" volume clone v0@nothing c
refused "v1" volume clone v1@s c
refused "v1" volume clone v0 v1
refused "v1" volume clone v0@s v1
refused "count|%d" volume clone v0 c --count 2
refused "nothing" volume promote nothing zero
refused "nothing" volume quota nothing 1G
refused "v0.*s|snapshot" volume remove v0
refused "nothing" snapshot remove nothing
refused "nothing" image verify nothing
refused "size|bytes|large" volume resize v1 8000000T
is "$(gridbox volume list --json | jq -cS '[.volumes[] | del(.attachment)]'; gridbox snapshot list --json)" \
    "$before" "nothing has changed"
expect_byte "$uri" 0 4096 0x11 "and the volume's URI works"

api POST /v1/snapshots '{"name": "t"}'
is "$api_status" 400 "neither volumes nor all"
api POST /v1/snapshots '{"name": "t", "volumes": ["v0"], "all": true}'
is "$api_status" 400 "both"
api POST /v1/snapshots '{"name": "t", "volumes": []}'
is "$api_status" 400 "no volume"
api POST /v1/resets '{"volumes": "v0"}'
is "$api_status" 400 "volumes that are no list"
api POST /v1/rollbacks '{"all": true}'
is "$api_status" 400 "a rollback to nothing"
api POST /v1/volumes '{"name": "c", "image": "zero", "clone": "v0"}'
is "$api_status" 400 "an image and a volume to clone"
api POST /v1/volumes/v0/resize '{"size_bytes": -1}'
is "$api_status" 400 "a size below 0"
api POST /v1/volumes/v0/quota '{}'
is "$api_status" 400 "a quota that is not said"
api GET /v1/snapshots/nothing
is "$api_status" 404 "a snapshot that is not there"
api POST /v1/store/check '{"deep": 1}'
is "$api_status" 400 "deep is true or false"
done_testing

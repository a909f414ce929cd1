#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/names-bad.sh - what is no name gets one clear line, and nothing happens
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
truncate -s 16M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
long=$(printf 'a%.0s' $(seq 300))
control=$(printf 'a\033[31mb\nc')
files_before=$(find "$state" | sort)

for name in a/b ../../etc .. . "$control" "$long" Ä A 'a b' -- 'a%sb' '/etc/passwd'; do
    shown=$(printf '%.20s' "$name" | tr -c 'a-zA-Z0-9./%' _)
    run gridbox volume create --image zero -- "$name"
    is "$status" 1 "volume create '$shown' fails"
    is "$(printf '%s\n' "$err" | grep -c '^gridbox: .')$(printf '%s\n' "$err" | wc -l)" 11 "in one line"
    unlike "$err" "$(printf '\033')" "without control characters"
    run gridbox image import -- "$name" "$tap_tmp/zero.raw"
    status_is 1 "image import '$shown' fails"
    run gridbox volume remove -- "$name"
    status_is 1 "volume remove '$shown' fails"
    run gridbox image show -- "$name"
    status_is 1 "image show '$shown' fails"
done

api POST /v1/volumes '{"name": "v", "image": "zero", "count": -1}'
is "$api_status" 400 "a count below 1 is refused"
api POST /v1/volumes '{"name": 7, "image": "zero"}'
is "$api_status" 400 "a name that is a number is refused"
api POST /v1/volumes '{"name": "v"'
is "$api_status" 400 "half a JSON text is refused"
like "$(json .detail)" . "with a detail"
api POST /v1/volumes '[]'
is "$api_status" 400 "an array is refused"
api POST /v1/volumes '{"name": "v\u0000w", "image": "zero"}'
is "$api_status" 400 "a NUL in a name is refused"
api GET /v1/nothing
is "$api_status" 404 "a path that is not there: 404"
api PUT /v1/volumes '{}'
is "$api_status" 405 "a method that is not there: 405"
api GET "/v1/volumes/$long"
like "$api_status" '^(400|404)$' "a name of 300 letters in a path"

is "$(find "$state" | sort)" "$files_before" "no file came or went"
run gridbox status
status_is 0 "the server is well"
done_testing

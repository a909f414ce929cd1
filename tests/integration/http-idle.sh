#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/http-idle.sh - idle and half-open HTTP connections lock nobody out
# limit: 90
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs /usr/bin/python3

start_server
# Holds 1,000 connections, some of them in the middle of a head, until its input ends.
mkfifo "$tap_tmp/hold" "$tap_tmp/held"
/usr/bin/python3 -c '
import socket, sys
held = []
for i in range(1000):
    s = socket.create_connection((sys.argv[1], 8420))
    if i % 2:
        s.send(b"GET /v1/status HTTP/1.1\r\nX-Half: ")
    held.append(s)
open(sys.argv[3], "w").close()
open(sys.argv[2]).read()
for s in held:
    s.close()
' "$address" "$tap_tmp/hold" "$tap_tmp/held" &
holder=$!
# shellcheck disable=SC2016 # expanded at the end
tap_cleanup 'kill "$holder" 2>/dev/null || :'
cat "$tap_tmp/held"

run gridbox status
status_is 0 "the administrator gets in over the Unix socket"
api_tcp "$(cat "$state/token")" GET /v1/status
is "$api_status" 503 "over TCP one more is told that there are too many"
like "$(json .detail)" "try later" "in words"

: >"$tap_tmp/hold"
wait "$holder"
# shellcheck disable=SC2317 # called by tap_wait
tcp_answers()
{
    api_tcp "$(cat "$state/token")" GET /v1/status
    [ "$api_status" = 200 ]
}
tap_wait 10 "when they are gone, TCP answers again" tcp_answers

# A request that waits does not keep the server from stopping.
last=$(api GET /v1/events && json '.events[-1].seq // 0')
curl -s --unix-socket "$state/control.sock" "http://x/v1/events?after=$((last + 1000))&wait=60" \
    >"$tap_tmp/poll" &
poll=$!
run gridbox status
stop_server
is "$server_status" 0 "a clean stop"
wait "$poll" || :
like "$(cat "$tap_tmp/poll")" '(^$|"the server stops")' "who waited is told"
done_testing

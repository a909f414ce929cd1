#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/token.sh - over TCP nothing without the token
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
is "$(stat -c %a "$state/token")" 600 "the token's file is for its owner alone"
token=$(cat "$state/token")
wrong=$(printf '%s' "$token" | tr '0-9a-f' '1-9a-f0')

api_tcp "" GET /v1/status
is "$api_status" 401 "no token: 401"
like "$(json .detail)" . "with a detail"
api_tcp "$wrong" GET /v1/status
is "$api_status" 401 "a wrong token: 401"
api_tcp "${token%?}" GET /v1/status
is "$api_status" 401 "a token cut short: 401"
for path in /v1/volumes /v1/images /v1/hosts /v1/domains /v1/events /v1/jobs/x /v1/nothing /v1/; do
    api_tcp "" GET "$path"
    is "$api_status" 401 "no token for $path: 401"
done
api_tcp "$token" GET /v1/status
is "$api_status" 200 "the token: 200"
api_tcp "$token" POST /v1/agent/register
like "$api_status" '^(400|401|403)$' "it is no agent's token"
for session in "" "$token" "$wrong"; do
    api_tcp "$session" GET "/v1/agent/spec?revision=0&wait=0"
    is "$api_status" 401 "an agent without a session of its own gets no spec"
    api_tcp "$session" POST /v1/agent/report
    like "$api_status" '^40[01]$' "nor may it report"
done
api_tcp "" GET "/boot/ipxe?mac=52:54:00:00:00:01"
unlike "$api_status" '^(2|401)' "a boot script is not given to just anybody"

run gridbox_tcp "" status
status_is 1 "the command line without a token fails"
like "$err" '^gridbox: .*GRIDBOX_TOKEN' "and says what is missing"
run gridbox_tcp "$token" status
status_is 0 "with it, it works"
api GET /v1/status
is "$api_status" 200 "on the Unix socket its owner needs none"

stop_server
start_server
is "$(cat "$state/token")" "$token" "a restart keeps the token"

# Another user of the machine is not the administrator.
chmod 755 "$tap_tmp" "$state"
chmod 777 "$state/control.sock"
api_status=$(cd "$state" && setpriv --reuid=65534 --regid=65534 --clear-groups curl -s -o /dev/null \
    -w '%{http_code}' --unix-socket control.sock http://localhost/v1/status) || :
like "$api_status" '^(401|403)$' "another user is not let in over the Unix socket"

grep -q "$token" "$server_log" && rc=1 || rc=0
ok "$rc" "the token is not in the log"
done_testing

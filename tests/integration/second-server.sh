#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/second-server.sh - one state, one server
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
run gridboxd --state "$state" --http "$address:8421" --nbd "$address:10810"
status_is 2 "a second server on the same state: exit 2"
like "$err" "$server_pid" "its error has the pid of the first"
is "$(printf '%s\n' "$err" | wc -l)" 1 "it is one line"
run gridbox status
status_is 0 "the first is undisturbed"

run gridboxd --state "$tap_tmp/other" --http "$http" --nbd "$address:10810"
status_is 2 "an HTTP port in use: exit 2"
like "$err" "$http" "the address is named"
run gridboxd --state "$tap_tmp/other" --http "$address:8421" --nbd "$nbd"
status_is 2 "an NBD port in use: exit 2"
like "$err" "$nbd" "the address is named"

kill_server
start_server
run gridbox status
status_is 0 "after a kill a new one takes over"
done_testing

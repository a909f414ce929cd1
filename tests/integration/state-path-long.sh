#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/state-path-long.sh - a state path too long for its socket is refused before anything is made
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

long=$tap_tmp/$(printf 'd%.0s' $(seq 100))
run gridboxd --state "$long" --http "$http" --nbd "$nbd"
status_is 2 "exit 2"
like "$err" 'socket' "it says that the socket's path is what does not fit"
like "$err" '[0-9]+ bytes' "and how long it may be"
is "$(printf '%s\n' "$err" | wc -l)" 1 "in one line"
[ ! -e "$long" ]
ok $? "nothing was made"

run gridbox --server "unix:$long/control.sock" status
status_is 2 "the command line: wrong use"
like "$err" 'at most 107 bytes' "and says the limit"

# The longest that fits.
state=$tap_tmp/$(printf 'd%.0s' $(seq $((107 - ${#tap_tmp} - 14))))
export GRIDBOX_SERVER="unix:$state/control.sock"
start_server
run gridbox status
status_is 0 "a path that just fits works (${#state} bytes)"
done_testing

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/config-bad.sh - options and configuration: what is wrong is said in one line, exit 2
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

conf=$tap_tmp/gridboxd.conf

# Prints a configuration file that starts with two good lines, so that line numbers mean something.
config() # LINE...
{
    printf 'state: %s\n' "$state" >"$conf"
    printf '# a comment\n' >>"$conf"
    printf '%s\n' "$@" >>"$conf"
}

refused() # WHAT ERE
{
    run gridboxd --config "$conf"
    status_is 2 "$1: exit 2"
    is "$(printf '%s\n' "$err" | wc -l)" 1 "in one line"
    like "$err" "$2" "that says where and what"
}

config 'colour: red'
refused "an unknown key" "$conf:3: .*colour"
config 'http: ["127.0.0.1:99999"]'
refused "a port over 65535" "$conf:3: .*http.*99999"
config 'http: ["nowhere"]'
refused "an address without a port" "$conf:3: .*http.*nowhere"
config '' '' 'nbd: ["127.0.0.1:x"]'
refused "a port that is no number, two lines further" "$conf:5: .*nbd"
config 'http: [1, 2'
refused "YAML that does not end" "$conf"
config 'state: /elsewhere'
refused "a key given twice" "$conf"

run gridboxd --config "$tap_tmp/none.conf"
status_is 2 "a file that is not there"
like "$err" 'none\.conf.*No such file' "is named"
run gridboxd --colour red
status_is 2 "an unknown option"
like "$err" 'colour' "is named"
run gridboxd --state "$state" --http nowhere
status_is 2 "a bad address on the command line"
like "$err" 'nowhere' "is named"
run gridboxd --state "$state" --boot nosuchif0 --http "$http" --nbd "$nbd"
status_is 2 "an interface that is not there"
like "$err" 'nosuchif0' "is named"
run gridboxd --version
is "$status" 0 "--version"
like "$out" '^gridboxd [0-9]+\.[0-9]+' "prints it"

# A good file does the same as options.
config "http: [\"$http\"]" "nbd: [\"$nbd\"]"
"$build/gridboxd" --config "$conf" >"$server_log" 2>&1 &
server_pid=$!
await_server
ok $? "a good file starts it"
stop_server
is "$server_status" 0 "and it stops cleanly"
done_testing

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The virtual rack gives back its command's status, and however it ends, nothing of it is left; two do not meet.
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"

rack=$(cd "$(dirname "$0")/../rack" && pwd)/rack
needs unshare nsenter qemu-system-x86_64

# Starts a rack with one PC in it and waits until both are there; $rack_pid is the process in front.
start_rack() # DIR
{
    mkdir "$1"
    # shellcheck disable=SC2016 # expanded inside
    "$rack" run --dir "$1" -- bash -c '"$1" pc a && "$1" wait-line a SeaBIOS 30 >"$RACK_DIR/line" &&
        echo "$RACK_KEEPER" >"$RACK_DIR/ready" && exec tail -f /dev/null' - "$rack" &
    rack_pid=$!
    tap_wait 60 "the rack $2 has a PC that says something" test -s "$1/ready"
}

# shellcheck disable=SC2317 # called by tap_wait
nobody_left() # DIR: no process carries this rack's directory in its environment
{
    ! grep -lsF -- "RACK_DIR=$1" /proc/[0-9]*/environ | grep -q .
}

run "$rack" run --dir "$tap_tmp/status" -- sh -c 'exit 7'
status_is 7 "the status of the command is the rack's"

run "$rack" run --dir "$tap_tmp/net" -- ip -4 -o addr show dev lab0
like "$out" '10\.77\.0\.1/24' "the bridge lab0 has its address"

start_rack "$tap_tmp/one" one
one=$rack_pid
start_rack "$tap_tmp/two" two
two=$rack_pid
is "$(RACK_KEEPER=$(cat "$tap_tmp/one/ready") "$rack" list)" "a $("$rack" mac a)" \
    "a rack is entered by its keeper's pid"

kill -KILL "$(cat "$tap_tmp/one/ready")"
wait "$one"
tap_wait 5 "kill -9 of the keeper ends everything in its rack" nobody_left "$tap_tmp/one"
is "$(cat /proc/"$(cat "$tap_tmp/two/ready")"/comm)" rack "and the other rack runs on"

kill -KILL "$two"
wait "$two" 2>/dev/null
tap_wait 5 "kill -9 of the process in front of it does, too" nobody_left "$tap_tmp/two"

start_rack "$tap_tmp/three" three
kill -TERM "$rack_pid"
wait "$rack_pid"
is "$?" 143 "SIGTERM reaches the command"
tap_wait 5 "and ends everything" nobody_left "$tap_tmp/three"
done_testing

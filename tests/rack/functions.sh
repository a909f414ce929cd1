# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# functions.sh - what the rack tests share: a rack of their own, gridboxd on its network, the serial log.
#
#   . "$(dirname "$0")/functions.sh"     begins the test anew inside a rack, then brings tap.sh and the rest
#   rack_server [OPTION...]              gridboxd on lab0, and the image `tiny`; $state is its directory
#   gb ARGUMENT...                       the command line, as the administrator
#   rack ARGUMENT...                     the rack's own commands
#   see PC REGEX SECONDS "what"          passes as soon as a line of the PC's serial log matches
#   see_new PC REGEX SECONDS "what"      the same, of lines that come after the last `mark PC`
#   stage_table PC NAME:REGEX...         the table of stages with times, printed also when the test passes
#   dom0 PC COMMAND                      types a command into the root shell on dom0's console (--boot-debug)
#
# Limits are five times what a quiet machine with two cores needs.  A failure keeps the rack's logs.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${GRIDBOX_BUILD:-$top/build}

if [ -z "${RACK_INSIDE:-}" ]; then
    logs=$top/build/rack/$(basename "$0" .sh)-$$
    status=0
    "$top/tests/rack/rack" run --dir "$logs" -- "$0" "$@" || status=$?
    if [ "$status" = 0 ]; then
        rm -rf "$logs"
    else
        printf '# the logs of this rack lie in %s\n' "$logs"
    fi
    exit "$status"
fi

# shellcheck source=tests/lib/tap.sh
. "$top/tests/lib/tap.sh"

state=$RACK_DIR/state
export GRIDBOX_SERVER=unix:$state/control.sock

rack() { "$top/tests/rack/rack" "$@"; }
gb() { "$build/gridbox" "$@"; }

# Says what went wrong where a failed step makes all later ones meaningless.
must() # DESCRIPTION COMMAND...
{
    local what=$1
    shift
    if run "$@" && [ "$status" = 0 ]; then
        ok 0 "$what"
    else
        ok 1 "$what" || :
        diag "$* : exit status $status"
        diag "$err"
        diag "the end of gridboxd's log:"
        diag "$(tail -n 20 "$RACK_DIR/gridboxd.log")"
        done_testing
    fi
}

stop_rack_server()
{
    kill "$server_pid" 2>/dev/null && wait "$server_pid"
}

rack_server()
{
    "$build/gridboxd" --state "$state" --boot lab0 --boot-files "$build/boot" "$@" \
        >>"$RACK_DIR/gridboxd.log" 2>&1 &
    server_pid=$!
    tap_cleanup stop_rack_server
    tap_wait 20 "gridboxd serves" gb status || must "gridboxd answers" gb status
    must "the image tiny is imported" gb image import tiny "$build/images/tiny.raw"
}

see() # PC REGEX SECONDS DESCRIPTION
{
    if seen=$(rack wait-line "$1" "$2" "$3" 2>"$RACK_DIR/wait.err"); then
        ok 0 "$4"
        diag "${seen:0:160}"
    else
        ok 1 "$4" || :
        diag "$(cat "$RACK_DIR/wait.err")"
        diag "the end of gridboxd's log:"
        diag "$(tail -n 20 "$RACK_DIR/gridboxd.log")"
        done_testing
    fi
}

declare -A marks
mark() { marks[$1]=$(wc -l <"$(rack log "$1")"); }

see_new() # PC REGEX SECONDS DESCRIPTION
{
    local log

    log=$(rack log "$1")
    if seen=$(tail -n "+$((${marks[$1]:-0} + 1))" -f "$log" 2>/dev/null | timeout "$3" grep -m1 -E -e "$2"); then
        ok 0 "$4"
        diag "${seen:0:160}"
    else
        ok 1 "$4" || :
        diag "no line like /$2/ within $3 s; the last lines of $log:"
        diag "$(tail -n 30 "$log")"
        done_testing
    fi
}

# Xen keeps 128 characters for dom0 and drops what comes before dom0 has read them: so in pieces.
dom0() # PC COMMAND
{
    local text=$2$'\n' at

    for ((at = 0; at < ${#text}; at += 48)); do
        printf '%s' "${text:at:48}"
        timeout 0.2 tail -f /dev/null
    done | socat -t 0.2 - "UNIX-CONNECT:/run/rack/$1.serial" >/dev/null
}

# FIELD of the domain NAME, as the server tells it.
domain_field() # NAME FIELD
{
    gb --json domain list | jq -r --arg name "$1" --arg field "$2" \
        '.domains[] | select(.name == $name) | .[$field]'
}

domain_is() # NAME STATE
{
    [ "$(domain_field "$1" state)" = "$2" ]
}

# Prints when the first line came that matches, for each stage.
stage_table() # PC NAME:REGEX...
{
    local pc=$1 stage at without=

    shift
    diag "| stage of $pc       seconds after power-on"
    for stage in "$@"; do
        at=$(grep -m1 -E -e "${stage#*:}" "$(rack log "$pc")" | awk '{ print $1 }')
        [ -n "$at" ] || without+=" ${stage%%:*}"
        diag "$(printf '| %-16s %7s' "${stage%%:*}" "$at")"
    done
    is "$without" "" "each stage has its time"
}

# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# functions.sh - a gridboxd of one's own for a test, and the clients to try it with.  POSIX sh, on top
# of tap.sh.  It owns the server's life; it knows nothing of what a test is about.
#
#   start_server [OPTION...]     state in $state, live maps in $live, log in $server_log, loopback address $address of this
#                                test alone; waits until it answers; stopped at the end of the test
#   stop_server, kill_server     SIGTERM / SIGKILL, waited for; $server_status is its exit status
#   gridbox ARGUMENT...          the command line, aimed at that server
#   gridbox_tcp TOKEN ARGUMENT...  the same over TCP; TOKEN may be empty
#   api METHOD PATH [JSON]       curl on its Unix socket: $api_status, and the body in $out
#   api_tcp TOKEN METHOD PATH    the same over TCP; TOKEN may be empty
#   json FILTER                  jq -r on $out
#   make_image FILE MIB [SEED]   a raw disk with data, holes and zeros
#   import_image NAME FILE       imports it, or ends the test
#   new_volume NAME IMAGE        makes and attaches a volume; prints the URI
#   nbd_write URI OFFSET LENGTH BYTE      writes and flushes
#   expect_byte URI OFFSET LENGTH BYTE WHAT   passes if all of it is that byte
#   refused_by_nbd URI ERE WHAT  passes if the server refuses the URI in words that match
#   volume_is NAME FILTER        jq's view of `volume show NAME --json`
#   nbd_python FILE ARGUMENT...  a script with Python's module of libnbd
#
# GRIDBOX_BUILD (build) is where the programs are.
# shellcheck disable=SC2034 # what it sets is for the tests

# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"

top=$(cd "$(dirname "$0")/../.." && pwd)
build=$top/${GRIDBOX_BUILD:-build}
needs "$build/gridboxd" "$build/gridbox" curl jq qemu-io nbdcopy nbdinfo

unset GRIDBOX_TOKEN
state=$tap_tmp/state
live=$tap_tmp/live
server_log=$tap_tmp/server.log
server_pid=
server_status=
# Each process has a loopback address of its own, so tests that run at once never meet.
address=127.$((64 + $$ / 65536 % 64)).$(($$ / 256 % 256)).$(($$ % 256))
http=$address:8420
nbd=$address:10809
export GRIDBOX_SERVER="unix:$state/control.sock"

# Sanitizers want their shadow memory where it belongs.
case ${GRIDBOX_BUILD:-build} in
    build) as_is= ;;
    *) as_is='setarch -R' ;;
esac

gridbox() { $as_is "$build/gridbox" "$@"; }
gridbox_tcp() # TOKEN ARGUMENT...
{
    gridbox_token=$1
    shift
    # shellcheck disable=SC2086 # a list of words
    env GRIDBOX_TOKEN="$gridbox_token" $as_is "$build/gridbox" --server "http://$http" "$@"
}
gridboxd() { $as_is timeout 30 "$build/gridboxd" "$@"; }

# Python's module of libnbd belongs to Debian's python3, whatever else is in PATH.
nbdsh() { env PATH="/usr/bin:$PATH" nbdsh "$@"; }

nbd_python() { env PATH="/usr/bin:$PATH" python3 "$@"; }

volume_is() { gridbox volume show "$1" --json | jq -r "$2"; } # NAME FILTER

server_runs() { [ -n "$server_pid" ] && kill -0 "$server_pid" 2>/dev/null; }

# Waits until the server answers, well or not, or is gone.
await_server()
{
    await_deadline=$(($(date +%s) + 30))
    until gridbox image list >/dev/null 2>&1; do
        server_runs || return 1
        [ "$(date +%s)" -lt "$await_deadline" ] || return 1
        timeout 0.05 tail -f /dev/null || :
    done
}

# Starts it without waiting; what stands in $server_wrapper comes before the program.
launch_server() # [OPTION...]
{
    server_status=
    # shellcheck disable=SC2086 # a list of words
    $as_is ${server_wrapper:-} "$build/gridboxd" --state "$state" --live "$live" --http "$http" \
        --nbd "$nbd" "$@" >>"$server_log" 2>&1 &
    server_pid=$!
}

start_server() # [OPTION...]
{
    launch_server "$@"
    await_server || {
        tail -n 20 "$server_log" | sed 's/^/# /'
        bail_out "gridboxd does not start"
    }
}

end_server() # SIGNAL
{
    [ -n "$server_pid" ] || return 0
    { # without the shell's own words about the end of a job
        kill "-$1" "$server_pid"
        timeout 30 tail -s 0.05 --pid="$server_pid" -f /dev/null || kill -KILL "$server_pid"
        wait "$server_pid" && server_status=0 || server_status=$?
    } 2>/dev/null
    server_pid=
}

stop_server() { end_server TERM; }
kill_server() { end_server KILL; }

leave_server()
{
    if [ -n "$server_pid" ]; then
        end_server TERM
        if [ "$server_status" -ne 0 ]; then
            diag "gridboxd did not stop cleanly at the end of the test: exit status $server_status"
            tap_failed=$((tap_failed + 1))
        fi
    fi
    if [ "$tap_failed" -gt 0 ] && [ -s "$server_log" ]; then
        diag "the last lines of gridboxd's log:"
        grep -m 3 -A 40 -E 'WARNING: ThreadSanitizer|ERROR: AddressSanitizer|runtime error' \
            "$server_log" | sed 's/^/#   /'
        tail -n 20 "$server_log" | sed 's/^/#   /'
    fi
}
tap_cleanup leave_server

# ---- the API ------------------------------------------------------------------------------------
api() # METHOD PATH [JSON]
{
    api_status=$(curl -s -o "$tap_tmp/.body" -w '%{http_code}' --unix-socket "$state/control.sock" \
        --path-as-is -X "$1" ${3+-H "Content-Type: application/json" -d "$3"} "http://localhost$2") || :
    out=$(cat "$tap_tmp/.body" 2>/dev/null)
    rm -f "$tap_tmp/.body"
}

api_tcp() # TOKEN METHOD PATH
{
    api_status=$(curl -s -o "$tap_tmp/.body" -w '%{http_code}' --noproxy '*' --path-as-is \
        ${1:+-H "Authorization: Bearer $1"} -X "$2" "http://$http$3") || :
    out=$(cat "$tap_tmp/.body" 2>/dev/null)
    rm -f "$tap_tmp/.body"
}

json() { printf '%s' "$out" | jq -r "$1"; }

# ---- disks --------------------------------------------------------------------------------------
# Data at the start, in the middle and at the end (so that a shift or a cut shows), holes between.
make_image() # FILE MIB [SEED]
{
    truncate -s "${2}M" "$1"
    for make_at in 0 $(($2 / 2)) $(($2 - 1)); do
        openssl enc -aes-128-ctr -nosalt -K "$(printf '%032x' $((make_at + ${3:-1})))" \
            -iv 00000000000000000000000000000000 -in /dev/zero 2>/dev/null |
            head -c 1000000 | dd of="$1" bs=1M seek="$make_at" conv=notrunc status=none
    done
}

import_image() # NAME FILE
{
    gridbox image import "$1" "$2" >/dev/null || bail_out "cannot import $1"
}

new_volume() # NAME IMAGE
{
    gridbox volume create "$1" --image "$2" >/dev/null && gridbox volume attach "$1"
}

nbd_write() # URI OFFSET LENGTH BYTE
{
    qemu-io -f raw -c "write -P $4 $2 $3" -c flush "$1" >"$tap_tmp/.io" 2>&1 &&
        ! grep -qi 'fail\|error' "$tap_tmp/.io"
}

nbd_is_byte() # URI OFFSET LENGTH BYTE
{
    qemu-io -r -f raw -c "read -P $4 $2 $3" "$1" >"$tap_tmp/.io" 2>&1 &&
        ! grep -qi 'fail\|error' "$tap_tmp/.io"
}

expect_byte() # URI OFFSET LENGTH BYTE WHAT
{
    nbd_is_byte "$1" "$2" "$3" "$4"
    ok $? "$5" || sed 's/^/# /' "$tap_tmp/.io"
}

# qemu prints the words of a refusal, libnbd only its number.
refused_by_nbd() # URI ERE WHAT
{
    run qemu-io -r -f raw -c quit "$1"
    if [ "$status" -eq 0 ]; then
        ok 1 "$3"
    else
        like "$out$err" "$2" "$3"
    fi
}

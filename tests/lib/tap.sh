# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# tap.sh - TAP for shell tests, POSIX sh.  It owns the numbering of tests and one scratch directory;
# it knows nothing of what is tested.
#
#   . "$(dirname "$0")/../lib/tap.sh"
#   ok "$?" "what was expected"             the value is an exit status: 0 passes
#   run COMMAND ARGUMENT...                 runs it: $status, $out and $err (both texts, no colours)
#   is "$got" "$want" "what"                the same text
#   like "$text" 'ERE' "what"               some line matches; unlike: no line does
#   status_is 2 "what"                      of the last run
#   tap_wait 20 "what" COMMAND...           passes as soon as COMMAND succeeds, within 20 seconds
#   tap_cleanup 'kill "$pid"'               run at the end, last one first, however the test ends
#   done_testing                            the plan; always the last line of a test
#
# $tap_tmp is an empty directory of this test alone; it is removed at the end (TAP_KEEP=1 keeps it).
# There is no skip: what a test needs, scripts/deps brings.  `needs COMMAND...` fails at once without it.

tap_count=0
tap_failed=0
tap_done=
tap_cleanups=
tap_tmp=$(mktemp -d "${TMPDIR:-/tmp}/tap.XXXXXX") || exit 1
export tap_tmp
status=
out=
err=

diag() { printf '%s\n' "$*" | sed 's/^/# /'; }

tap_leave()
{
    tap_status=$?
    trap - EXIT HUP INT TERM
    eval "$tap_cleanups"
    if [ "${TAP_KEEP:-}" = 1 ]; then
        diag "kept: $tap_tmp"
    else
        rm -rf "$tap_tmp"
    fi
    if [ -z "$tap_done" ]; then
        printf 'Bail out! %s ended before done_testing (status %s)\n' "${0##*/}" "$tap_status"
        exit 1
    fi
    [ "$tap_failed" -eq 0 ] || exit 1
    exit 0
}
trap tap_leave EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Adds shell text that is evaluated at the end, before what was added earlier.
tap_cleanup()
{
    tap_cleanups="$1
$tap_cleanups"
}

bail_out()
{
    tap_done=1
    tap_failed=1
    printf 'Bail out! %s\n' "$*"
    exit 1
}

needs()
{
    for tap_tool in "$@"; do
        command -v "$tap_tool" >/dev/null 2>&1 ||
            bail_out "needs $tap_tool: run scripts/deps check"
    done
}

ok() # STATUS DESCRIPTION
{
    tap_count=$((tap_count + 1))
    if [ "$1" -eq 0 ]; then
        printf 'ok %d - %s\n' "$tap_count" "$2"
        return 0
    fi
    tap_failed=$((tap_failed + 1))
    printf 'not ok %d - %s\n' "$tap_count" "$2"
    return 1
}

is() # GOT WANT DESCRIPTION
{
    if [ "$1" = "$2" ]; then
        ok 0 "$3"
    else
        ok 1 "$3" || :
        diag "got:  $1"
        diag "want: $2"
        return 1
    fi
}

like() # TEXT ERE DESCRIPTION
{
    if printf '%s\n' "$1" | grep -qE -e "$2"; then
        ok 0 "$3"
    else
        ok 1 "$3" || :
        diag "got:  $1"
        diag "want a line that matches: $2"
        return 1
    fi
}

unlike() # TEXT ERE DESCRIPTION
{
    if printf '%s\n' "$1" | grep -qE -e "$2"; then
        ok 1 "$3" || :
        diag "got:  $1"
        diag "want no line that matches: $2"
        return 1
    else
        ok 0 "$3"
    fi
}

# Runs a command; the texts are limited to 64 KiB each.
run() # COMMAND ARGUMENT...
{
    "$@" >"$tap_tmp/.out" 2>"$tap_tmp/.err" && status=0 || status=$?
    out=$(head -c 65536 "$tap_tmp/.out")
    err=$(head -c 65536 "$tap_tmp/.err")
    return 0
}

status_is() # WANT DESCRIPTION
{
    if [ "$status" = "$1" ]; then
        ok 0 "$2"
    else
        ok 1 "$2" || :
        diag "exit status $status, want $1"
        diag "stdout: $out"
        diag "stderr: $err"
        return 1
    fi
}

# For what gives no event to wait for.  It is tried every 50 ms.
tap_wait() # SECONDS DESCRIPTION COMMAND...
{
    tap_deadline=$(($(date +%s) + $1))
    tap_what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        if [ "$(date +%s)" -ge "$tap_deadline" ]; then
            ok 1 "$tap_what" || :
            diag "not so within its time: $*"
            return 1
        fi
        timeout 0.05 tail -f /dev/null || :
    done
    ok 0 "$tap_what"
}

done_testing()
{
    tap_done=1
    printf '1..%d\n' "$tap_count"
    exit 0
}

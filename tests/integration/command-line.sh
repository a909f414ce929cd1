#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/command-line.sh - gridbox: exit codes, words for what is wrong, JSON, tables
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

one_line() { is "$(printf '%s\n' "$err" | grep -c '^gridbox: .')$(printf '%s\n' "$err" | wc -l)" 11 "$1"; }

# ---- without a server
run gridbox status
status_is 1 "no server: exit 1"
one_line "in one line"
like "$err" "$state/control\.sock.*start gridboxd" "that says where it looked and what to do"
run gridbox --server "http://$http" status
status_is 1 "no server over TCP: exit 1"
like "$err" "$http.*Connection refused" "with the address and the reason"

for words in "" volume "volume fly" fly "volume create" "volume create v" "volume list extra" \
    "volume attach" "volume attach --all v" "volume create v --image i --count x" \
    "volume snapshot" "volume snapshot s" "volume rollback s" "volume rollback --all s v" "volume reset" \
    "volume reset --all v" "volume clone v" "volume clone v x-%d" "volume resize v" "volume resize v 20GB" \
    "volume resize v 0" "volume quota v lots" "volume quota v 0" "volume quota v 9E" "snapshot fly" \
    "image verify" "store check all" "top --sort size" "top --seconds 0" \
    "domain define d --host h --image i --memory 0 --vcpus 1" "volume list --colour" "status --json=1" \
    "--server" "--server ftp://x status" "--server http://x status" "image import a" "status -x" \
    "host approve h --loader grub" "volume create v --image i --image j"; do
    # shellcheck disable=SC2086 # a list of words
    run gridbox $words
    is "$status" 2 "wrong use: gridbox $words"
    one_line "in one line"
done

run gridbox domain define d --host h --image i --memory 1 --vcpus 1
like "$err" "--memory '1': use a whole number from 32 to 1048576" "a number out of range is told the range"

run gridbox --help
status_is 0 "--help"
like "$out" '^  volume create NAME --image IMAGE' "has the commands"
run gridbox volume --help
unlike "$out" 'image import' "a group's help has its own commands alone"
run gridbox --version
is "$out" "gridbox $(cat "$top/server/VERSION")" "--version"
run gridbox --help >/dev/full
is "$status" 0 "(output is caught here)"
"$build/gridbox" --help >/dev/full 2>"$tap_tmp/full.err"
is $? 1 "a full standard output is a failure"

# ---- with one
start_server
run gridbox status
status_is 0 "status of a server that is well: exit 0"
like "$out" '^server +gridboxd .*healthy' "says so"
like "$out" "^nbd +$nbd\$" "says where NBD is"
run gridbox status --json
is "$(json .healthy)" true "status as JSON"
is "$(json .state_dir)" "$state" "names the state"

truncate -s 16M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
run gridbox volume create v --image zero --json
is "$(json '.volumes[0]')" v "what creates prints JSON too"
run gridbox volume list
like "$out" '^VOLUME +IMAGE +SIZE +WRITTEN +STATE +ATTACHED TO +DOMAIN$' "a table has a heading"
like "$out" '^v +zero@1 +16 MiB +0 B +ok +- +-$' "and aligned rows"
run gridbox volume list -- extra
status_is 2 "a word too many after --"
run gridbox volume remove v nothing
is "$status" 1 "one of two fails: exit 1"
like "$err" "nothing" "the one that failed is named"
run gridbox volume list --json
is "$(json '.volumes | length')" 0 "the other was removed"

run gridbox events
like "$out" 'zero' "events tell of the import"
run gridbox events --json
is "$(json '.events | map(.seq) == (map(.seq) | sort)')" true "oldest first"

# --follow prints what happens from now on.
$as_is "$build/gridbox" events --follow --json >"$tap_tmp/events" 2>/dev/null &
follow=$!
tap_cleanup "kill $follow 2>/dev/null; wait $follow 2>/dev/null"
tap_wait 10 "events --follow has begun" test -s "$tap_tmp/events"
gridbox volume create late --image zero >/dev/null
tap_wait 10 "and prints an event that comes later" grep -q late "$tap_tmp/events"

run gridbox host approve 52:54:00:aa:bb:cc --name pc-1
status_is 0 "a MAC that was never seen can be approved"
run gridbox host list
like "$out" '^pc-1 +approved +52:54:00:aa:bb:cc +- +- +- ' "and is then expected, nothing else being known of it"
run gridbox host approve 01:00:5e:00:00:01
like "$status $err" '^1 .*address of a group' "the address of a group is no PC's"
run gridbox domain define d --host pc-1 --image zero --memory 256 --vcpus 1
is "$status $out" "0 d" "a domain is defined"
run gridbox volume list --json
is "$(json '[.volumes[] | select(.name == "d") | .domain] | join(" ")')" d "it has a volume of its name"
run gridbox domain list
like "$out" '^d +pc-1 +zero@1 +256 MiB +1 +stopped' "it starts stopped"
run gridbox volume remove d
status_is 1 "the disk of a domain cannot be removed"
run gridbox host forget pc-1
status_is 1 "a host with domains cannot be forgotten"
run gridbox domain start d
status_is 0 "it can be told to start"
run gridbox domain remove d
status_is 1 "what runs cannot be removed"
run gridbox domain stop d
status_is 0 "it can be told to stop"
run gridbox domain remove d --keep-volume
status_is 0 "it can be removed"
run gridbox volume remove d
status_is 0 "its volume was kept"
run gridbox host forget pc-1
status_is 0 "the host can be forgotten"
done_testing

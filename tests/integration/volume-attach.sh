#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/volume-attach.sh - one attachment a volume: refused twice, taken over by --force
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
truncate -s 16M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
run gridbox volume create 'v%d' --image zero --count 3
status_is 0 "three volumes"

first=$(gridbox volume attach v0)
nbd_write "$first" 0 4096 0x11
ok $? "the first URI works"

run gridbox volume attach v0
is "$status $out" "1 " "a second attach is refused"
like "$err" "^gridbox: .*v0.*attached.*--force" "and says by whom, and what to do"
expect_byte "$first" 0 4096 0x11 "the first URI still works"

run gridbox volume attach v1 v0
is "$status $out" "1 " "of two, one attached: refused as a whole"
run gridbox volume list --json
is "$(json '.volumes[1].attachment')" null "the other one is not attached"

second=$(gridbox volume attach v0 --force)
like "$second" "^nbd://$nbd/v0\.[0-9a-f]{32}\$" "--force takes it over"
expect_byte "$second" 0 4096 0x11 "the new URI sees the data"
refused_by_nbd "$first" . "the old URI is refused"

run gridbox volume attach v2 v1
is "$(printf '%s\n' "$out" | sed 's,.*/\(.*\)\..*,\1,' | tr '\n' ' ')" "v2 v1 " \
    "URIs come in the order given"
run gridbox volume attach --all
is "$(printf '%s\n' "$out" | sed 's,.*/\(.*\)\..*,\1,' | tr '\n' ' ')" "v0 v1 v2 " \
    "--all: in the order of creation"
is "$(printf '%s\n' "$out" | head -n 1)" "$second" "--all prints the URI of an attached one again"

run gridbox volume detach v0
status_is 0 "detach"
refused_by_nbd "$second" . "a detached URI is refused"
run gridbox volume detach v0
status_is 1 "a second detach fails"
run gridbox volume remove v1
status_is 1 "an attached volume cannot be removed"
run gridbox volume detach --all
is "$status $out" "0 " "detach --all"
run gridbox volume list --json
is "$(json '[.volumes[] | select(.attachment)] | length')" 0 "leaves none attached"
run gridbox volume detach --all --json
is "$(json '.volumes | length')" 0 "and then there is nothing to do"
run gridbox volume remove v0 v1 v2
status_is 0 "detached ones can"
run gridbox volume list --json
is "$(json '.volumes | length')" 0 "nothing is left"

# Secrets stay where they belong.
token=${second##*.}
grep -q "$token" "$server_log" && rc=1 || rc=0
ok "$rc" "no token in the log"
run gridbox events --json
unlike "$out" "$token" "no token in the events"
done_testing

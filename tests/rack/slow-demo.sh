#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The demo: without a terminal it ends at the Debian guest's login prompt; on one it stays, the ssh line that it prints logs in,
# and Ctrl-C ends it.  Nothing is left running either way.
# limit: 3600
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/lib/tap.sh
. tests/lib/tap.sh

needs script ssh

# Processes that were started by a demo of this test.
left_over() { pgrep -f "$PWD/build/demo|build/gridboxd --state build/demo" | grep -cvx $$; }

run env -u RACK_INSIDE scripts/demo </dev/null
status_is 0 "without a terminal the demo ends by itself"
like "$out" '^ +[0-9]+ s  .*after power-on: create debian-1' "it shows the stages with their times"
like "$out" '^debian-1 \| .*login:' "and the guest's console up to its login prompt"
is "$(left_over)" 0 "nothing is left running"

# On a terminal: the keyboard is a pipe that stays open.
mkfifo "$tap_tmp/keys"
script -qfec "exec scripts/demo" "$tap_tmp/screen" <"$tap_tmp/keys" >/dev/null 2>&1 &
demo=$!
exec 7>"$tap_tmp/keys"
# shellcheck disable=SC2317 # called at the end
end_demo() { kill "$demo" 2>/dev/null; }
tap_cleanup end_demo
tap_wait 1800 "on a terminal it says how to go on" grep -q 'Ctrl-C switches everything off' "$tap_tmp/screen"
ssh_line=$(sed -n 's/\r$//; s/^ *ssh: *//p' "$tap_tmp/screen")
tap_wait 300 "the ssh line that it prints logs in" sh -c "$ssh_line -o ConnectTimeout=20 sudo -n true"
printf '\003' >&7
exec 7>&-
wait "$demo"
is "$(left_over)" 0 "after Ctrl-C nothing is left running"
done_testing

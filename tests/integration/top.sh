#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/top.sh - top shows what volumes do; on a terminal until Ctrl-C, which leaves it as it was
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs script

start_server
truncate -s 16M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
busy=$(new_volume busy zero)
new_volume idle zero >/dev/null
nbdsh -u "$busy" -c '
import os
open("'"$tap_tmp"'/there", "w").close()
while not os.path.exists("'"$tap_tmp"'/stop"):
    h.pread(4096, 0)
    h.pwrite(b"x" * 4096, 4096)
' >"$tap_tmp/client" 2>&1 &
client=$!
tap_cleanup "kill $client 2>/dev/null; wait $client 2>/dev/null"
tap_wait 20 "a client reads and writes" test -e "$tap_tmp/there"

run gridbox top --once --seconds 1
status_is 0 "one look"
like "$out" '^VOLUME +HOST +IOPS +READ/S +WRITE/S +LATENCY +P99 +DIRTY +STALL$' "has a heading"
like "$out" '^busy +command line +[1-9][0-9]* +[0-9.]+ [KM]iB +[0-9.]+ [KM]iB +[0-9.]+ (us|ms) ' "and what is done"
like "$out" '^idle +command line +- +- +- +- +- ' "and what is not"
is "$(printf '%s\n' "$out" | sed -n '4s/ .*//p')" busy "the busiest first"
run gridbox top --once --seconds 1 --sort volume --json
is "$(json '[.volumes[].volume] | join(" ")')" "busy idle" "as JSON, sorted by name"
is "$(json '.volumes[0].iops > 0 and .volumes[0].latency_us > 0 and .volumes[1].iops == 0')" true "with figures"

# On a terminal, until Ctrl-C: no shell stays beside it, which the signal would end with another status.
cat >"$tap_tmp/watch" <<END
exec $as_is "$build/gridbox" top --seconds 1
END
(
    tap_deadline=$(($(date +%s) + 15))
    until grep -q busy "$tap_tmp/tty" 2>/dev/null || [ "$(date +%s)" -ge "$tap_deadline" ]; do
        timeout 0.1 tail -f /dev/null
    done
    printf '\003'
    timeout 5 tail -f /dev/null
) | script -qefc "stty rows 10 cols 60; exec sh $tap_tmp/watch" "$tap_tmp/tty" >/dev/null 2>&1
is $? 0 "on a terminal Ctrl-C ends it well"
esc=$(printf '\033')
screen=$(tr -d "\r" <"$tap_tmp/tty" | sed -e "s/$esc\[[?0-9]*[a-zA-Z]//g" -e "s/\^C//")
like "$screen" '^busy ' "it shows the same there"
is "$(printf '%s\n' "$screen" | awk '/^[^S]/ && length > 60' | wc -l)" 0 "and keeps to its width"
like "$(tail -c 200 "$tap_tmp/tty")" "$esc\[\?1049l" "and gives the terminal back"
touch "$tap_tmp/stop"
done_testing

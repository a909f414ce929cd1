#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A guest writes, flushes and verifies its disk while the server is restarted and killed, has no room for it, a cable is pulled, and
# the server's power is cut: no I/O error in guest or dom0, and after the power cut, and a reset, exactly the domain that was writing is
# started anew, with all it had flushed.
#   RACK_KILLS (2): how often the server is killed     RACK_CABLE (60): seconds without a cable     RACK_PARKED (5): without room
# limit: 1200
# shellcheck source=tests/rack/functions.sh
. "$(dirname "$0")/functions.sh"

kills=${RACK_KILLS:-2}
cable=${RACK_CABLE:-60}
parked=${RACK_PARKED:-5}
live=/run/gridbox # where gridboxd keeps its live maps; /run is this rack's own

start_server()
{
    "$build/gridboxd" --state "$state" --boot lab0 --boot-files "$build/boot" --boot-debug \
        >>"$RACK_DIR/gridboxd.log" 2>&1 &
    server_pid=$!
}

end_server() # SIGNAL
{
    kill -s "$1" "$server_pid"
    { wait "$server_pid"; } 2>/dev/null # bash would tell that it was killed
}

# The lines of the load that came since the last mark.
load_lines() { tail -n "+$((${marks[pc1]:-0} + 1))" "$(rack log pc1)" | grep -F 'busy | tiny-load ops='; }
longest() { load_lines | sed -n 's/.* stall_ms=\([0-9]*\) .*/\1/p' | sort -n | tail -n 1; }
domids() { gb --json domain list | jq -c '[.domains[] | {(.name): .domid}] | add'; }
domid_of() { domids | jq ".$1"; }
# shellcheck disable=SC2317 # called by tap_wait
paused() { [[ $(domain_field busy detail) == paused:* ]]; }
# shellcheck disable=SC2317
connected() { gb --json volume list | jq -c '[.volumes[] | {(.name): .attachment.connected}] | add'; }
# shellcheck disable=SC2317
all_connected() { [ "$(connected)" = '{"busy":true,"quiet":true}' ]; }

# After an outage: the disks are connected again and the load goes on, without an error.
goes_on() # WHAT SECONDS
{
    see_new pc1 'disk busy: .*connected again' "$2" "$1: the disk is connected again"
    answers "$1" "$2"
}
answers() # WHAT SECONDS
{
    mark_here=$(wc -l <"$(rack log pc1)")
    # Two more lines whose requests were quick: nothing waits any more.
    tap_wait "$2" "$1: the guest's requests are answered" quick_again
    like "$(load_lines | tail -n 1)" 'errors=0 bad=0 ' "no error in the guest, and nothing that it did not write"
    diag "$1: longest stall $(longest) ms"
}
# shellcheck disable=SC2317
quick_again()
{
    [ "$(tail -n "+$mark_here" "$(rack log pc1)" | grep -cE 'busy \| tiny-load ops=.* stall_ms=[0-9]{1,3} ')" -ge 2 ]
}

start_server
tap_cleanup stop_rack_server
tap_wait 20 "gridboxd serves" gb status
must "the image tiny is imported" gb image import tiny "$build/images/tiny.raw"
cp --sparse=always "$build/images/tiny.raw" "$tap_tmp/load.raw"
echo 4 >"$tap_tmp/load"
must "its load is switched on in a copy" debugfs -w -R "write $tap_tmp/load load" "$tap_tmp/load.raw"
must "which is imported" gb image import tiny-load "$tap_tmp/load.raw"
must "the PC is expected" gb host approve "$(rack mac pc1)" --name pc1
must "a domain is defined that works" gb domain define busy --host pc1 --image tiny-load --memory 160 --vcpus 1
must "and one that is idle" gb domain define quiet --host pc1 --image tiny --memory 160 --vcpus 1
must "the idle one is ordered to run" gb domain start quiet
must "and the other" gb domain start busy
rack pc pc1
see pc1 'quiet \| tiny-ready boots=1 ' 400 "the idle guest is ready"
see pc1 'busy \| tiny-ready boots=1 ' 300 "the other guest is ready"
see pc1 'busy \| tiny-load begins flushed=0 lost=0 bad=0' 60 "it puts its disk to work"
see pc1 'busy \| tiny-load ops=.* flushes=[1-9]' 60 "writes and flushes"
tap_wait 30 "both disks are connected" all_connected
before=$(domids)

mark pc1
end_server TERM
start_server
goes_on "stopped and started" 90

worst=0
for ((n = 1; n <= kills; n++)); do
    mark pc1
    end_server KILL
    start_server
    goes_on "killed ($n of $kills)" 90
    [ "$(longest)" -le "$worst" ] || worst=$(longest)
done
ok "$([ "$worst" -lt 5000 ]; echo $?)" "$kills times killed: the longest stall is $worst ms, less than 5 s"

mark pc1
must "a snapshot of the working disk is taken" gb volume snapshot one busy
answers "snapshot" 60
mark pc1
must "its new layer gets a quota of 1 MiB" gb volume quota busy 1M
tap_wait 120 "soon its domain is paused" paused
timeout "$parked" tail -f /dev/null
is "$(domid_of quiet)" "$(jq .quiet <<<"$before")" "for $parked s; the idle one is as it was"
must "the quota is lifted" gb volume quota busy none
answers "parked" 120
is "$(domids)" "$before" "the domains are the same ones"

mark pc1
must "the cable is pulled" rack link pc1 down
timeout "$cable" tail -f /dev/null
must "and put in again after $cable s" rack link pc1 up
goes_on "cable" 120
tap_wait 60 "both disks are connected" all_connected
is "$(domids)" "$before" "the domains are the same ones"
is "$(grep -cE 'I/O error|Buffer I/O|tiny-load (error|bad)' "$(rack log pc1)")" 0 "no I/O error in the guests or dom0"

mark pc1
end_server KILL
rm -rf "$live"
start_server
see_new pc1 'busy \| tiny-ready boots=2 ' 200 "the server's power was cut: the guest that was writing is booted anew"
see_new pc1 'busy \| tiny-load begins flushed=[1-9][0-9]* lost=0 bad=0' 60 "with all that it had flushed"
tap_wait 60 "both disks are connected" all_connected
is "$(gb events --json | jq -r '[.events[] | select(.kind == "volume-epoch") | .object] | join(" ")')" busy \
    "its volume alone has begun an epoch"

mark pc1
must "the working disk is reset" gb volume reset busy
see_new pc1 'busy \| tiny-ready boots=1 ' 200 "its guest begins anew, with the content of the image"
see_new pc1 'busy \| tiny-load ops=.* errors=0 bad=0 ' 60 "and works"
tap_wait 60 "both disks are connected" all_connected
is "$(domid_of quiet)" "$(jq .quiet <<<"$before")" "the idle domain has run on all the time"
is "$(grep -c 'quiet | tiny-ready' "$(rack log pc1)")" 1 "its guest has not booted again"
done_testing

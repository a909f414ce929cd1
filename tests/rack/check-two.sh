#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Two PCs at once, each with a domain; on one of them the agent is killed at each stage of its work and when the domain runs:
# it carries on, and the domains are not disturbed.  Then the other PC's plug is pulled.
# limit: 900
# shellcheck source=tests/rack/functions.sh
. "$(dirname "$0")/functions.sh"

# As soon as there is one to kill.
kill_agent() { dom0 pc1 'until killall -9 gridbox-host; do usleep 10000; done 2>/dev/null'; }

# What the guest has said since its ready line; a domain that was restarted would say a second one.
ready_lines() { grep -cE 'tiny-[12] \| tiny-ready' "$(rack log "$1")"; }

rack_server --boot-debug
for n in 1 2; do
    must "pc$n is expected" gb host approve "$(rack mac pc$n)" --name pc$n
    must "its domain is defined" gb domain define tiny-$n --host pc$n --image tiny --memory 192 --vcpus 1
done
rack pc pc1
rack pc pc2

see pc1 'gridbox-stage: registered ' 400 "pc1 has registered"
see pc2 'gridbox-stage: registered ' 400 "pc2 has registered"
# dom0 itself watches for each stage and kills at once: a line on the console would come too late.
# shellcheck disable=SC2016 # dom0's shell expands it
dom0 pc1 'for at in "pidof gridbox-host" "test -s /run/gridbox/session" "test -e /sys/block/nbd0/backend" \
"test -e /sys/bus/xen-backend/devices/vbd-*-51712"; do until $at; do usleep 2000; done >/dev/null; \
until killall -9 gridbox-host; do usleep 2000; done 2>/dev/null; echo killed at $at; done'
see pc1 'killed at pidof' 100 "the agent of pc1 is killed while it waits for orders"
see pc1 'killed at test -s' 100 "it is killed when it comes back and has its session"
must "the domains are ordered to run" gb domain start tiny-1 tiny-2
see pc1 'killed at test -e .sys.block' 100 "it is killed when it has attached the volume"
see pc1 'killed at test -e .sys.bus' 100 "it is killed while it creates the domain"
see pc1 'tiny-1 \| tiny-ready boots=1 ' 400 "the domain of pc1 is ready all the same"
see pc2 'tiny-2 \| tiny-ready boots=1 ' 400 "the domain of pc2 is ready"

domid=$(domain_field tiny-1 domid)
mark pc1
kill_agent
see_new pc1 'gridbox-stage: registered |gridbox-stage: spec ' 150 "killed under a running domain, the agent is back"
tap_wait 60 "and tells that the domain runs" domain_is tiny-1 running
is "$(domain_field tiny-1 domid)" "${domid}" "it is the same domain as before"
is "$(ready_lines pc1) $(ready_lines pc2)" "1 1" "no guest was started twice"
is "$(domain_field tiny-2 state)" running "the other PC was not disturbed"

rack off pc2
rack pc pc2
see pc2 'tiny-2 \| tiny-ready boots=2 ' 400 "a PC whose plug was pulled comes back, its domain with what it had written"
tap_wait 30 "the server hears that it runs" domain_is tiny-2 running
done_testing

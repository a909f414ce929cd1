#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Two PCs at once, each with a domain; on one of them the agent is killed at each stage of its work and when the domain runs:
# it carries on, and the domains are not disturbed.
# limit: 900
# shellcheck source=tests/rack/functions.sh
. "$(dirname "$0")/functions.sh"

kill_agent() { dom0 pc1 'pkill -KILL gridbox-host'; }

# What the guest has said since its ready line; a domain that was restarted would say a second one.
ready_lines() { grep -cE 'tiny-[12] \| tiny-ready' "$(rack log "$1")"; }

rack_server --boot-debug
for n in 1 2; do
    must "pc$n is expected" gb host approve "$(rack mac pc$n)" --name pc$n
    must "its domain is defined" gb domain define tiny-$n --host pc$n --image tiny --memory 192 --vcpus 1
done
must "the domains are ordered to run" gb domain start tiny-1 tiny-2
rack pc pc1
rack pc pc2

for stage in 'agent ' 'registered ' 'attach tiny-1' 'create tiny-1'; do
    see pc1 "gridbox-stage: $stage" 400 "pc1 reaches: $stage"
    mark pc1
    kill_agent
    see_new pc1 'gridbox: gridbox-host ended \(status 137\)|gridbox: agent ended \(status 137\)' 60 "the agent was killed there"
done
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
done_testing

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The agent is killed at each stage of a domain's life: the next one carries on, and no domain is disturbed that need not be.
# limit: 480
# shellcheck source=tests/rack/functions.sh
. "$(dirname "$0")/functions.sh"

# shellcheck disable=SC2016 # dom0's shell expands it
kill_agent() { dom0 pc1 'kill -9 $(pidof gridbox-host)'; }

# Kills the agent as soon as a new line of the serial log matches, and waits for the next agent.
kill_agent_at() # REGEX SECONDS WHERE
{
    see_new pc1 "$1" "$2" "the agent comes to: $3"
    mark pc1
    kill_agent
    see_new pc1 'gridbox-stage: agent ' 60 "killed there, it is started again"
}

# shellcheck disable=SC2317 # called by tap_wait
connected() { [ "$(gb --json volume list | jq -r '.volumes[0].attachment.connected')" = true ]; }

domid() { domain_field tiny-1 domid; }

rack_server --boot-debug
must "the PC is expected" gb host approve "$(rack mac pc1)" --name pc1
must "a domain is defined" gb domain define tiny-1 --host pc1 --image tiny --memory 192 --vcpus 1
rack pc pc1
mark pc1
kill_agent_at 'gridbox-stage: agent ' 300 "its start"
see_new pc1 'gridbox-stage: (registered|spec) ' 60 "it is known to the server"
mark pc1
kill_agent
see_new pc1 'gridbox-stage: spec ' 60 "killed when registered, the next one has its session"

mark pc1
must "the domain is ordered to run" gb domain start tiny-1
kill_agent_at 'gridbox-stage: attach tiny-1' 60 "attached, about to create"
see_new pc1 'gridbox-stage: create tiny-1' 120 "the next one finds the disk, and creates the domain"
see_new pc1 'tiny-1 \| tiny-ready boots=1 ' 150 "its guest is ready, at its first boot"
tap_wait 30 "the server hears that it runs" domain_is tiny-1 running

before=$(domid)
mark pc1
kill_agent
see_new pc1 'disk tiny-1: .*connected again' 60 "killed while the guest runs, the next one connects its disk anew"
tap_wait 30 "the server sees the disk connected" connected
is "$(domid)" "$before" "the domain is the same one"
is "$(grep -c 'tiny-ready' "$(rack log pc1)")" 1 "its guest has not booted again"

mark pc1
must "it is ordered to stop" gb domain stop tiny-1
kill_agent
tap_wait 120 "killed on the way, the next one stops it" domain_is tiny-1 stopped
mark pc1
must "it is started again" gb domain start tiny-1
see_new pc1 'tiny-1 \| tiny-ready boots=2 ' 150 "what the guest wrote is there"
tap_wait 30 "the server hears that it runs" domain_is tiny-1 running

done_testing

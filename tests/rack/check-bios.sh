#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A BIOS PC with two network cards, booting by the second through undionly.kpxe: power-on to a guest's ready line; its disk is
# the golden image, its writes survive a restart and are in nobody else's volume.  Prints the table of stages.
# limit: 600
# shellcheck source=tests/rack/functions.sh
. "$(dirname "$0")/functions.sh"

rack_server
mac=$(rack mac pc1 1)
must "the PC is expected, with the loader of a vendor's ROM" gb host approve "$mac" --name pc1 --loader undionly
must "a domain is defined" gb domain define tiny-1 --host pc1 --image tiny --memory 192 --vcpus 1
must "another volume is made of the same image" gb volume create bystander --image tiny
must "the domain is ordered to run" gb domain start tiny-1

rack pc pc1 --nic e1000 --nic e1000 --boot-nic 1
see pc1 'iPXE.*|iPXE initialising' 60 "the ROM starts iPXE"
see pc1 'gridbox-stage: dom0 ' 300 "dom0 runs its init"
like "$(cat "$RACK_DIR/gridboxd.log")" 'sent .*undionly\.kpxe' "undionly.kpxe went over TFTP"
see pc1 'gridbox-stage: registered ' 120 "the agent has registered"
is "$(gb --json host list | jq -r '.hosts[0] | .name + " " + .state')" "pc1 approved" "the server knows the PC as approved"
like "$(gb --json host list | jq -r '.hosts[0].macs[]')" "^$(rack mac pc1 0)\$" "it has told the address of its other card"
see pc1 'gridbox-stage: attach tiny-1' 60 "the volume is attached"
see pc1 'gridbox-stage: create tiny-1' 120 "the domain is created"
see pc1 'tiny-1 \| tiny-ready boots=1 ' 150 "the guest is ready; its golden file is whole"
tap_wait 30 "the server hears that it runs" domain_is tiny-1 running

mark pc1
must "the domain is stopped cleanly" gb domain stop tiny-1
tap_wait 120 "it is stopped" domain_is tiny-1 stopped
must "and started again" gb domain start tiny-1
see_new pc1 'tiny-1 \| tiny-ready boots=2 ' 200 "its write has survived"

must "it is stopped again" gb domain stop tiny-1
tap_wait 120 "it is stopped" domain_is tiny-1 stopped
# What no guest has touched is the golden image to the byte.
must "the other volume is opened" gb volume attach bystander
bystander=$out
must "and read" nbdcopy "$bystander" "$tap_tmp/bystander.raw"
run cmp "$tap_tmp/bystander.raw" "$build/images/tiny.raw"
status_is 0 "the other volume is the golden image to the byte"
must "the domain's volume is taken over by the command line" gb volume attach --force tiny-1
own=$out
must "and read" nbdcopy "$own" "$tap_tmp/own.raw"
is "$(debugfs -R 'cat /boot-count' "$tap_tmp/own.raw" 2>/dev/null)" 2 "the domain's volume holds its own write"

stage_table pc1 'firmware:SeaBIOS' 'dhcp:Next server' 'ipxe:boots Xen and dom0 from' 'xen:Xen version' \
    'dom0:gridbox-stage: dom0 ' 'network:gridbox-stage: network ' 'xen-ready:gridbox-stage: xen-ready ' \
    'agent:gridbox-stage: agent ' 'registered:gridbox-stage: registered ' 'attach:gridbox-stage: attach ' \
    'create:gridbox-stage: create ' 'ready:tiny-ready boots=1 '
done_testing

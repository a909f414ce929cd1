#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A UEFI PC, unknown to the server, by its firmware's own PXE through ipxe.efi and xen.efi: it registers, waits, is approved.
# limit: 600
# shellcheck source=tests/rack/functions.sh
. "$(dirname "$0")/functions.sh"

rack_server
rack pc pc1 --uefi
see pc1 'gridbox-stage: dom0 ' 400 "dom0 runs its init"
like "$(cat "$RACK_DIR/gridboxd.log")" 'sent .*ipxe\.efi' "ipxe.efi went over TFTP"
see pc1 'gridbox-stage: registered ' 150 "the agent has registered"
host=$(gb --json host list | jq -r '.hosts[0].name')
is "$(gb --json host list | jq -r '.hosts[0].state')" waiting "a PC that nobody knows waits"
must "it is approved" gb host approve "$host" --name lab-pc
is "$(gb --json host list | jq -r '.hosts[0] | .name + " " + .state')" "lab-pc approved" "and has its new name"
is "$(gb --json host list | jq -r '.hosts[0].uuid')" "77777777-0000-4000-8000-$(rack mac pc1 | tr -d :)" "its SMBIOS UUID is known"

stage_table pc1 'firmware:BdsDxe|PXE' 'dhcp:NBP filename|Station IP' 'ipxe:boots Xen and dom0 from' 'xen:Xen version|Xen 4\.' \
    'dom0:gridbox-stage: dom0 ' 'agent:gridbox-stage: agent ' 'registered:gridbox-stage: registered '
done_testing

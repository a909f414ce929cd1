#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# limit: 120
# tests/integration/domain-disk.sh - what a host's agent is told of a domain and its disk: at start and stop,
# after the server was killed or its power was cut, when somebody takes the disk, and when the domain is removed
if [ -z "${DOMAIN_DISK:-}" ]; then
    exec env DOMAIN_DISK=1 unshare --net --mount --propagation private -- "$0"
fi
mount -t tmpfs none /run || exit 1 # for this test alone
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs ip dnsmasq qemu-io prlimit

server_wrapper="env --ignore-signal=XFSZ" # a write beyond its file size limit fails, and it lives

{
    ip netns add pc
    ip link add lab0 type veth peer name eth0 netns pc address 52:54:00:00:01:01
    ip addr add 10.77.0.1/24 dev lab0
    ip link set lo up
    ip link set lab0 up
    ip -n pc addr add 10.77.0.11/24 dev eth0
    ip -n pc link set lo up
    ip -n pc link set eth0 up
} >"$tap_tmp/net.log" 2>&1
ok $? "a network" || sed 's/^/# /' "$tap_tmp/net.log"
mkdir "$tap_tmp/boot"
for file in xen xen.efi vmlinuz dom0.img undionly.kpxe ipxe.efi; do
    echo "$file" >"$tap_tmp/boot/$file"
done
http=127.0.0.1:8420
nbd=127.0.0.1:10809
start() { start_server --boot lab0 --boot-files "$tap_tmp/boot" --approve 52:54:00:00:01; }

# The agent's part is played by curl.
from_pc() # TOKEN PATH [BODY]
{
    ip netns exec pc curl -s --noproxy '*' -m 30 -H "Authorization: Bearer $1" ${3+-d "$3"} \
        -w '\n%{http_code}' "http://10.77.0.1:8420$2" >"$tap_tmp/answer"
    code=$(tail -n 1 "$tap_tmp/answer")
    sed '$d' "$tap_tmp/answer"
}
spec() { from_pc "$session" "/v1/agent/spec?revision=${1:-0}&wait=${2:-0}" >"$tap_tmp/spec"; }
of_spec() { jq -r "$1" "$tap_tmp/spec"; }
report() # STATE
{
    from_pc "$session" /v1/agent/report "{\"revision\": $(of_spec .revision), \"domains\": [{\"name\": \"d1\",
        \"state\": \"$1\", \"incarnation\": 0, \"domid\": 0, \"detail\": \"\"}]}" >"$tap_tmp/reported"
}
uri() { printf 'nbd://10.77.0.1:10809/%s' "$(of_spec '.domains[0].disks[0].export_name')"; }

start
truncate -s 16M "$tap_tmp/zero"
import_image zero "$tap_tmp/zero"

# ---- a host that the rule approves --------------------------------------------------------------
token=$(from_pc '' '/boot/ipxe?mac=52:54:00:00:01:01&platform=pcbios' | grep -o 'gridbox\.token=[0-9a-f]*' | cut -d= -f2)
facts='{"macs": ["52:54:00:00:01:01"], "uuid": "", "cpu": "x", "cpus": 1, "memory_mib": 1024, "hvm": true,
    "agent_version": "1"}'
first=$(from_pc "$token" /v1/agent/register "$facts" | jq -r .session)
session=$(from_pc "$token" /v1/agent/register "$facts" | jq -r .session)
like "$session" '^[0-9a-f]{64}$' "an answer that was lost is asked for again with the same token"
from_pc "$first" '/v1/agent/spec?revision=0' >"$tap_tmp/spec"
is "$code" 401 "then the session before is void"
spec
is "$(of_spec '.approved, (.domains | length)' | tr '\n' ' ')" "true 0 " "the rule approves it; there is nothing to do"
from_pc "$token" /v1/agent/register "$facts" >"$tap_tmp/refusal"
is "$code" 401 "the token is void once the session has been used"
from_pc "$(printf '%064d' 0)" '/v1/agent/spec?revision=0' >"$tap_tmp/refusal"
is "$code" 401 "an agent with a wrong session hears nothing"
spec "$(of_spec .revision)" 0
is "$code" 304 "no news is 304"

# ---- start --------------------------------------------------------------------------------------
run gridbox domain define d1 --host pc-525400000101 --image zero --memory 64 --vcpus 1
status_is 0 "a domain is defined"
run gridbox domain define d1 --host pc-525400000101 --image zero --memory 64 --vcpus 1
status_is 1 "and not again"
like "$err" "there is a domain 'd1' already" "in words of the domain"
spec
is "$(of_spec '.domains[0] | .name, .running, (.disks | length)' | tr '\n' ' ')" "d1 false 0 " "it is not to run yet"
ip netns exec pc curl -s --noproxy '*' -m 30 -H "Authorization: Bearer $session" -o "$tap_tmp/poll" \
    "http://10.77.0.1:8420/v1/agent/spec?revision=$(of_spec .revision)&wait=25" &
poll=$!
run gridbox domain start d1
status_is 0 "it is started"
wait "$poll"
is "$(jq -r '.domains[0].running' "$tap_tmp/poll")" true "the agent that waits hears of it"
spec
cp "$tap_tmp/spec" "$tap_tmp/spec1"
is "$(of_spec '.domains[0].disks[0] | .address, .port' | tr '\n' ' ')" "10.77.0.1 10809 " \
    "the disk is where the host found the server"
run gridbox domain start d1
spec
is "$(of_spec '.domains[0].incarnation')" "$(jq -r '.domains[0].incarnation' "$tap_tmp/spec1")" \
    "starting it again changes nothing"
run gridbox volume attach d1
status_is 1 "nobody else gets its disk"
like "$err" 'attached to pc-525400000101 since' "as the refusal says"

# ---- the server is killed, the machine lives ------------------------------------------------------
old=$(uri)
nbd_write "$old" 4096 4096 0x5a
ok $? "the host writes and flushes"
kill_server
start
spec
is "$code" 200 "the session survives the server"
is "$(of_spec '.domains[0].incarnation')" "$(jq -r '.domains[0].incarnation' "$tap_tmp/spec1")" \
    "the domain runs on"
expect_byte "$old" 4096 4096 0x5a "over the same attachment"

# ---- its power is cut: the live maps are gone -----------------------------------------------------
nbd_write "$old" 4096 4096 0x5a
kill_server
rm -r "$live"
start
spec
run jq -n --slurpfile a "$tap_tmp/spec1" --slurpfile b "$tap_tmp/spec" '
    ($a[0].domains[0]) as $a | ($b[0].domains[0]) as $b | if $b.running
    and $b.incarnation != $a.incarnation and $b.disks[0].epoch > $a.disks[0].epoch
    and $b.disks[0].generation > $a.disks[0].generation then 0 else halt_error end'
status_is 0 "the domain is to begin anew: another incarnation, a higher epoch and generation"
nbd_is_byte "$old" 4096 4096 0x5a
ok $((! $?)) "the old attachment opens nothing"
expect_byte "$(uri)" 4096 4096 0x5a "the new one has what was flushed"
stop_server
start
cp "$tap_tmp/spec" "$tap_tmp/spec1"
spec
is "$(of_spec '.domains[0].incarnation')" "$(jq -r '.domains[0].incarnation' "$tap_tmp/spec1")" \
    "a server that ended in order changes nothing"

# ---- its disk waits for room -------------------------------------------------------------------
spec
run gridbox volume quota d1 1M
status_is 0 "the disk gets a quota"
disk=$(uri)
nbd_write "$disk" 0 4194304 0x77 &
writer=$!
spec "$(of_spec .revision)" 20
is "$(of_spec '.domains[0] | .running, .paused' | tr '\n' ' ')" "true true " "a write beyond it waits: the domain is to be paused"
before=$(of_spec '.domains[0].incarnation')
run gridbox volume quota d1 none
spec "$(of_spec .revision)" 20
is "$(of_spec '.domains[0] | .running, .paused' | tr '\n' ' ')" "true false " "there is room: it is to go on"
is "$(of_spec '.domains[0].incarnation')" "$before" "as the same one"
wait "$writer"
ok $? "the write was done, without an error"
run gridbox events --json
is "$(json '[.events[] | select(.object == "d1" and (.kind | test("parked|resumed"))) | .kind] | join(" ")')" \
    "volume-parked volume-resumed" "both are events"

# ---- reset -------------------------------------------------------------------------------------
run gridbox volume reset d1
status_is 0 "the disk is reset under the domain"
cp "$tap_tmp/spec" "$tap_tmp/spec1"
spec "$(of_spec .revision)" 20
run jq -n --slurpfile a "$tap_tmp/spec1" --slurpfile b "$tap_tmp/spec" '
    ($a[0].domains[0]) as $a | ($b[0].domains[0]) as $b | if $b.running
    and $b.incarnation != $a.incarnation and $b.disks[0].epoch > $a.disks[0].epoch then 0 else halt_error end'
status_is 0 "it is to begin anew"
expect_byte "$(uri)" 0 4096 0x00 "with the content of its image"

# ---- it fails ----------------------------------------------------------------------------------
disk=$(uri)
prlimit --pid "$server_pid" --fsize=4194304:
nbd_write "$disk" 8388608 4096 0x43
ok $((! $?)) "a write fails"
prlimit --pid "$server_pid" --fsize=unlimited:
spec "$(of_spec .revision)" 20
is "$(of_spec '.domains[0] | .running, (.disks | length)' | tr '\n' ' ')" "false 0 " \
    "the host is told at once: nothing is left to run on"
run gridbox domain start d1
status_is 0 "it is started anew"
spec
is "$(of_spec '.domains[0].running')" true "and the host is told"
expect_byte "$(uri)" 8388608 4096 0x00 "its disk is as at its last flush"

# ---- taken by force, started again --------------------------------------------------------------
run gridbox volume attach d1 --force
status_is 0 "the command line takes the disk by force"
spec
is "$(of_spec '.domains[0] | .running, (.disks | length)' | tr '\n' ' ')" "false 0 " "the host is told to stop the domain"
run gridbox domain start d1
status_is 1 "it cannot be started without its disk"
like "$err" 'gridbox volume detach d1' "the refusal says what to do"
run gridbox volume detach d1
run gridbox domain start d1
status_is 0 "when that is done it starts"
spec
is "$(of_spec '.domains[0].running')" true "and the host is told"

# ---- stop and remove ----------------------------------------------------------------------------
report running
is "$code" 204 "the agent reports"
is "$(gridbox --json domain list | jq -r '.domains[0].state')" running "what it says is shown"
run gridbox domain remove d1
status_is 1 "a domain that runs is not removed"
run gridbox domain stop d1
spec
is "$(of_spec '.domains[0].running')" false "stop is told"
is "$(gridbox --json volume list | jq -r '.volumes[0].attachment.host')" pc-525400000101 "the disk stays until it is done"
run gridbox domain remove d1
status_is 1 "nor one that is about to stop"
report stopped
is "$(gridbox --json volume list | jq -r '.volumes[0].attachment')" null "then it is given back"
run gridbox host forget pc-525400000101
status_is 1 "a host with domains is not forgotten"
run gridbox domain remove d1 --keep-volume
status_is 0 "the domain is removed"
is "$(gridbox --json volume list | jq -r '.volumes[0] | .name + " " + (.domain | tostring)')" "d1 null" "its volume stays"
run gridbox domain define d1 --host pc-525400000101 --image zero --memory 64 --vcpus 1
status_is 1 "its name is not free while that is there"
run gridbox volume remove d1
run gridbox domain define d1 --host pc-525400000101 --image zero --memory 64 --vcpus 1
run gridbox domain remove d1
status_is 0 "without --keep-volume the volume goes with the domain"
is "$(gridbox --json volume list | jq -r '.volumes | length')" 0 "as one sees"
run gridbox host forget pc-525400000101
status_is 0 "then the host can be forgotten"
spec
is "$code" 401 "and its agent has to register again"
done_testing

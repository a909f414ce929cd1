#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# limit: 180
# tests/integration/lab-rehearsal.sh - a PC asks for its script, registers, runs a domain, without Xen:
# the real server, boot service and agent, with simulated domains, in network name spaces of their own
if [ -z "${REHEARSAL:-}" ]; then
    exec env REHEARSAL=1 unshare --net --mount --propagation private -- "$0"
fi
mount -t tmpfs none /run || exit 1 # for this test alone; `ip netns` and the agent write there
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs ip dnsmasq "$build/gridbox-host"

# ---- a server and two PCs on one cable ----------------------------------------------------------
pc1_mac=52:54:00:00:01:01
pc2_mac=52:54:00:00:01:02
{
    ip link set lo up
    ip link add lab0 type bridge
    ip addr add 10.77.0.1/24 dev lab0
    for n in 1 2; do
        ip netns add "pc$n"
        ip link add "port$n" type veth peer name eth0 netns "pc$n" address "52:54:00:00:01:0$n"
        ip link set "port$n" master lab0 up
        ip -n "pc$n" link set lo up
        ip -n "pc$n" addr add "10.77.0.1$n/24" dev eth0
        ip -n "pc$n" link set eth0 up
    done
    ip link set lab0 up
} >"$tap_tmp/net.log" 2>&1
ok $? "a network" || sed 's/^/# /' "$tap_tmp/net.log"
on() { # PC COMMAND...
    on_pc=$1
    shift
    ip netns exec "$on_pc" "$@"
}

mkdir "$tap_tmp/boot"
for file in xen xen.efi vmlinuz dom0.img undionly.kpxe ipxe.efi; do
    echo "$file" >"$tap_tmp/boot/$file"
done
server=http://10.77.0.1:8420
http=127.0.0.1:8420
nbd=127.0.0.1:10809
start_server --boot lab0 --boot-files "$tap_tmp/boot"
run gridbox status
like "$out" '^boot +lab0 10\.77\.0\.1, dnsmasq running' "the boot service runs"

# ---- scripts ------------------------------------------------------------------------------------
script() # PC MAC
{
    on "$1" curl -s --noproxy '*' -m 10 -o "$tap_tmp/script" -w '%{http_code}' \
        "$server/boot/ipxe?mac=$2&uuid=&chip=82540em&platform=pcbios"
}
token_of_script() { grep -o 'gridbox\.token=[0-9a-f]*' "$tap_tmp/script" | head -n 1 | cut -d= -f2; }

is "$(script pc1 $pc1_mac)" 200 "a PC gets its script"
first=$(token_of_script)
like "$first" '^[0-9a-f]{32}$' "with a token in it"
is "$(script pc2 $pc1_mac)" 403 "another PC does not get it"
unlike "$(cat "$tap_tmp/script")" 'gridbox\.token' "nor a token"
is "$(curl -s -o /dev/null -w '%{http_code}' "$server/boot/ipxe?mac=$pc1_mac&platform=pcbios")" 403 \
    "nor does the server's own machine"
is "$(on pc1 curl -s --noproxy '*' "$server/boot/vmlinuz")" vmlinuz "boot files are for everybody"
is "$(on pc1 curl -s --noproxy '*' --path-as-is -o /dev/null -w '%{http_code}' "$server/boot/../token")" \
    404 "and nothing else is"
script pc1 $pc1_mac >/dev/null
second=$(token_of_script)

# ---- the agent ----------------------------------------------------------------------------------
agent() # PC TOKEN
{
    printf '%s\n' "$2" >"$tap_tmp/$1.token"
    # shellcheck disable=SC2016 # that is for the inner sh
    ip netns exec "$1" unshare -m --propagation private sh -c '
        mkdir -p "$1/run" && mount --bind "$1/run" /run && shift && exec "$@"' sh "$tap_tmp/$1" \
        "$build/gridbox-host" run --server "$server" --token-file "$tap_tmp/$1.token" \
        --sim "$tap_tmp/$1/sim" >>"$tap_tmp/$1.log" 2>&1 &
    agent_pid=$!
}
end_agent() # SIGNAL
{
    [ -n "${agent_pid:-}" ] || return 0
    kill "-$1" "$agent_pid" 2>/dev/null || :
    wait "$agent_pid" 2>/dev/null
    agent_pid=
}
tap_cleanup 'end_agent KILL'
mkdir -p "$tap_tmp/pc1" "$tap_tmp/pc2"
host_is() { gridbox host list --json | jq -e ".hosts[] | select($1)" >/dev/null; }

agent pc1 "$first"
tap_wait 10 "a token that a newer script made void is refused" grep -qiE 'token|401|403' "$tap_tmp/pc1.log"
host_is '.state != ""' && rc=1 || rc=0
ok "$rc" "and no host is there"
end_agent KILL
rm -rf "$tap_tmp/pc1"/*

agent pc1 "$second"
tap_wait 20 "a PC registers and waits" host_is '.state == "waiting"'
name=$(gridbox host list --json | jq -r '.hosts[0].name')
run gridbox host approve "$name" --name lab-1
is "$status $out" "0 lab-1" "it is approved and gets a name"
is "$(gridbox host list --json | jq -r '.hosts[0].macs[0]')" $pc1_mac "it has told its MAC"

truncate -s 16M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
gridbox domain define web --host lab-1 --image zero --memory 128 --vcpus 1 >/dev/null
run gridbox domain start web --wait
status_is 0 "a domain is started, and waited for"
run gridbox domain list
like "$out" '^web +lab-1 +zero@1 +128 MiB +1 +running +running' "it runs"
run gridbox volume list
like "$out" '^web +zero@1 .* lab-1' "its volume is attached to the host"
run gridbox volume attach web
status_is 1 "which nobody else gets"
like "$err" 'attached to lab-1 since .*--force' "as the refusal says"

# ---- things break -------------------------------------------------------------------------------
domid=$(gridbox domain list --json | jq -r '.domains[0].domid')
end_agent KILL
agent pc1 "$second"
before=$(date +%s)
tap_wait 20 "an agent that was killed reports again" host_is ".online and .seen_at >= $before"
is "$(gridbox domain list --json | jq -r '.domains[0] | "\(.state) \(.domid)"')" "running $domid" \
    "and has disturbed no domain"
stop_server
start_server --boot lab0 --boot-files "$tap_tmp/boot"
before=$(date +%s)
tap_wait 40 "a new server hears of the host again" host_is ".online and .seen_at >= $before"
is "$(gridbox domain list --json | jq -r '.domains[0] | "\(.state) \(.domid)"')" "running $domid" \
    "the domain is the same"

run gridbox domain stop web --seconds 5 --wait
status_is 0 "it is stopped, and waited for"
run gridbox domain remove web
status_is 0 "and removed, with its volume"
is "$(gridbox volume list --json | jq '.volumes | length')" 0 "the volume is gone"
run gridbox host forget lab-1
status_is 0 "the host is forgotten"
end_agent KILL

# ---- a PC that is expected ----------------------------------------------------------------------
run gridbox host approve $pc2_mac --name lab-2
status_is 0 "a PC that is still to come is approved"
script pc2 $pc2_mac >/dev/null
third=$(token_of_script)
agent pc2 "$third"
tap_wait 20 "it is approved when it comes" host_is '.name == "lab-2" and .state == "approved" and .online'
end_agent KILL
unlike "$(cat "$server_log")" "$second|$third" "no token in the log"
done_testing

# shellcheck shell=bash disable=SC2154,SC2034,SC2054 # sourced by tests/bench/run: dir, image, host, port, pids are its
# SPDX-License-Identifier: Apache-2.0
# nbdkit with its cow filter: a process for each volume; what was written is gone when it ends.
needs=(nbdkit)
serve() # VOLUMES
{
    local i

    for ((i = 0; i < $1; i++)); do
        TMPDIR=$dir nbdkit --foreground --exit-with-parent --ipaddr "$host" --port $((port + i)) --filter=cow file "$image" &
        pids+=($!)
    done
    for ((i = 0; i < $1; i++)); do wait_port $((port + i)) || return 1; done
}
uris_of()
{
    local i

    for ((i = 0; i < $1; i++)); do printf 'nbd://%s:%d/\n' "$host" $((port + i)); done
}

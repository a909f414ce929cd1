# shellcheck shell=bash disable=SC2154,SC2034,SC2054 # sourced by tests/bench/run: dir, image, host, port, pids are its
# SPDX-License-Identifier: Apache-2.0
# nbd-server with copyonwrite: a process for each connection; what was written is gone with it.
needs=(nbd-server)
serve() # VOLUMES
{
    local i

    ln -s "$image" "$dir/golden" # what is written lies beside the name
    {
        printf '[generic]\nlistenaddr = %s\nport = %d\n' "$host" "$port"
        for ((i = 0; i < $1; i++)); do
            printf '[v%d]\nexportname = %s/golden\ncopyonwrite = true\nflush = true\n' "$i" "$dir"
        done
    } >"$dir/config"
    nbd-server -C "$dir/config" -p "$dir/pid" && wait_port "$port" && pids+=("$(cat "$dir/pid")")
}
uris_of()
{
    local i

    for ((i = 0; i < $1; i++)); do printf 'nbd://%s:%d/v%d\n' "$host" "$port" "$i"; done
}

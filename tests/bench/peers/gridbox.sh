# shellcheck shell=bash disable=SC2154,SC2034,SC2054 # sourced by tests/bench/run: dir, image, host, port, pids are its
# SPDX-License-Identifier: Apache-2.0
# Gridbox as `make` builds it.  Every flush is durable.
needs=()
control() { build/gridbox --server "unix:$dir/control.sock" "$@"; }
serve() # VOLUMES
{
    local i

    build/gridboxd --state "$dir" --http "$host:$port" --nbd "$host:$((port + 1))" --log-level warn &
    pids+=($!)
    for ((i = 0; i < 500; i++)); do
        control image list >/dev/null 2>&1 && break
        sleep 0.02
    done
    control image import golden "$image" >/dev/null &&
        control volume create v%d --image golden --count "$1" >/dev/null
}
uris_of() { control volume attach --all; }

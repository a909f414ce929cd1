# shellcheck shell=bash disable=SC2154,SC2034,SC2054 # sourced by tests/bench/run: dir, image, host, port, pids are its
# SPDX-License-Identifier: Apache-2.0
# qemu-storage-daemon, one process, a qcow2 overlay for each volume, set up as well as we can:
# subclusters, io_uring, one node for the image.  Every flush is durable.
needs=(qemu-storage-daemon qemu-img)
serve() # VOLUMES
{
    local i
    local -a args=(--blockdev "driver=file,node-name=golden-file,filename=$image,read-only=on,aio=io_uring"
        --blockdev driver=raw,node-name=golden,file=golden-file,read-only=on
        --nbd-server "addr.type=inet,addr.host=$host,addr.port=$port,max-connections=0")

    for ((i = 0; i < $1; i++)); do
        qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=128k,lazy_refcounts=on \
            -b "$image" -F raw "$dir/$i.qcow2" || return 1
        args+=(--blockdev "driver=qcow2,node-name=v$i,file.driver=file,file.aio=io_uring,file.filename=$dir/$i.qcow2,backing=golden,discard=unmap"
            --export "type=nbd,id=e$i,node-name=v$i,name=v$i,writable=on")
    done
    qemu-storage-daemon "${args[@]}" &
    pids+=($!)
    wait_port "$port"
}
uris_of()
{
    local i

    for ((i = 0; i < $1; i++)); do printf 'nbd://%s:%d/v%d\n' "$host" "$port" "$i"; done
}

# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What every recipe's build shares: the work directory and its end, finding a kernel, making the
# disk.  Sourced by images/NAME/build.  Knows nothing of what goes into any one image, nor of how
# the server stores it.


recipe_dir=$(dirname "$(realpath "$0")")
recipe=$(basename "$recipe_dir")
# shellcheck disable=SC2034 # for those who source this
top=$(realpath "$recipe_dir/../..")
work=
running=
umask 022

say() { printf '%s: %s\n' "$recipe" "$*" >&2; }
die() { say "$*"; exit 1; }
misuse() { say "$* (see --help)"; exit 2; }

needs()
{
    local tool
    for tool; do
        command -v "$tool" >/dev/null || die "$tool is missing: run scripts/deps demo"
    done
}

# Makes $work, on the file system of OUT so that the last step can be a rename.  A work directory
# that a killed build left behind is used again and removed; the lock on it tells that build from
# one that still runs.
take_work() # OUT
{
    out=$1
    [[ ! -d $out ]] || misuse "$out is a directory; OUT is the image file to write"
    [[ -d $(dirname "$out") ]] || misuse "$(dirname "$out") is no directory"
    while :; do
        mkdir -p "$out.work"
        exec {work_lock}<"$out.work"
        flock -n "$work_lock" || die "another build of $out is running"
        [[ $out.work -ef /proc/self/fd/$work_lock ]] && break
        exec {work_lock}<&-
    done
    work=$(realpath "$out.work")
    trap drop_work EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    find "$work" -mindepth 1 -delete
}

drop_work()
{
    if [[ -n $running ]]; then
        kill -KILL "$running" 2>/dev/null || true
        cat <&"$alive" # ends when the last process of contained() has
    fi
    [[ -z $work ]] || rm -rf "$work"
}

# Runs a command in mount and PID namespaces of its own that end with us: no mount and no process
# outlives a build, however it ends.  Every process inside holds fd 7 of a pipe, and that is how
# drop_work knows that they are gone.
contained() # COMMAND...
{
    exec {alive}< <(exec 7>&1 1>&2 {work_lock}<&-
        exec setpriv --pdeathsig KILL unshare --mount --propagation private \
            --pid --fork --kill-child --mount-proc -- "$@")
    running=$!
    wait "$running"
    running=
    exec {alive}<&-
}

# Prints "VERSION VMLINUZ MODULES" of the newest kernel package unpacked below DIR.
find_kernel() # DIR
{
    local vmlinuz version modules
    vmlinuz=$(find -L "$1" -maxdepth 4 -path '*/boot/vmlinuz-*' -type f 2>/dev/null |
        sort -V | tail -n 1)
    [[ -n $vmlinuz ]] || return 1
    version=${vmlinuz##*/vmlinuz-}
    modules=${vmlinuz%/boot/*}/lib/modules/$version
    [[ -d $modules ]] || return 1
    printf '%s %s %s\n' "$version" "$vmlinuz" "$modules"
}

# A whole-disk ext4 that GRUB 2.06 and Linux 6.1 read, from a directory, without loop devices or
# mounts.  Its features are named here, not taken from the builder's mke2fs.conf.  What the kernel
# would initialise later, in every volume anew, is initialised now; the zeroes are holes again
# afterwards.
make_disk() # DIR IMAGE SIZE LABEL UUID JOURNAL_MIB
{
    local features=has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg
    features+=,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum
    printf '[fs_types]\n ext4 = {\n features = %s\n }\n disk = {\n inode_ratio = 16384\n }\n' \
        "$features" >"$work/mke2fs.conf"
    truncate -s "$3" "$2"
    MKE2FS_CONFIG=$work/mke2fs.conf contained mke2fs -q -F -t ext4 -T disk -b 4096 -I 256 -m 1 \
        -L "$4" -U "$5" -J "size=$6" \
        -E "lazy_itable_init=0,lazy_journal_init=0,hash_seed=$5,root_owner=0:0" -d "$1" "$2"
    contained fallocate --dig-holes "$2"
}

# The image appears under its name whole and synced, or not at all.
finish() # IMAGE
{
    local used
    chmod 0644 "$1"
    sync "$1"
    mv -f "$1" "$out"
    sync "$(dirname "$out")"
    used=$(du --block-size=1 "$out" | cut -f1)
    say "$out: $(stat -c %s "$out" | numfmt --to=iec) ($(numfmt --to=iec "$used") used)"
}

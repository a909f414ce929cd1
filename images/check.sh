# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What every recipe's check shares: TAP lines, looking into a disk without mounting it, a plain QEMU
# to boot it in.  Sourced by images/NAME/check.  Never writes to the image it checks.

recipe_dir=$(dirname "$(realpath "$0")")
recipe=$(basename "$recipe_dir")
checks=0
failures=0
work=
emulator=

say() { printf '%s: %s\n' "$recipe" "$*" >&2; }
misuse() { say "$* (see --help)"; exit 2; }

open_image() # IMAGE
{
    image=$1
    [[ -f $image ]] || misuse "$image is no file"
    work=$(mktemp -d)
    trap close_image EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

close_image()
{
    [[ -z $emulator ]] || kill -KILL "$emulator" 2>/dev/null || true
    rm -rf "$work"
}

# One TAP line: that COMMAND succeeds.
holds() # WHAT COMMAND...
{
    local what=$1
    shift
    checks=$((checks + 1))
    if "$@" >"$work/said" 2>&1; then
        echo "ok $checks - $recipe: $what"
    else
        failures=$((failures + 1))
        echo "not ok $checks - $recipe: $what"
        tail -n 30 "$work/said" | sed 's/^/# /'
    fi
}

done_checking()
{
    echo "1..$checks"
    [[ $failures == 0 ]]
}

not() { ! "$@"; }

# In the image: the text of a file, its kind and mode ("regular 0644"), whether it is there.  Links
# are followed where the last part of a path is one.
in_image() { debugfs -R "$1" "$image" 2>/dev/null; }
file_text() { in_image "cat $(real_path "$1")"; }
file_kind() { in_image "stat $1" | sed -nE 's/.*Type: ([a-z]+) +Mode: +([0-7]+).*/\1 \2/p'; }
file_owner() { in_image "stat $1" | sed -nE 's/^User: +([0-9]+) +Group: +([0-9]+).*/\1:\2/p'; }
exists() { [[ -n $(file_kind "$(real_path "$1")") ]]; }
is_regular() { [[ $(file_kind "$(real_path "$1")") == regular\ * ]]; }
says() { file_text "$1" | grep -qE -- "$2"; }
is_empty() { is_regular "$1" && [[ -z $(file_text "$1") ]]; }

real_path() # PATH
{
    local target
    target=$(in_image "stat $1" | sed -nE 's/^Fast link dest: "(.*)"$/\1/p')
    case $target in
    '') echo "$1" ;;
    /*) real_path "$target" ;;
    *) real_path "${1%/*}/$target" ;;
    esac
}

# What GRUB for Xen needs: a whole-disk ext4, a configuration for xvda, and the files that it names.
holds_bootable()
{
    local command file
    holds "the file system is whole" e2fsck -fn "$image"
    holds "the disk is the file system, to its last block" disk_is_filesystem
    holds "GRUB's configuration takes the disk at xvda" \
        says /boot/grub/grub.cfg '^ *set root=\(xen/xvda\)$'
    for command in linux initrd; do
        file=$(grub_file $command)
        holds "$file, which GRUB's configuration names, is there" is_regular "$file"
    done
}

# The file that the first entry names after COMMAND.
grub_file() # COMMAND
{
    file_text /boot/grub/grub.cfg | awk -v word="$1" '$1 == word { print $2; exit }'
}

disk_is_filesystem()
{
    local blocks
    blocks=$(dumpe2fs -h "$image" 2>/dev/null | sed -n 's/^Block count: *//p')
    [[ $((blocks * 4096)) == $(stat -c %s "$image") ]]
}

# Starts a plain QEMU (no Xen) on DISK, with the image's own kernel and initramfs.  Its console is
# read and written through $console_out and $console_in.
start_emulator() # DISK KERNEL_COMMAND_LINE
{
    in_image "dump $(real_path "$(grub_file linux)") $work/vmlinuz"
    in_image "dump $(real_path "$(grub_file initrd)") $work/initrd"
    rm -f "$work"/{console,monitor}.{in,out}
    mkfifo "$work"/{console,monitor}.{in,out}
    exec {console_in}<>"$work/console.in" {console_out}<>"$work/console.out"
    exec {monitor_in}<>"$work/monitor.in"
    : >"$work/console.log"
    setpriv --pdeathsig KILL qemu-system-x86_64 -machine q35,graphics=off -accel tcg -cpu qemu64 \
        -m 512 -nodefaults -no-user-config -display none -no-reboot \
        -chardev "pipe,id=console,path=$work/console" -serial chardev:console \
        -chardev "pipe,id=monitor,path=$work/monitor" -mon chardev=monitor,mode=readline \
        -drive "file=$1,format=raw,if=virtio,cache=unsafe" \
        -nic user,model=virtio-net-pci,restrict=on \
        -kernel "$work/vmlinuz" -initrd "$work/initrd" -append "console=ttyS0,115200 $2" &
    emulator=$!
}

stop_emulator()
{
    kill -KILL "$emulator" 2>/dev/null || true
    wait "$emulator" 2>/dev/null || true
    emulator=
}

# Waits until the console has said something that matches PATTERN (of bash), at most SECONDS; $said
# is that line, or as much of it as there is.
expect() # PATTERN SECONDS
{
    local deadline=$((SECONDS + $2)) part
    said=
    while ((SECONDS < deadline)); do
        if IFS= read -r -t 1 -u "$console_out" part; then
            said+=${part%$'\r'}
            printf '%s\n' "$said" >>"$work/console.log"
            [[ $said =~ $1 ]] && return
            said=
        else
            said+=$part
            [[ $said =~ $1 ]] && return
            kill -0 "$emulator" 2>/dev/null || break
        fi
    done
    tail -n 30 "$work/console.log"
    return 1
}

press_power_button() { echo system_powerdown >&"$monitor_in"; }
type_line() { printf '%s\n' "$1" >&"$console_in"; }

# Waits until the machine has switched itself off.
powered_off() # SECONDS
{
    timeout "$1" tail -f --pid="$emulator" /dev/null || return 1
    emulator=
}

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The tiny image: the same bytes each time, whole or not at all, and a guest that does what its README says.
# limit: 300
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"

top=$(cd "$(dirname "$0")/../.." && pwd)
build=$top/images/tiny/build
check=$top/images/tiny/check
one=$tap_tmp/one/tiny.raw
two=$tap_tmp/two/tiny.raw
mkdir "$tap_tmp/one" "$tap_tmp/two" "$tap_tmp/none"
needs mke2fs debugfs cpio zstd qemu-system-x86_64

run "$build" "$one"
status_is 0 "an image is made"
run env -i PATH="$PATH" TZ=Asia/Tokyo sh -c "umask 077; cd /; exec '$build' '$two'"
status_is 0 "and once more: elsewhere, with other environment, time zone and umask"
run cmp "$one" "$two"
status_is 0 "both are the same bytes"
is "$(ls -A "$tap_tmp/one")" tiny.raw "nothing else is left beside it"

run "$build" --unpacked "$tap_tmp/none" "$tap_tmp/none/tiny.raw"
status_is 1 "without a kernel there is no image"
like "$err" "no kernel package .*scripts/deps" "and it says what to do"
is "$(ls -A "$tap_tmp/none")" "" "and leaves nothing"
run "$build" --size 8M "$two"
status_is 1 "a disk that is too small is a failure"
run cmp "$one" "$two"
status_is 0 "which leaves the old image as it was"
is "$(ls -A "$tap_tmp/two")" tiny.raw "and nothing beside it"
run "$build" --colour "$two"
status_is 2 "an unknown option is wrong use"
run "$build"
status_is 2 "no name for the image is wrong use"

# Stopped when its work has begun.
"$build" "$tap_tmp/none/tiny.raw" 2>/dev/null &
pid=$!
tap_wait 20 "a build has begun" test -d "$tap_tmp/none/tiny.raw.work"
kill -TERM "$pid"
wait "$pid"
is "$?" 143 "it ends on SIGTERM"
is "$(ls -A "$tap_tmp/none")" "" "and leaves nothing"

run "$check" --boot "$one"
status_is 0 "it passes its own check, two boots included"
[ "$status" = 0 ] || diag "$out"
block=$(debugfs -R "blocks /golden" "$two" 2>/dev/null | cut -d' ' -f1)
printf 'x' | dd of="$two" bs=1 seek=$((block * 4096 + 100)) conv=notrunc status=none
run "$check" "$two"
status_is 1 "a changed golden file does not pass"
like "$out" '^not ok .*golden file' "and is named"
done_testing

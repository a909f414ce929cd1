#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What guests print appears line by line with their names; no guest can print as somebody else, or fill dom0's memory.
# shellcheck disable=SC2317,SC2059,SC2016,SC2034 # called by tap_wait; a format on purpose; evaluated at the end
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"

top=$(cd "$(dirname "$0")/../.." && pwd)
dir=$tap_tmp/console
shown=$tap_tmp/shown
mkdir "$dir"
: >"$shown"
gcc -std=gnu17 -D_GNU_SOURCE -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all \
    -o "$tap_tmp/guest-console" "$top/initramfs/guest-console.c" || bail_out "it does not compile"

printf 'before\n' >"$dir/guest-early.log"
setarch -R "$tap_tmp/guest-console" "$dir" "$shown" 2>"$tap_tmp/stderr" &
pid=$!
tap_cleanup 'kill "$pid" 2>/dev/null; wait "$pid" 2>/dev/null'

shows() { grep -qxF -- "$1" "$shown"; }
count() { grep -cxF -- "$1" "$shown"; }
prints() { printf "$2" >>"$dir/guest-$1.log"; } # NAME PRINTF-FORMAT

tap_wait 10 "what was printed before the start is shown" shows 'early | before'

prints later 'one\r\ntwo\r\n'
tap_wait 10 "a guest that appears later is shown" shows 'later | two'
is "$(grep '^later' "$shown")" "later | one
later | two" "in order, without carriage returns"

prints later 'later login: '
tap_wait 10 "a prompt is shown although its line is unfinished" shows 'later | later login: '
prints later 'lab\n'
tap_wait 10 "and what follows it" shows 'later | lab'

prints later '\033[1;32mgreen\033[0m \033]0;title\007\tx\r\n'
tap_wait 10 "control sequences are dropped" shows "$(printf 'later | green \tx')"

prints later 'progress 1\rearly | fake\rend\n'
tap_wait 10 "a carriage return begins a new line, with the name before it" shows 'later | early | fake'
is "$(count 'early | fake')" 0 "no guest can print as another"

prints later 'a\302\2332Jb \303\244 \302\251\n'
tap_wait 10 "control characters in UTF-8 are dropped, letters are not" \
    grep -q "$(printf 'later | a\302?2Jb \303\244 \302\251')" "$shown"

head -c 2500 /dev/zero | tr '\0' z >>"$dir/guest-later.log"
prints later '\n'
tap_wait 10 "a line without end is cut" shows "later | $(head -c 1000 /dev/zero | tr '\0' z)"
tap_wait 10 "and its rest shown" shows "later | $(head -c 500 /dev/zero | tr '\0' z)"

rm "$dir/guest-later.log"
prints later 'again\n'
tap_wait 10 "a guest that is made anew is shown" shows 'later | again'
: >"$dir/guest-later.log"
prints later 'x\n'
tap_wait 10 "so is one whose file was emptied" shows 'later | x'

head -c 3000000 /dev/zero | tr '\0' '\n' >"$tap_tmp/flood"
cat "$tap_tmp/flood" >>"$dir/guest-flood.log"
prints flood 'after the flood\n'
tap_wait 20 "after a flood the newest is shown" shows 'flood | after the flood'
like "$(grep -c '^flood' "$shown")" '^[0-9]{1,6}$' "and not all of it"
like "$(cat "$shown")" '^flood \| \([0-9]+ bytes were printed too fast to be shown\)$' "which is said"
small() { [ "$(du -k "$dir/guest-flood.log" | cut -f1)" -le 512 ]; }
tap_wait 10 "the file's memory is given back" small

ln -s /etc/passwd "$dir/guest-link.log"
prints 'bad name' 'x\n'
prints last 'last\n'
tap_wait 10 "links and odd names are passed over" shows 'last | last'
unlike "$(cat "$shown")" '^(link|bad)' "and never shown"
is "$(cat "$tap_tmp/stderr")" "" "nothing was complained about"
done_testing

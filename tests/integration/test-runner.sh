#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/test-runner.sh - tests/run sees what goes wrong, and counts every result
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
top=$(cd "$(dirname "$0")/../.." && pwd)

# Runs a test made of the lines on standard input; $last is the runner's last line.
try() # NAME
{
    { echo '#!/bin/sh' && cat; } >"$tap_tmp/$1.sh"
    chmod +x "$tap_tmp/$1.sh"
    run "$top/tests/run" shell "$tap_tmp/$1.sh"
    last=$(printf '%s\n' "$out" | tail -n 1)
    rm -f "$top"/build/test-logs/*"$1".log
}
ends() # STATUS LAST-LINE WHAT
{
    is "$status: $last" "$1: $2" "$3"
}

try good <<'END'
echo 'ok 1 - one'; echo 'ok 2 - two'; echo 1..2
END
ends 0 '2 passed, 0 failed, 0 skipped' "what passes passes"

try groups <<'END'
echo 1..1; echo 'ok 1 - one'; echo 1..2; echo 'ok 1 - two'; echo 'ok 2 - three'
END
ends 0 '3 passed, 0 failed, 0 skipped' "several plans are several groups"

try bad <<'END'
echo 'ok 1 - one'; echo 'not ok 2 - two'; echo '# because of this'; echo 1..2; exit 1
END
ends 1 '1 passed, 1 failed, 0 skipped' "what fails fails"
like "$out" 'because of this' "with its output"
like "$out" 'rerun: .*bad\.sh$' "and the command that reruns it"

try skips <<'END'
echo 'ok 1 - one'; echo 'ok 2 # SKIP no such thing'; echo 1..2
END
ends 1 '1 passed, 0 failed, 1 skipped' "a skip is no success"
try skips-all <<'END'
echo '1..0 # SKIP nothing here'
END
ends 1 '0 passed, 0 failed, 1 skipped' "nor is a test that skips all of it"

try short <<'END'
echo 'ok 1 - one'; echo 1..2
END
ends 1 '1 passed, 1 failed, 0 skipped' "fewer tests than planned: failed"
try planless <<'END'
echo 'ok 1 - one'
END
ends 1 '1 passed, 1 failed, 0 skipped' "no plan: failed"
try silent <<'END'
exit 0
END
ends 1 '0 passed, 1 failed, 0 skipped' "no output: failed"
try status <<'END'
echo 'ok 1 - one'; echo 1..1; exit 3
END
ends 1 '1 passed, 1 failed, 0 skipped' "all ok but an exit status: failed"
like "$out" 'exit status 3' "which is told"
try killed <<'END'
echo 'ok 1 - one'; echo 1..1; kill -SEGV $$
END
ends 1 '1 passed, 1 failed, 0 skipped' "killed by a signal: failed"
try bails <<'END'
echo 'ok 1 - one'; echo 'Bail out! no more'
END
ends 1 '1 passed, 1 failed, 0 skipped' "bail out: failed"

try slow <<'END'
# limit: 4
echo 'ok 1 - one'; echo 1..1; tail -f /dev/null
END
ends 1 '1 passed, 1 failed, 0 skipped' "over its own time limit: failed"
like "$out" 'time limit of 4 s' "which is told"

try leaves <<'END'
setsid tail -f /dev/null >/dev/null 2>&1 &
echo $! >"${0%/*}/pid"; echo 'ok 1 - one'; echo 1..1
END
ends 1 '1 passed, 1 failed, 0 skipped' "a process left behind, in a session of its own: failed"
like "$out" 'left a process behind: .* tail -f /dev/null' "which is named"
# shellcheck disable=SC2317 # tap_wait calls it
gone() { ! grep -q tail "/proc/$(cat "$tap_tmp/pid")/cmdline" 2>/dev/null; }
tap_wait 5 "and ended" gone
try litters <<'END'
: >"$TMPDIR/litter"; echo 'ok 1 - one'; echo 1..1
END
ends 1 '1 passed, 1 failed, 0 skipped' "a file left in TMPDIR: failed"

run "$top/tests/run" shell "$tap_tmp/good.sh" "$tap_tmp/bad.sh"
is "$(printf '%s\n' "$out" | tail -n 1)" '3 passed, 1 failed, 0 skipped' "several tests add up"
rm -f "$top"/build/test-logs/*bad.log
# A rack test may fail once, and its table is shown.
cat >"$tap_tmp/second.sh" <<END
#!/bin/sh
if [ -e "$tap_tmp/been" ]; then echo 'ok 1 - one'; else echo 'not ok 1 - one'; fi
: >"$tap_tmp/been"
echo '# | firmware 1.2 s'; echo '# chatter'; echo 1..1
END
chmod +x "$tap_tmp/second.sh"
run "$top/tests/run" rack "$tap_tmp/second.sh"
last=$(printf '%s\n' "$out" | tail -n 1)
ends 0 '1 passed, 0 failed, 0 skipped' "a rack test has a second try"
like "$out" '^retried: .*second' "which is told"
like "$out" '^    \| firmware 1\.2 s' "its table is shown"
unlike "$(printf '%s\n' "$out" | sed '1,/again/d')" 'chatter' "and nothing else of a test that passed"
rm -f "$top"/build/test-logs/*second.log

run "$top/tests/run" nonsense
status_is 2 "wrong use: exit 2"
done_testing

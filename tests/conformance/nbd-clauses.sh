#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/conformance/nbd-clauses.sh - each test that the table of clauses names is there
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
cd "$(dirname "$0")/../.." || exit 1

# A row ends with its tests: `file: name` or `file`, several separated by "; ".
sed -n '/^## Not claimed/q; s/^| .* | .* | \(.*\) |$/\1/p' tests/conformance/nbd-clauses.md |
    grep -v '^Test$' | sed 's/; /\n/g' | sort -u >"$tap_tmp/tests"
[ "$(wc -l <"$tap_tmp/tests")" -ge 40 ]
ok $? "the table has its rows"

missing=
while IFS= read -r line; do
    file=${line%%:*}
    name=${line#"$file"}
    name=${name#: }
    [ -f "tests/$file" ] || { missing="$missing [no file tests/$file]"; continue; }
    grep -qF -e "$name" "tests/$file" || missing="$missing [$file: $name]"
done <"$tap_tmp/tests"
is "$missing" "" "each of them is there"
done_testing

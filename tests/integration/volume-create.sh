#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/volume-create.sh - many at once, all or none
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
truncate -s 16M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
count() { run gridbox volume list --json && json '.volumes | length'; }

run gridbox volume create 'pc-%d.disk' --image zero --count 75
status_is 0 "75 volumes in one transaction"
is "$(printf '%s\n' "$out" | sed -n '1p;75p' | tr '\n' ' ')" "pc-0.disk pc-74.disk " "0 to 74"
is "$(count)" 75 "they are all there"

run gridbox volume create 'pc-%d.disk' --image zero --count 100
status_is 1 "names that exist are refused"
like "$err" "pc-0\.disk" "and named"
is "$(count)" 75 "and none of the new ones is made"
run gridbox volume create 'no-placeholder' --image zero --count 2
status_is 1 "--count without %d is refused"
run gridbox volume create '%d-%d' --image zero --count 2
status_is 1 "two %d are refused"
run gridbox volume create 'a-%d' --image zero
status_is 2 "a %d without --count is no name"
like "$err" "--count N" "and a hint says what is missing"
run gridbox volume create v --image zero --count 0
status_is 2 "--count 0 is wrong use"
run gridbox volume create v --image nothing
is "$status" 1 "an image that is not there"
like "$err" "^gridbox: .*nothing" "is named"
run gridbox volume create v --image zero@7
status_is 1 "a version that is not there"
run gridbox volume create v --image zero@1
status_is 0 "a version that is"
is "$(count)" 76 "nothing else was made"
run gridbox image remove zero
status_is 1 "an image with volumes cannot be removed"
like "$err" "volume" "and says why"
done_testing

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/volume-resize.sh - a detached volume grows; what is new is zero, what was there stays
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
make_image "$tap_tmp/one.raw" 16
import_image golden "$tap_tmp/one.raw"
uri=$(new_volume v golden)
nbd_write "$uri" 0 65536 0x11

run gridbox volume resize v 1G
is "$status" 1 "while it is attached it is refused"
like "$err" "v.*attached.*detach" "and says what to do"
gridbox volume detach v
run gridbox volume resize v 1M
is "$status" 1 "smaller is refused"
like "$err" "v.*(larger|grow|small)" "in words"
run gridbox volume resize v 33554433
status_is 1 "half a sector is refused"
run gridbox volume resize v 1G
is "$status $out" "0 volume v has 1 GiB" "it grows"
uri=$(gridbox volume attach v)
is "$(nbdinfo --size "$uri")" 1073741824 "clients see it"
expect_byte "$uri" 0 65536 0x11 "what was written is there"
expect_byte "$uri" 16M 16M 0x00 "what is new is zero"
nbd_write "$uri" 1023M 1M 0x22
ok $? "and can be written to its end"
expect_byte "$uri" 1023M 1M 0x22 "where it stays"

gridbox volume snapshot s v >/dev/null
gridbox volume clone v@s c >/dev/null
is "$(volume_is c .size_bytes)" 1073741824 "a clone has the new size"
expect_byte "$(gridbox volume attach c)" 1023M 1M 0x22 "and what is at its end"
run gridbox volume reset v
status_is 0 "after a reset"
uri=$(gridbox volume attach v)
is "$(nbdinfo --size "$uri")" 1073741824 "the size stays"
expect_byte "$uri" 1023M 1M 0x00 "and the end is zero"
done_testing

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/server-restarted.sh - a clean stop loses no write, no epoch and no attachment
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
truncate -s 16M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
uri=$(new_volume v zero)
image=$(gridbox image attach zero)
nbd_write "$uri" 0 65536 0x42
run gridbox volume list --json
before=$(json '.volumes[0] | "\(.generation) \(.epoch)"')

stop_server
is "$server_status" 0 "SIGTERM: exit 0"
[ ! -e "$state/control.sock" ]
ok $? "the socket is gone"
start_server

run gridbox volume list --json
is "$(json '.volumes[0] | "\(.generation) \(.epoch)"')" "$before" "generation and epoch are kept"
expect_byte "$uri" 0 65536 0x42 "the same URI reads what was written"
nbd_write "$uri" 65536 4096 0x43
ok $? "and can be written"
expect_byte "$image" 0 16M 0x00 "the image's URI works too"

# Written, answered, never flushed; then the connection is dropped and the server stopped.
nbdsh -u "$uri" -c 'h.pwrite(b"\x77" * 4096, 8192)' -c 'import os; os._exit(0)'
stop_server
start_server
expect_byte "$uri" 8192 4096 0x77 "a write that was answered survives SIGTERM unflushed"
done_testing

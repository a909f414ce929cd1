#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# limit: 120
# tests/crash/stale-writes.sh - writes that an old connection still has under way never come after
# those of the new one
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs "$build/nbd_load"

start_server
truncate -s 4M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
uri=$(new_volume v zero)
"$build/nbd_load" stale "${SEED:-$$}" "${ROUNDS:-300}" "$uri" 2>"$tap_tmp/why"
ok $? "${ROUNDS:-300} times a new connection, while the old one's writes were unread" ||
    diag "$(cat "$tap_tmp/why") (SEED=${SEED:-$$})"
done_testing

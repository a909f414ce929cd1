#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/catalog-failed.sh - a transaction whose end nobody knows: the layer of an import
# stays until the next start has read what the catalog says
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs prlimit

# Writes of the server beyond its file size limit fail, and it lives.
server_wrapper="env --ignore-signal=XFSZ"
start_server
truncate -s 4096 "$tap_tmp/tiny.raw"
import_image tiny "$tap_tmp/tiny.raw"
layers() { find "$state/layers" -type f | wc -l; }
is "$(layers)" 2 "an image has two files"

# Its layer fits below the limit, the end of the catalog's log does not.
limit=$(($(stat -c %s "$state/catalog.db-wal") / 4096 * 4096))
prlimit --pid "$server_pid" --fsize="$limit:"
run gridbox image import tiny "$tap_tmp/tiny.raw"
prlimit --pid "$server_pid" --fsize=unlimited:
status_is 1 "an import whose transaction fails"
like "$err" 'catalog has failed' "that says why"
is "$(layers)" 4 "its layer is still there: the catalog may name it"

stop_server
start_server
run gridbox image list --json
is "$(json '[.images[].version] | join(" ")')" 1 "at the next start the catalog does not name it"
is "$(layers)" 2 "and it is gone"
done_testing

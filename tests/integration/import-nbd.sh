#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/import-nbd.sh - images from another NBD server, also one that dies half-way
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs nbdkit

start_server
make_image "$tap_tmp/disk.raw" 24
sum=$(sha256sum "$tap_tmp/disk.raw" | cut -d' ' -f1)

# shellcheck disable=SC2317 # tap_wait calls it
no_files() { [ -z "$(find "$state/layers" "$state/tmp" -type f)" ]; }

serve_pid=
serve() # ARGUMENT...
{
    rm -f "$tap_tmp/nbd.sock"
    nbdkit --exit-with-parent -f -U "$tap_tmp/nbd.sock" -P "$tap_tmp/nbd.pid" "$@" \
        >"$tap_tmp/nbdkit.log" 2>&1 &
    serve_pid=$!
    tap_wait 10 "nbdkit listens" test -s "$tap_tmp/nbd.pid"
}
end_serve()
{
    [ -n "$serve_pid" ] || return 0
    kill "$serve_pid" 2>/dev/null
    wait "$serve_pid" 2>/dev/null
    serve_pid=
    rm -f "$tap_tmp/nbd.pid"
}
tap_cleanup end_serve

uri="nbd+unix:///?socket=$tap_tmp/nbd.sock"
serve file "$tap_tmp/disk.raw"
run gridbox image import whole "$uri"
status_is 0 "an NBD export is imported"
run gridbox image show whole --json
is "$(json .sha256)" "$sum" "all of it"
like "$(json '.data_bytes < 10000000')" true "sparse stays sparse"
end_serve

serve --filter=error file "$tap_tmp/disk.raw" error-pread-rate=100%
run gridbox image import bad "$uri"
status_is 1 "one that answers reads with errors is refused"
is "$(printf '%s\n' "$err" | grep -c '^gridbox: .')$(printf '%s\n' "$err" | wc -l)" 11 "in one line"
end_serve

serve null 0
run gridbox image import bad "$uri"
status_is 1 "an empty one is refused"
end_serve

# Another gridboxd is an NBD server as well; here it is the same one.
run gridbox image import again "$(gridbox image attach whole)"
status_is 0 "an image of a gridboxd"
run gridbox image show again --json
is "$(json .sha256)" "$sum" "has the same content"
unlike "$(json .source)" '[0-9a-f]{32}' "and no token in its source"
run gridbox image list --json
is "$(json '.images | length')" 2 "nothing else was made"
run gridbox image detach whole
run gridbox image remove again whole
status_is 0 "they are removed"
tap_wait 10 "no file is left" no_files
done_testing

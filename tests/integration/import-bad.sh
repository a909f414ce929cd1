#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/import-bad.sh - sources that cannot be imported: one clear line, nothing left
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
files_before=$(find "$state/layers" "$state/tmp" | sort)
one_line() { is "$(printf '%s\n' "$err" | grep -c '^gridbox: .')$(printf '%s\n' "$err" | wc -l)" 11 "$1"; }

run gridbox image import a "$tap_tmp/none.raw"
status_is 1 "a file that is not there"
one_line "in one line"
like "$err" 'none\.raw.*No such file' "that names it"
api POST /v1/images "{\"name\": \"a\", \"source\": {\"file\": \"$tap_tmp/none.raw\"}}"
case $api_status in
    202)
        api GET "/v1/jobs/$(json .job)?wait=10&after=0"
        like "$(json '.state + " " + .error')" 'failed .*No such file' "the API refuses it too"
        ;;
    *) like "$(json .detail)" 'No such file' "the API refuses it too" ;;
esac

: >"$tap_tmp/empty.raw"
run gridbox image import a "$tap_tmp/empty.raw"
status_is 1 "an empty file"
one_line "in one line"
run gridbox image import a "$tap_tmp"
status_is 1 "a directory"
one_line "in one line"
run gridbox image import a /dev/null
status_is 1 "a character device"
run gridbox image import a ftp://127.0.0.1/disk
status_is 2 "a URL of another kind is wrong use"
run timeout 20 "$build/gridbox" image import a http://127.0.0.1:1/disk
status_is 1 "a URL where nobody answers"
one_line "in one line"
run timeout 20 "$build/gridbox" image import a nbd://127.0.0.1:1/
status_is 1 "an NBD server that is not there"
one_line "in one line"
api POST /v1/images '{"name": "a", "source": {}}'
is "$api_status" 400 "no source"
api POST /v1/images '{"name": "a", "source": {"file": "relative/path"}}'
like "$api_status" '^(400|202)$' "a relative path"
api POST /v1/images '{"name": "a", "source": {"upload": "0123456789abcdef"}}'
like "$api_status" '^4' "an upload that is not there"

run gridbox image list --json
is "$(json '.images | length')" 0 "there is no image"
is "$(find "$state/layers" "$state/tmp" | sort)" "$files_before" "no file is left"
done_testing

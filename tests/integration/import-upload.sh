#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/import-upload.sh - over TCP the command line brings the file itself
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
make_image "$tap_tmp/disk.raw" 24
sum=$(sha256sum "$tap_tmp/disk.raw" | cut -d' ' -f1)

run gridbox_tcp "$(cat "$state/token")" image import up "$tap_tmp/disk.raw"
is "$status $out" "0 up@1" "import over TCP"
run gridbox image show up --json
is "$(json .sha256)" "$sum" "all of it arrived"
unlike "$(json .source)" "$state" "its source is no path of the server's"

run gridbox_tcp "$(cat "$state/token")" image import up "$tap_tmp/none.raw"
status_is 1 "a file that is not there"
like "$err" '^gridbox: .*none\.raw: No such file' "is named"
run gridbox_tcp "$(cat "$state/token")" image import up "$tap_tmp"
status_is 1 "a directory is refused"

api_tcp "$(cat "$state/token")" POST "/v1/uploads?size=x"
is "$api_status" 400 "a size that is no number"
api_status=$(curl -s -o /dev/null -w '%{http_code}' -X POST --data-binary 12345 \
    --unix-socket "$state/control.sock" "http://localhost/v1/uploads?size=6" -m 20) || :
like "$api_status" '^4' "a body that is not of the size it says"
api_status=$(curl -s -o "$tap_tmp/.body" -w '%{http_code}' -X POST --noproxy '*' \
    -H "Authorization: Bearer $(cat "$state/token")" -H "Content-Type: application/json" \
    -d '{"name": "x", "source": {"file": "/etc/passwd"}}' "http://$http/v1/images")
is "$api_status" 403 "a path of the server's is refused over TCP"
api_status=$(curl -s -o "$tap_tmp/.body" -w '%{http_code}' -X POST --noproxy '*' \
    -H "Authorization: Bearer $(cat "$state/token")" -H "Content-Type: application/json" \
    -d '{"name": "x", "source": {"nbd": "nbd+unix:///?socket=/run/x"}}' "http://$http/v1/images")
is "$api_status" 403 "and so is a socket of the server's"
rm "$tap_tmp/.body"

is "$(find "$state/tmp" -type f | wc -l)" 0 "no upload is left"
done_testing

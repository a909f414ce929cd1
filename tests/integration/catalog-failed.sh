#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/catalog-failed.sh - a transaction whose end nobody knows: the layer of an import
# stays until the next start has read what the catalog says
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs prlimit /usr/bin/python3

# Writes of the server beyond its file size limit fail, and it lives.
server_wrapper="env --ignore-signal=XFSZ"
start_server
truncate -s 4096 "$tap_tmp/tiny.raw"
import_image tiny "$tap_tmp/tiny.raw"
layers() { find "$state/layers" -type f | wc -l; }
is "$(layers)" 2 "an image has two files"

# Serves a disk of 4 KiB, but not before something is written to the pipe.
cat >"$tap_tmp/serve.py" <<'END'
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        open(sys.argv[2]).read()
        self.send_response(200)
        self.send_header("Content-Length", "4096")
        self.end_headers()
        self.wfile.write(bytes(4096))
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
with open(sys.argv[1], "w") as f: f.write("%d\n" % server.server_port)
server.serve_forever()
END
mkfifo "$tap_tmp/go"
/usr/bin/python3 "$tap_tmp/serve.py" "$tap_tmp/port" "$tap_tmp/go" >/dev/null 2>&1 &
serving=$!
tap_cleanup "kill $serving 2>/dev/null; wait $serving 2>/dev/null"
tap_wait 20 "a web server is up" test -s "$tap_tmp/port"

# The layer of an import that is under way fits below the limit, the end of the catalog's log does not.
gridbox image import tiny "http://127.0.0.1:$(cat "$tap_tmp/port")/tiny" >/dev/null 2>"$tap_tmp/why" &
importing=$!
exec 3>"$tap_tmp/go"
limit=$(($(stat -c %s "$state/catalog.db-wal") / 4096 * 4096))
prlimit --pid "$server_pid" --fsize="$limit:"
exec 3>&-
wait "$importing"
status=$?
err=$(cat "$tap_tmp/why")
prlimit --pid "$server_pid" --fsize=unlimited:
status_is 1 "an import whose transaction fails"
like "$err" 'catalog has failed' "that says why"
is "$(layers)" 4 "its layer is still there: the catalog may name it"

stop_server
start_server
run gridbox image list --json
is "$(json '[.images[].version] | join(" ")')" 1 "at the next start the catalog does not name it"
# shellcheck disable=SC2317 # tap_wait calls it
gone() { [ "$(layers)" = 2 ]; }
tap_wait 20 "and it is gone" gone
is "$(find "$state/lost+found" -type f 2>/dev/null | wc -l)" 0 "for good"
done_testing

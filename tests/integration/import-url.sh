#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/import-url.sh - images by HTTP: resumed when the transfer breaks, given up when it stays so
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs python3

start_server
make_image "$tap_tmp/disk.raw" 12
qemu-img convert -f raw -O qcow2 "$tap_tmp/disk.raw" "$tap_tmp/disk.qcow2"
sum=$(sha256sum "$tap_tmp/disk.raw" | cut -d' ' -f1)

# /whole/FILE sends it; /breaks/FILE hangs up after 5 MB of each answer; /stops/FILE hangs up after
# 5 MB in all and then refuses; /lies/FILE starts again from the front whatever Range says.
cat >"$tap_tmp/web.py" <<'END'
import http.server, os, re, socketserver, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked = {}

    def log_message(self, *words):
        pass

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, body):
        how, name = self.path.lstrip("/").split("/")
        try:
            data = open(os.path.join(sys.argv[1], os.path.basename(name)), "rb").read()
        except OSError:
            self.send_error(404)
            return
        if body:
            self.asked[self.path] = self.asked.get(self.path, 0) + 1
        if how == "stops" and body and self.asked[self.path] > 1:
            self.send_error(503)
            return
        start = 0
        part = re.match(r"bytes=(\d+)-$", self.headers.get("Range", ""))
        if part and how != "lies":
            start = int(part.group(1))
            self.send_response(206)
            self.send_header("Content-Range", "bytes %d-%d/%d" % (start, len(data) - 1, len(data)))
        else:
            self.send_response(200)
        self.send_header("ETag", '"1"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if not body:
            return
        limit = len(data) if how == "whole" else 5000000
        self.wfile.write(data[start:start + limit])
        if start + limit < len(data):
            self.close_connection = True
            self.wfile.flush()
            self.connection.shutdown(2)

class Server(http.server.ThreadingHTTPServer):
    def server_bind(self):  # without asking the DNS for our name
        socketserver.TCPServer.server_bind(self)


server = Server((sys.argv[2], 0), Handler)
with open(sys.argv[3] + ".new", "w") as f:
    f.write(str(server.server_address[1]))
os.rename(sys.argv[3] + ".new", sys.argv[3])
server.serve_forever()
END
python3 "$tap_tmp/web.py" "$tap_tmp" "$address" "$tap_tmp/port" 2>"$tap_tmp/http.log" &
http_pid=$!
tap_cleanup "kill $http_pid 2>/dev/null; wait $http_pid 2>/dev/null"
tap_wait 10 "a web server listens" test -e "$tap_tmp/port"
url=http://$address:$(cat "$tap_tmp/port")
files_before=$(find "$state/layers" "$state/tmp" | sort)

run gridbox image import bad "$url/whole/none.raw"
status_is 1 "404 is a failure"
like "$err" '404' "and said"
run gridbox image import bad "$url/stops/disk.raw"
status_is 1 "a transfer that stops in the middle for good"
is "$(printf '%s\n' "$err" | grep -c '^gridbox: .')$(printf '%s\n' "$err" | wc -l)" 11 "in one line"
is "$(find "$state/layers" "$state/tmp" | sort)" "$files_before" "no file is left"
run gridbox image list --json
is "$(json '.images | length')" 0 "there is no image"

for how in whole breaks; do
    for file in disk.raw disk.qcow2; do
        run gridbox image import "$how" "$url/$how/$file"
        status_is 0 "$how: $file is imported"
        run gridbox image show "$how" --json
        is "$(json .sha256)" "$sum" "all of it"
    done
done
run gridbox image show whole@1
like "$out" "^source +$url/whole/disk.raw" "the source is known"

run gridbox image import lies "$url/lies/disk.raw"
if [ "$status" = 0 ]; then
    run gridbox image show lies --json
    is "$(json .sha256)" "$sum" "a server that ignores Range: nothing is mixed up"
else
    ok 0 "a server that ignores Range: refused"
fi
done_testing

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/disk-full.sh - a disk that fills up during an import: one clear error, nothing left
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs unshare nsenter

# The state lies on a tmpfs of 64 MiB, mounted in a mount name space that ends with the server.
mkdir "$state"
cat >"$tap_tmp/in-tmpfs" <<END
#!/bin/sh
mount -t tmpfs -o size=64m,mode=700 none "$state" && exec "\$@"
END
chmod +x "$tap_tmp/in-tmpfs"
server_wrapper="unshare -m --propagation private $tap_tmp/in-tmpfs"
launch_server
inside() { nsenter -t "$server_pid" -m -- "$@"; }
# Its socket is only there as well.
# shellcheck disable=SC2086 # a list of words
gridbox() { inside $as_is "$build/gridbox" "$@"; }
await_server
ok $? "a server whose state has 64 MiB"

head -c 16M /dev/urandom >"$tap_tmp/small.raw"
head -c 80M /dev/urandom >"$tap_tmp/large.raw"
run gridbox image import small "$tap_tmp/small.raw"
status_is 0 "a disk that fits"
files_before=$(inside find "$state/layers" "$state/tmp" | sort)

run gridbox image import large "$tap_tmp/large.raw"
status_is 1 "a disk that does not fit"
is "$(printf '%s\n' "$err" | grep -c '^gridbox: .')$(printf '%s\n' "$err" | wc -l)" 11 "in one line"
like "$err" 'space|full' "that says why"
run gridbox image list --json
is "$(json '[.images[].name] | join(" ")')" small "only the first image is there"
is "$(inside find "$state/layers" "$state/tmp" | sort)" "$files_before" "no file is left"

uri=$(gridbox volume create v --image small >/dev/null && gridbox volume attach v)
like "$uri" '^nbd://' "a volume on the first"
nbdcopy "$uri" "$tap_tmp/out.raw" && cmp "$tap_tmp/small.raw" "$tap_tmp/out.raw"
ok $? "and it reads as it should"
nbd_write "$uri" 0 1M 0x5a
ok $? "and can be written"
done_testing

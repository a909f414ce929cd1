#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/metrics.sh - requests are counted and timed, for Prometheus and as JSON
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
truncate -s 16M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
uri=$(new_volume v zero)
nbd_write "$uri" 0 524288 0x42 # more than goes by the journal
expect_byte "$uri" 0 4096 0x42 "a volume is used"

metrics() { curl -sf --unix-socket "$state/control.sock" http://x/metrics >"$tap_tmp/metrics"; }
value() { sed -n "s/^$1 //p" "$tap_tmp/metrics"; }
metrics
ok $? "the administrator gets the metrics"
labels='export="v",kind="volume"'
is "$(value "gridbox_export_bytes_total{$labels,op=\"write\"}")" 524288 "bytes that were written"
ok "$([ "$(value "gridbox_export_request_seconds_count{$labels,op=\"flush\"}")" -ge 1 ]; echo $?)" \
    "flushes are counted"
is "$(value "gridbox_export_request_seconds_bucket{$labels,op=\"write\",le=\"+Inf\"}")" \
    "$(value "gridbox_export_request_seconds_count{$labels,op=\"write\"}")" "the last bucket holds all"
is "$(value "gridbox_export_in_flight{$labels}")" 0 "nothing is under way"
ok "$([ "$(value gridbox_store_sync_seconds_count)" -ge 1 ]; echo $?)" "syncs are timed"
ok "$([ "$(value gridbox_store_append_seconds_count)" -ge 1 ]; echo $?)" "and batches of the journal"
ok "$([ "$(value gridbox_store_free_bytes)" -gt 0 ]; echo $?)" "free space"
is "$(grep -vc '^# \(HELP\|TYPE\) gridbox_\|^gridbox_[a-z_]*\({.*}\)\? [0-9.e+-]*$' "$tap_tmp/metrics")" 0 \
    "each line is well-formed"
is "$(sed -n 's/^# TYPE \([^ ]*\) .*/\1/p' "$tap_tmp/metrics" | sort | uniq -d)" "" "each name is declared once"

api GET /v1/stats
ok $? "the same as JSON"
is "$(json '.exports[] | select(.name == "v") | .write.bytes')" 524288 "bytes that were written"
is "$(json '.exports[0] | [.read, .write, .flush, .trim | ((.latency | add) // 0) == .ops and (.latency | length) <= 25] | all')" \
    true "the buckets hold all requests"
is "$(json '.bounds_us | length')" 24 "the bounds of the buckets are told"

is "$(curl -s -o "$tap_tmp/.refused" -w '%{http_code}' "http://$http/metrics")" 401 "a stranger gets nothing"
done_testing

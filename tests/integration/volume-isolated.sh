#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/volume-isolated.sh - what is written to one volume is in no other, nor in the image
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"

start_server
truncate -s 16M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
a=$(new_volume a zero)
b=$(new_volume b zero)

nbd_write "$a" 4096 4096 0xaa
ok $? "a is written"
nbd_write "$b" 8192 4096 0xbb
ok $? "b is written"
nbd_write "$a" 1049088 512 0xcc
ok $? "a sector inside a block of a is written"

expect_byte "$a" 4096 4096 0xaa "a has its own write"
expect_byte "$a" 8192 4096 0x00 "a has nothing of b's"
expect_byte "$b" 8192 4096 0xbb "b has its own write"
expect_byte "$b" 4096 4096 0x00 "b has nothing of a's"
expect_byte "$a" 1049088 512 0xcc "the sector is there"
expect_byte "$a" 1048576 512 0x00 "the sector before it is the image's"
expect_byte "$a" 1049600 3072 0x00 "the sectors after it are the image's"
expect_byte "$b" 1048576 4096 0x00 "the block is untouched in b"
i=$(gridbox image attach zero)
expect_byte "$i" 0 16M 0x00 "the image is untouched"
c=$(new_volume c zero)
expect_byte "$c" 0 16M 0x00 "a new volume starts as the image"
done_testing

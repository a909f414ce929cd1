# SPDX-License-Identifier: Apache-2.0
"""round_robin - a counter written round robin over volumes, and the look at whether a copy of all of
them is of one instant.

  round_robin.py write DIR URI...   write n = 1, 2, 3 ... until DIR/stop is there: n goes to volume
                                    n mod the number of volumes, after n-1 was answered; DIR/at holds
                                    about how far it is.  Ends with 1 if a connection was lost.
  round_robin.py check URI...       the volumes, in the same order, must show the writes 1 to N for one
                                    N, and none after it; prints N.

Number n stands in every sector of block n / volumes mod BLOCKS.  It knows the disks and nothing of
how a copy was made."""
import os
import struct
import sys

import nbd

BLOCK = 4096
BLOCKS = 64  # of each volume: after so many rounds what is there is written over


def connect(uris):
    handles = []
    for uri in uris:
        h = nbd.NBD()
        h.connect_uri(uri)
        handles.append(h)
    return handles


def block_of(n, volumes):
    return n // volumes % BLOCKS


def write(directory, handles):
    n = 0
    stop = os.path.join(directory, "stop")
    at = os.path.join(directory, "at")
    while not os.path.exists(stop):
        for _ in range(50):
            n += 1
            data = struct.pack("<Q", n) * (BLOCK // 8)
            handles[n % len(handles)].pwrite(data, block_of(n, len(handles)) * BLOCK)
        with open(at + ".new", "w", encoding="ascii") as f:
            f.write("%d\n" % n)
        os.rename(at + ".new", at)


def read_all(handles):
    """What each block of each volume shows: a number, or nothing for one that is torn."""
    shown = []
    for h in handles:
        data = h.pread(BLOCK * BLOCKS, 0)
        numbers = []
        for b in range(BLOCKS):
            words = set(struct.unpack_from("<%dQ" % (BLOCK // 8), data, b * BLOCK))
            numbers.append(words.pop() if len(words) == 1 else None)
        shown.append(numbers)
    return shown


def check(handles):
    volumes = len(handles)
    shown = read_all(handles)
    if any(None in numbers for numbers in shown):
        sys.exit("a block holds two numbers")
    last = max(max(numbers) for numbers in shown)
    want = [[0] * BLOCKS for _ in range(volumes)]
    for n in range(max(1, last - volumes * (BLOCKS + 1)), last + 1):
        want[n % volumes][block_of(n, volumes)] = n
    if shown != want:
        for v in range(volumes):
            for b in range(BLOCKS):
                if shown[v][b] != want[v][b]:
                    sys.exit("volume %d, block %d: %d, and the last write is %d: want %d"
                             % (v, b, shown[v][b], last, want[v][b]))
    print(last)


def main():
    if sys.argv[1] == "write":
        write(sys.argv[2], connect(sys.argv[3:]))
    else:
        check(connect(sys.argv[2:]))


if __name__ == "__main__":
    main()

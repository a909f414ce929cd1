# SPDX-License-Identifier: Apache-2.0
"""What a volume may hold after its server was killed.

    flushed.py write  URI STATE READY SEED    writes, trims and flushes until the server is gone
    flushed.py verify URI STATE               checks every sector, then goes on from what it found

STATE (a file) has for each block the values that may be read: the one of the last flush that was
answered, and those written since.  A block holds one value, as a number in each 8 bytes; each of its
sectors of 512 bytes may be old or new on its own.  Python, with libnbd's module.
"""
import os
import pickle
import random
import struct
import sys

import nbd

BLOCK = 4096
SECTOR = 512
BLOCKS = 4096  # 16 MiB


def content(value, length):
    return struct.pack("<Q", value) * (length // 8)


class State:
    def __init__(self):
        self.next = 1
        self.allowed = [{0} for _ in range(BLOCKS)]

    def written(self, first, count, value):
        for block in range(first, first + count):
            self.allowed[block].add(value)

    def durable(self, first, count, value):
        for block in range(first, first + count):
            self.allowed[block] = {value}


def load(path):
    if not os.path.exists(path):
        return State()
    with open(path, "rb") as file:
        return pickle.load(file)


def save(path, state):
    with open(path + ".new", "wb") as file:
        pickle.dump(state, file)
    os.rename(path + ".new", path)


def write(uri, path, ready, seed):
    state = load(path)
    rng = random.Random(seed)
    handle = nbd.NBD()
    handle.connect_uri(uri)
    latest = {}  # block -> value, since the last flush
    operations = 0
    try:
        while True:
            count = rng.choice((1, 1, 1, 2, 8, 64))
            first = rng.randrange(BLOCKS - count)
            kind = rng.random()
            value = state.next if kind < 0.9 else 0
            state.next += 1
            # The request may arrive although its answer does not.
            state.written(first, count, value)
            if kind < 0.8:
                handle.pwrite(content(value, count * BLOCK), first * BLOCK)
            elif kind < 0.9:
                handle.pwrite(content(value, count * BLOCK), first * BLOCK, nbd.CMD_FLAG_FUA)
            elif kind < 0.95:
                handle.zero(count * BLOCK, first * BLOCK)
            else:
                handle.trim(count * BLOCK, first * BLOCK)
            for block in range(first, first + count):
                latest[block] = value
            if 0.8 <= kind < 0.9:
                state.durable(first, count, value)
                for block in range(first, first + count):
                    latest.pop(block)
            if rng.random() < 0.1:
                handle.flush()
                for block, value in latest.items():
                    state.durable(block, 1, value)
                latest.clear()
                operations += 1
                if operations == 3:
                    open(ready, "w").close()
    except nbd.Error:
        pass
    save(path, state)


def verify(uri, path):
    state = load(path)
    handle = nbd.NBD()
    handle.connect_uri(uri)
    for first in range(0, BLOCKS, 256):
        data = handle.pread(256 * BLOCK, first * BLOCK)
        for block in range(first, first + 256):
            found = set()
            for at in range(0, BLOCK, SECTOR):
                start = (block - first) * BLOCK + at
                sector = bytes(data[start:start + SECTOR])
                value = struct.unpack_from("<Q", sector)[0]
                if sector != content(value, SECTOR):
                    sys.exit("block %d, byte %d: a torn sector" % (block, at))
                if value not in state.allowed[block]:
                    sys.exit("block %d, byte %d: %d is none of %s"
                             % (block, at, value, sorted(state.allowed[block])))
                found.add(value)
            state.allowed[block] = found
    save(path, state)


if sys.argv[1] == "write":
    write(*sys.argv[2:5], int(sys.argv[5]))
else:
    verify(*sys.argv[2:4])

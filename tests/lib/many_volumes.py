# SPDX-License-Identifier: Apache-2.0
# many_volumes.py PID URI-FILE - opens every URI at once, and prints after each step what it made
# the server's own memory grow by, bytes for each connection:
#   connected N GROWTH      all are open and idle
#   read N GROWTH           each has read 4 KiB
#   wrote N GROWTH          each has written its first block
#   flushed N GROWTH
import resource
import socket
import struct
import sys
from urllib.parse import urlsplit

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
pid, path = sys.argv[1:]


def own_memory():
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return sum(int(l.split()[1]) for l in f if l.startswith("Pss_Anon")) * 1024


def take(s, n):
    data = s.recv(n, socket.MSG_WAITALL)
    assert len(data) == n, "the server hung up"
    return data


def ask(command, offset=0, length=0, data=b""):
    for s in clients:
        s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, command, 7, offset, length) + data)
    for s in clients:
        reply = struct.unpack(">IIQ", take(s, 16))
        assert reply == (0x67446698, 0, 7), reply
        if command == 0:
            take(s, length)


def tell(step):
    print(step, len(clients), (own_memory() - before) // len(clients), flush=True)


before = own_memory()
clients = []
for uri in open(path).read().split():
    at = urlsplit(uri)
    s = socket.create_connection((at.hostname, at.port), 60)
    name = at.path[1:].encode()
    take(s, 18)
    s.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", 1, len(name)) + name)
    clients.append(s)
for s in clients:
    take(s, 10)
tell("connected")
ask(0, 0, 4096)
tell("read")
ask(1, 65536, 4096, b"x" * 4096)
tell("wrote")
ask(3)
tell("flushed")

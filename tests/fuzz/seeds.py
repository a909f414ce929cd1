# SPDX-License-Identifier: Apache-2.0
"""seeds.py FILES CORPUS - turns what make-seeds collected into inputs, as each fuzz target wants
them.  It knows the formats on disk only as far as it cuts them (server/store/layer_disk.h,
live_file.h)."""
import glob
import os
import struct
import sys

BLOCK = 4096
files, corpus = sys.argv[1:]


def put(target, name, data):
    os.makedirs(f"{corpus}/{target}", exist_ok=True)
    with open(f"{corpus}/{target}/{name}", "wb") as f:
        f.write(data)


def read(path):
    with open(path, "rb") as f:
        return f.read()


# ---- map files: a byte of flags (0: as it is, 1: make the checksums right), the file -----------
def maps():
    seen = set()
    for path in sorted(glob.glob(f"{files}/*.map")):
        data = read(path)
        features, pages = struct.unpack_from("<I4xI", data, 12)
        index = (pages * 8 + BLOCK - 1) // BLOCK * BLOCK
        if (features, pages) in seen:
            continue
        seen.add((features, pages))
        if features & 1:  # the target adds the checksums, which are long
            put("store_map_file", "image", b"\5" + data[: BLOCK + index + pages * BLOCK])
        else:
            put("store_map_file", f"pages-{pages}", b"\1" + data)
            put("store_map_file", f"pages-{pages}-as-it-is", b"\0" + data)


# ---- the journal: batches, each a byte of flags, two of length, the records ---------------------
def journal(name):
    data = read(f"{files}/{name}.journal")
    half = struct.unpack_from("<Q", data, 40)[0]
    out = b""
    for start in (BLOCK, BLOCK + half):
        at = start
        while data[at : at + 8] == b"GBXBATCH":
            length = struct.unpack_from("<I", data, at + 24)[0]
            if length < 65536:
                out += b"\0" + struct.pack("<H", length) + data[at + 64 : at + 64 + length]
            at += (64 + length + BLOCK - 1) // BLOCK * BLOCK
    put("store_journal", name, out + b"\0\0\0")


# ---- the live file: its table and slots, cut to as many slots as the target has -----------------
def live(name):
    data = read(f"{files}/{name}.live")
    slots = struct.unpack_from("<I", data, 12)[0]
    table, kept = BLOCK, []
    first = table + (slots * 32 + BLOCK - 1) // BLOCK * BLOCK
    for slot in range(slots):
        entry = bytearray(data[table + slot * 32 : table + slot * 32 + 32])
        if any(entry) and len(kept) < 6:
            entry[0] = entry[2] = 1  # what the target takes for the state and the entries
            kept.append((entry, data[first + slot * BLOCK :][:BLOCK]))
    out = b"".join(bytes(e) for e, _ in kept).ljust(BLOCK, b"\0")
    out += b"".join(page for _, page in kept)
    put("store_live", name, out.rstrip(b"\0").ljust(4, b"\0"))


# ---- disks to import: twice the blocks of zeros behind it (odd: a VHDX region table), the file ---
def disk(name, keep=BLOCK):
    data = read(f"{files}/{name}")
    put("import_format", name, b"\x20" + data[:keep].rstrip(b"\0"))


def vhdx():
    data = read(f"{files}/d.vhdx")
    regions = data[192 << 10 :]
    count = struct.unpack_from("<I", regions, 8)[0]
    entries, where = b"", 0
    for i in range(count):
        entry = regions[16 + i * 32 :][:32]
        if entry[:4] == bytes.fromhex("06a27c8b"):
            where = struct.unpack_from("<Q", entry, 16)[0]
            entry = entry[:16] + struct.pack("<QII", (256 << 10) + 4096, 1 << 19, 1)
        entries += entry
    table = bytearray(data[where:][:BLOCK])  # what its items say lies 64 KiB on: here right behind
    for item in range(struct.unpack_from("<H", table, 10)[0]):
        at = 32 + item * 32 + 16
        struct.pack_into("<I", table, at, struct.unpack_from("<I", table, at)[0] - 65536 + BLOCK)
    items = data[where + 65536 :][:512].rstrip(b"\0")
    put("import_format", "d.vhdx", b"\1" + entries.ljust(4096, b"\0") + bytes(table) + items)


# ---- texts --------------------------------------------------------------------------------------
UUID = "00112233-4455-6677-8899-aabbccddeeff"
MAC = "52:54:00:12:34:56"
DISK = (
    '{"volume":"v","vdev":"xvda","address":"10.99.0.1","port":10809,"export_name":"v.0123",'
    '"size_bytes":1048576,"generation":1,"epoch":2}'
)
DOMAIN = (
    f'{{"name":"d1","uuid":"{UUID}","memory_mib":256,"vcpus":1,"mac":"{MAC}","running":true,'
    f'"paused":false,"stop_seconds":60,"incarnation":7,"disks":[{DISK}]}}'
)
CONTRACT = {
    "spec": (0, f'{{"revision":3,"approved":true,"domains":[{DOMAIN}]}}'),
    "spec-empty": (0, '{"revision":1,"approved":false,"domains":[]}'),
    "report": (
        1,
        f'{{"revision":3,"domains":[{{"name":"d1","uuid":"{UUID}","state":"running","domid":3,'
        '"incarnation":7,"detail":""}]}',
    ),
    "register": (
        2,
        f'{{"macs":["{MAC}"],"uuid":"{UUID}","cpu":"QEMU","cpus":2,"memory_mib":2048,"hvm":true,'
        '"agent_version":"1"}',
    ),
    "registered": (3, '{"host":"pc1","session":"00112233445566778899aabbccddeeff"}'),
}
API = {
    "create": '{"name":"lab-%d","image":"golden@2","count":20}',
    "create-one": '{"name":"v","image":"golden","force":true}',
    "unicode": '{"name":"\\u00e4 \\ud83d\\ude00","image":"a@0","count":-1,"force":false}',
    "nested": '{"name":["a",{"b":null}],"count":1.5e3}',
    "volumes": "/v1/volumes",
    "volume": "/v1/volumes/lab-1",
    "attachment": "/v1/volumes/lab-1/attachment",
    "deep": "/v1/hosts/52:54:00:12:34:56/approve/x",
}
CONFIG = {
    "lab": 'state: /srv/gridbox\nhttp: ["127.0.0.1:8420", "192.0.2.7:8420"]\nboot: lab0\n'
    'dhcp-range: 10.99.0.100-10.99.0.199\napprove: "52:54:00,b8:ae:ed"\nimage-limit: 200G\n',
    "ipv6": 'nbd: ["[fd77::1]:10809"]\nhttp: "[::]:8420"\nlog-level: debug\n',
    "wrong": "state: [a\n",
    "unknown": "colour: red\nstate: 3\n",
    "anchors": "a: &x [1, *x]\n",
}
BOOT = {
    "bios": [MAC, "82540em", "pcbios", "10.77.0.100-10.77.0.199"],
    "efi": ["52-54-00-AB-CD-EF", "undionly", "efi", "00:1B:21:AA, 52:54"],
    "refused": ["this PC waits for approval\nand says so", "", "", "none"],
    "all": ["10.77.0.2-10.77.0.254", "x", "arm", "all"],
}


def texts():
    for name, (number, text) in CONTRACT.items():
        put("contract", name, bytes([0x80 + number]) + text.encode())
    for name, text in API.items():
        put("api_json", name, text.encode())
    for name, text in CONFIG.items():
        put("config", name, text.encode())
    for name, parts in BOOT.items():
        put("boot_query", name, b"\0".join(p.encode() for p in parts))


maps()
for name in ("two", "sealed"):
    journal(name)
    live(name)
for name in ("d.qcow2", "old.qcow2", "backed.qcow2", "sparse.vmdk", "stream.vmdk", "flat.vmdk"):
    disk(name)
for name in ("d.vdi", "static.vdi"):
    disk(name, 512)
vhdx()
texts()

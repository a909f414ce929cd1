# SPDX-License-Identifier: Apache-2.0
"""Volumes, snapshots and images under random verbs, while the server is killed in the middle of them.

    verbs.py SOCKET IMAGE SEED STEPS

Prints "kill" when the server is to be killed and started again, and goes on when a line comes; at the
end "done" and what was done, or a traceback.  What everything should show is kept here: a verb that was
under way has happened as a whole or not at all, and one that was answered has happened.  IMAGE has
BLOCKS blocks of BLOCK bytes, block n full of the byte n + 1.  Python, with libnbd's module.
"""
import http.client
import json
import random
import socket
import sys
import threading
import time

import nbd

BLOCKS = 16
BLOCK = 65536
GONE = (OSError, http.client.HTTPException)


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("gridbox", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def must(condition, *what):
    if not condition:
        raise AssertionError(" ".join(str(w) for w in what))


class Lab:
    def __init__(self, path, image, seed):
        self.path = path
        self.rng = random.Random(seed)
        self.volumes = {}  # name -> what its blocks hold
        self.made_from = {}  # name -> image
        self.images = {image: [n + 1 for n in range(BLOCKS)]}
        self.snapshots = {}  # name -> volume -> blocks
        self.clients = {}
        self.number = 0
        self.done = {}

    def call(self, method, path, body=None):
        connection = Unix(self.path)
        connection.request(method, path, json.dumps(body) if body is not None else None)
        answer = connection.getresponse()
        text = answer.read()
        must(answer.status < 300, method, path, body, answer.status, text)
        return json.loads(text) if text else None

    def fresh(self, kind):
        self.number += 1
        return f"{kind}{self.number}"

    # ---- data -----------------------------------------------------------------------------------
    def client(self, volume):
        if volume not in self.clients:
            order = {"volumes": [volume], "force": True}
            uri = self.call("POST", "/v1/attachments", order)["attachments"][0]["uri"]
            handle = nbd.NBD()
            handle.connect_uri(uri)
            self.clients[volume] = handle
        return self.clients[volume]

    def write(self, volume):
        block, value = self.rng.randrange(BLOCKS), self.rng.randrange(256)
        if value:
            self.client(volume).pwrite(bytes([value]) * BLOCK, block * BLOCK)
        else:
            self.client(volume).zero(BLOCK, block * BLOCK)
        self.volumes[volume][block] = value

    def check(self, volume):
        for block in range(BLOCKS):
            got = self.client(volume).pread(BLOCK, block * BLOCK)
            want = bytes([self.volumes[volume][block]]) * BLOCK
            must(got == want, volume, "block", block, "is", got[:8].hex(), "not", want[:8].hex())

    # ---- verbs: each gives a call, and what is so when it has happened ------------------------------
    def some(self, names):
        return self.rng.sample(sorted(names), self.rng.randint(1, len(names)))

    def moved(self, volumes, content):
        for name in volumes:
            self.volumes[name] = list(content(name))
            self.clients.pop(name, None)

    def snapshot(self):
        name, volumes = self.fresh("s"), self.some(self.volumes)
        held = {v: list(self.volumes[v]) for v in volumes}
        return (
            ("POST", "/v1/snapshots", {"name": name, "volumes": volumes}),
            lambda: self.listed("snapshots", name),
            lambda: self.snapshots.update({name: held}),
        )

    def unsnapshot(self):
        if not self.snapshots:
            return None
        name = self.rng.choice(sorted(self.snapshots))
        return (
            ("DELETE", f"/v1/snapshots/{name}", None),
            lambda: not self.listed("snapshots", name),
            lambda: self.snapshots.pop(name),
        )

    def rollback(self):
        if not self.snapshots:
            return None
        name = self.rng.choice(sorted(self.snapshots))
        volumes = self.some(self.snapshots[name])
        return (
            ("POST", "/v1/rollbacks", {"snapshot": name, "volumes": volumes}),
            self.epochs_move(volumes),
            lambda: self.moved(volumes, lambda v: self.snapshots[name][v]),
        )

    def reset(self):
        volumes = self.some(self.volumes)
        return (
            ("POST", "/v1/resets", {"volumes": volumes}),
            self.epochs_move(volumes),
            lambda: self.moved(volumes, lambda v: self.images[self.made_from[v]]),
        )

    def clone(self):
        source, name = self.rng.choice(sorted(self.volumes)), self.fresh("c")
        if len(self.volumes) > 8:
            return None
        content = self.volumes[source]
        held = sorted(s for s in self.snapshots if source in self.snapshots[s])
        text = source
        if held and self.rng.random() < 0.5:
            text = f"{source}@{held[-1]}"
            content = self.snapshots[held[-1]][source]

        def happened():
            self.volumes[name] = list(content)
            self.made_from[name] = self.made_from[source]

        order = {"name": name, "clone": text}
        return ("POST", "/v1/volumes", order), lambda: self.listed("volumes", name), happened

    def promote(self):
        source = self.rng.choice(sorted(self.volumes))
        if len(self.images) > 5:
            return None
        image, name = self.fresh("i"), self.fresh("v")

        def happened():
            self.images[f"{image}@1"] = list(self.volumes[source])
            self.call("POST", "/v1/volumes", {"name": name, "image": image})
            self.volumes[name] = list(self.volumes[source])
            self.made_from[name] = f"{image}@1"

        order = ("POST", f"/v1/volumes/{source}/promote", {"image": image})
        return order, lambda: self.listed("images", image), happened

    def remove(self):
        if len(self.volumes) < 5:
            return None
        name = self.rng.choice(sorted(self.volumes))
        self.client(name)
        self.clients.pop(name).shutdown()
        self.call("DELETE", f"/v1/volumes/{name}/attachment")

        def happened():
            del self.volumes[name]
            for held in self.snapshots.values():
                held.pop(name, None)
            self.snapshots = {s: held for s, held in self.snapshots.items() if held}

        order = ("DELETE", f"/v1/volumes/{name}?snapshots=1", None)
        return order, lambda: not self.listed("volumes", name), happened

    def listed(self, kind, name):
        return name in {x["name"] for x in self.call("GET", f"/v1/{kind}")[kind]}

    def epochs(self):
        return {v["name"]: v["epoch"] for v in self.call("GET", "/v1/volumes")["volumes"]}

    def epochs_move(self, volumes):
        before = self.epochs()

        def moved():
            after = self.epochs()
            count = sum(after[v] != before[v] for v in volumes)
            must(count in (0, len(volumes)), "half of", volumes, before, after)
            return count > 0

        return moved

    # ---- steps ----------------------------------------------------------------------------------
    def run(self, verb, kill):
        """One verb in peace, or one in the middle of which the server is killed."""
        found = verb()
        if not found:
            return
        order, has_happened, happened = found
        answered = []

        def ask():
            try:
                self.call(*order)
                answered.append(True)
            except GONE:
                pass
            except AssertionError as e:
                answered.append(e)

        if kill:
            thread = threading.Thread(target=ask)
            thread.start()
            time.sleep(self.rng.random() * 0.02)
            print("kill", flush=True)
            must(sys.stdin.readline(), "nobody starts the server again")
            thread.join()
            self.clients.clear()
        else:
            ask()
        must(not answered or answered[0] is True, order, *answered)
        real = has_happened()
        must(real or not answered, order, "was answered and has not happened")
        if real:
            happened()
        key = f"{verb.__name__}{'' if not kill else '+' if real else '-'}"
        self.done[key] = self.done.get(key, 0) + 1
        if kill:
            for volume in self.volumes:
                self.check(volume)

    def step(self):
        for volume in self.some(self.volumes):
            self.write(volume)
        self.check(self.rng.choice(sorted(self.volumes)))
        verbs = [self.snapshot, self.unsnapshot, self.rollback, self.reset]
        verbs += [self.snapshot, self.unsnapshot, self.clone, self.promote, self.remove]
        self.run(self.rng.choice(verbs), self.rng.random() < 0.4)


def main(path, image, seed, steps):
    lab = Lab(path, image, int(seed))
    for n in range(4):
        lab.call("POST", "/v1/volumes", {"name": f"v-{n}", "image": image})
        lab.volumes[f"v-{n}"] = list(lab.images[image])
        lab.made_from[f"v-{n}"] = image
    for _ in range(int(steps)):
        lab.step()
    for volume in lab.volumes:
        lab.check(volume)
    print("done", json.dumps(lab.done, sort_keys=True), flush=True)


main(*sys.argv[1:])

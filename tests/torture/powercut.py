"""The power goes: what a server did to its files is recorded (record.c), and played back up to any
point with what was not synced there dropped in part: sectors of 512 bytes, sizes, names.

From each image the spool is opened as the server opens it (spool_dump.c), twice, with a message
more in between; from a sample of them the server itself starts. Wanted: every message that was
acknowledged before the point is in the spool or in the Maildir, as it was sent and for those it was
sent to; of several recipients each is still owed or has it. Every key that was made works, every
key that was withdrawn does not. Nothing but a commit cut short is set aside.

What the replay takes for granted of a file system: a sync of a file keeps its content and size, a
sync of a directory the names in it, and nothing else is kept. Names that were not synced are kept
in the order in which they were made (as a journal does) in two images of three, in any subset in
the third."""
import collections
import hashlib
import os
import random
import re
import shutil
import struct
import subprocess
import threading
import time

from lab import paths, raw

from . import box as b

LOG_BYTES = 1 << 30
DIE_AT = 1500000
FIRST = 4096
RECORD = struct.Struct("<IIQQQQ")
MADE, NAMED, UNNAMED, RENAMED, DIRECTORY, WRITTEN, CUT, GROWN, SYNCING, SYNCED = range(1, 11)
SECTOR = 512
ROUTES = {("route", "capture"): {"domains": ["d0.example"]},
          ("route", "nowhere"): b.NOWHERE[("route", "nowhere")],
          "retry": {"first": "100ms", "max": "3s"}}


# -- what happened --


class Story:
    """A recorded run, and what was acknowledged when."""

    def __init__(self, dir, messages=2500, cycles=3, binary=None, env=None, seed=1):
        self.dir, self.rng = dir, random.Random(seed)
        self.template = b.Template(os.path.join(dir, "template"), binary)
        self.so = b.build("record", dir)
        self.dump = build_dump(dir)
        self.log = b.SharedFile(os.path.join(dir, "log"), LOG_BYTES)
        self.box = b.Box(self.template, os.path.join(dir, "recorded"), ROUTES)
        self.root = self.box.data
        self.first = Tree(self.root)
        self.messages, self.acks, self.lock = {}, [], threading.Lock()
        env = dict(env or {}, TORTURE_LOG=self.log.path)
        tree, self.read_to = Tree(self.root), FIRST     # a twin to play the log in
        for cycle in range(cycles):
            # The first is killed where the log lacks what was done.
            die = {"TORTURE_DIE": str(DIE_AT)} if cycle == 0 and cycles > 1 else {}
            self.box.start(env={**env, **die}, preload=self.so)
            if not self.box.wait_up():
                raise AssertionError(f"the recorded server ends:\n{self.box.log}")
            self.load(cycle, messages // cycles, last=cycle == cycles - 1)
            if cycle < cycles - 1:
                self.catch_up(tree)
        if self.box.stop() != 0:
            raise AssertionError(f"the recorded server ended badly:\n{self.box.log[-2000:]}")
        self.used = self.position()

    def position(self):
        return struct.unpack_from("<Q", self.log.map, 8)[0]

    def acked(self, kind, what):
        at = self.position()
        with self.lock:
            self.acks.append((at, kind, what))

    def load(self, cycle, n, last):
        """Four clients; before the last cycle ends the server is killed under them."""
        stop = threading.Event()
        done = [0]

        def client(i):
            rng = random.Random(self.rng.random())
            c = None
            for k in range(n // 4):
                if stop.is_set():
                    break
                size = rng.choice((2, 30, 60, 60, 120, 200, 200))
                m = b.Message(f"c{cycle}-{i}-{k}", size, rng.choice((1, 1, 1, 1, 1, 2, 3)))
                if k % 40 == 7:
                    m.body += "a body that goes to a file\r\n" * rng.randint(1500, 6000)
                self.messages[m.tag] = m
                try:
                    if c is None:
                        c, r = self.box.login()
                    r = b.send(c, m)
                except b.TROUBLE:
                    c = None
                    continue
                if r.code == 250:
                    self.acked("message", m)
                    done[0] += 1
            if c:
                c.close()

        threads = [threading.Thread(target=client, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        self.keys(cycle)
        if not last:
            while done[0] < n * 3 // 4 and any(t.is_alive() for t in threads):
                time.sleep(0.005)
            self.box.kill()
            stop.set()
        for t in threads:
            t.join()
        if last:
            time.sleep(0.3)

    def keys(self, cycle):
        """Keys are made and some of them withdrawn."""
        for i in range(4):
            try:
                status, k = self.box.control("POST", "/keys", {"account": "shop", "name": f"k{cycle}{i}"})
                if status != 201:
                    continue
                self.acked("key", (k["id"], k["key"]))
                if i % 2:
                    # Whether it is withdrawn is not known from here on, until it is answered.
                    self.acked("withdrawing", (k["id"], k["key"]))
                    status, _ = self.box.control("POST", f"/keys/{k['id']}/revoke")
                    if status == 200:
                        self.acked("revoked", (k["id"], k["key"]))
            except b.TROUBLE:
                pass

    def catch_up(self, tree):
        """A killed process did a last thing or two that the log lacks, and the next one finds them
        done: they are written down here, unsynced."""
        self.used = self.position()
        for at, *record in self.records(self.read_to):
            tree.apply(at, *record)
        self.reached = {id(o) for o in reached(tree.root)}
        self.compare(tree, tree.root, self.root)
        self.read_to = self.used = self.position()

    def compare(self, tree, o, path):
        here = os.stat(path).st_ino
        if not o.dir:
            with open(path, "rb") as f:
                real = f.read()
            known = o.image(ALL)
            if real == known:
                return
            first = next((i for i, (x, y) in enumerate(zip(real, known)) if x != y), min(len(real), len(known)))
            if len(known) > len(real):
                self.add(tree, CUT, ino=here, at=len(real))
            if real[first:]:
                self.add(tree, WRITTEN, ino=here, at=first, data=real[first:])
            return
        known, real = o.now(), {e.name: e.inode() for e in os.scandir(path)
                                if e.is_dir() or e.is_file() and not e.name.endswith("-shm")}
        for name, was in known.items():
            if name not in real and not name.endswith("-shm"):
                self.add(tree, UNNAMED, dir=here, name=name)
        for name, ino in real.items():
            child = os.path.join(path, name)
            if name not in known or known[name] is not tree.by_ino.get(ino):
                # It is known by another name, or the number has a new life.
                op = NAMED if id(tree.by_ino.get(ino)) in self.reached else \
                    DIRECTORY if os.path.isdir(child) else MADE
                self.add(tree, op, ino=ino, dir=here, name=name)
            self.compare(tree, tree.by_ino[ino], child)

    def add(self, tree, op, ino=0, dir=0, at=0, name="", data=b""):
        data = data or name.encode()
        begin = self.position()
        end = begin + (RECORD.size + len(data) + 7) // 8 * 8
        RECORD.pack_into(self.log.map, begin, op, len(data), ino, dir, 0, at)
        self.log.map[begin + RECORD.size:begin + RECORD.size + len(data)] = bytes(data)
        struct.pack_into("<Q", self.log.map, 8, end)
        tree.apply(end, op, ino, dir, 0, at, bytes(data))

    def records(self, at=FIRST):
        """(offset behind it, op, fields, bytes)"""
        m = self.log.map
        while at < self.used:
            op, n, ino, dir_, to_dir, where = RECORD.unpack_from(m, at)
            data = m[at + RECORD.size:at + RECORD.size + n]
            at += (RECORD.size + n + 7) // 8 * 8
            yield at, op, ino, dir_, to_dir, where, data


def build_dump(dir):
    out = os.path.join(dir, "spool_dump")
    lib = f"{paths.BUILD}/release/src/libsignet-"
    subprocess.run(["gcc", "-std=gnu17", "-O1", "-D_GNU_SOURCE", "-I", f"{paths.ROOT}/src", "-o", out,
                    f"{paths.TESTS}/torture/spool_dump.c", f"{lib}spool.a", f"{lib}ops.a",
                    f"{lib}base.a", "-lpthread", "-lcrypto", "-lconfuse"], check=True)
    return out


# -- a disk --


class File:
    """What is on the disk of it, and what was done since, which may be there or not."""
    dir = False

    def __init__(self, content=b""):
        self.content, self.since, self.parsed = bytearray(content), [], None

    def do(self, content, change, keep=None):
        _, op, at, data = change
        if op == WRITTEN:
            pieces = [(at, at + len(data))] if keep is None else \
                [(x, y) for x, y in sectors(at, at + len(data)) if keep()]
            for x, y in pieces:
                if len(content) < y:
                    content.extend(bytes(y - len(content)))
                content[x:y] = data[x - at:y - at]
        elif keep is None or keep():
            if len(content) < at:
                content.extend(bytes(at - len(content)))
            elif op == CUT:
                del content[at:]

    def sync(self, before):
        left = []
        for change in self.since:
            if change[0] < before:
                self.do(self.content, change)
            else:
                left.append(change)
        self.since, self.parsed = left, None

    def image(self, choice):
        if not self.since:
            return self.content
        content = bytearray(self.content)
        for change in self.since:
            if choice.whole(change[0]):
                self.do(content, change)
            elif coin := choice.partly(change[0]):
                self.do(content, change, coin)
        return content


def sectors(x, y):
    while x < y:
        to = min(y, (x // SECTOR + 1) * SECTOR)
        yield x, to
        x = to


class Directory:
    dir = True

    def __init__(self):
        self.names, self.since = {}, []

    @staticmethod
    def do(names, change):
        _, op, name, what = change
        if op == NAMED:
            names[name] = what
        elif op == UNNAMED:
            names.pop(name, None)
        elif op == RENAMED and name in names:
            names[what] = names.pop(name)

    def sync(self, before):
        left = []
        for change in self.since:
            if change[0] < before:
                self.do(self.names, change)
            else:
                left.append(change)
        self.since = left

    def now(self):
        names = dict(self.names)
        for change in self.since:
            self.do(names, change)
        return names

    def image(self, choice):
        names = dict(self.names)
        for change in self.since:
            if choice.name(change[0]):
                self.do(names, change)
        return names


def reached(o):
    """All that has a name."""
    yield o
    for child in o.now().values() if o.dir else ():
        yield from reached(child)


class Tree:
    """The files below a directory as they are; then what is done to them."""

    def __init__(self, root):
        self.by_ino, self.syncing = {}, {}
        self.root = self.read(root)

    def read(self, path):
        st = os.stat(path)
        if os.path.isdir(path):
            o = Directory()
            for n in os.listdir(path):
                child = os.path.join(path, n)
                if os.path.isdir(child) or os.path.isfile(child):
                    o.names[n] = self.read(child)
        else:
            with open(path, "rb") as f:
                o = File(f.read())
        self.by_ino[st.st_ino] = o
        return o

    def apply(self, at, op, ino, dir_, to_dir, where, data):
        """True: a sync ended."""
        o, d = self.by_ino.get(ino), self.by_ino.get(dir_)
        name = data.decode("utf-8", "replace") if op in (MADE, NAMED, UNNAMED, RENAMED, DIRECTORY) else ""
        if op == MADE and where and o and d and d.now().get(name) is o:
            return False    # it was there before, and is known
        if op in (MADE, DIRECTORY):
            o = self.by_ino[ino] = File() if op == MADE else Directory()
            if d:
                d.since.append((at, NAMED, name, o))
        elif op == NAMED and d and o:
            d.since.append((at, NAMED, name, o))
        elif op == UNNAMED and d:
            d.since.append((at, UNNAMED, name, None))
        elif op == RENAMED:
            a, _, z = name.partition("\0")
            t = self.by_ino.get(to_dir)
            if d is t and d:
                d.since.append((at, RENAMED, a, z))
            else:
                o = d.now().get(a) if d else None
                if t and o:
                    t.since.append((at, NAMED, z, o))
                if d:
                    d.since.append((at, UNNAMED, a, None))
        elif op in (WRITTEN, CUT, GROWN) and o and not o.dir:
            o.since.append((at, op, where, data))
        elif op == SYNCING:
            self.syncing[where] = at
        elif op == SYNCED and o:
            o.sync(self.syncing.pop(where, 0))
            return True
        return False


class Choice:
    """Which of the unsynced changes are on the disk; the same whenever it is asked."""

    def __init__(self, rng, now):
        self.kind = rng.choice(("none", "all", "sectors", "sectors", "some", "prefix"))
        self.p = rng.choice((0.1, 0.5, 0.5, 0.9))
        self.seed, self.order = rng.getrandbits(32), rng.random() < 0.67
        self.cut = now - int(rng.expovariate(1 / 20000.0))
        self.names_cut = now - int(rng.expovariate(1 / 20000.0)) * rng.choice((0, 1, 1))
        self.drop_names = rng.random() < 0.25

    def coin(self, at):
        return random.Random(self.seed << 40 | at).random() < self.p

    def whole(self, at):
        return self.kind == "all" or (self.kind == "prefix" and at <= self.cut) or \
            (self.kind == "some" and self.coin(at))

    def partly(self, at):
        """None, or what says of each sector whether it is there."""
        if self.kind == "sectors" or (self.kind == "prefix" and at % 5 == 0):
            rng = random.Random(self.seed << 40 | at)
            return lambda: rng.random() < self.p
        return None

    def name(self, at):
        if self.drop_names:
            return False
        return at <= self.names_cut if self.order else self.coin(at + 1)

    def __str__(self):
        names = "dropped" if self.drop_names else "in order" if self.order else "any"
        return f"{self.kind} p={self.p} names {names}"


class All:
    """Everything that was done."""

    @staticmethod
    def whole(at):
        return True


ALL = All()


# -- looking at an image --


def write_out(o, choice, path):
    if not o.dir:
        with open(path, "wb") as f:
            f.write(o.image(choice))
        return
    os.makedirs(path, exist_ok=True)
    for name, child in o.image(choice).items():
        write_out(child, choice, os.path.join(path, name))


def captured(tree, choice):
    """tag -> recipients that have it on this disk, of the files that are what was sent."""
    out = collections.defaultdict(set)
    d = tree.root.image(choice).get("capture")
    new = d.image(choice).get("new") if d else None
    for o in (new.image(choice).values() if new else []):
        # Of a file that is wholly on the disk the answer stays.
        got = o.parsed
        if got is None:
            text = bytes(o.image(choice))
            head, _, body = text.partition(b"\r\n\r\n")
            m = re.search(rb"(?m)^Subject: tag-(\S+)-\r?$", head)
            got = (m.group(1).decode() if m else None, hashlib.sha256(body).hexdigest(),
                   {t.decode() for t in re.findall(rb"(?m)^Delivered-To: <?(.*?)>?\r?$", head)})
            if not o.since:
                o.parsed = got
        tag, sum_, to = got
        if tag in STORY.messages and sum_ == body_sum(tag):
            out[tag] |= to
    return out


SUMS = {}


def body_sum(tag):
    if tag not in SUMS:
        SUMS[tag] = hashlib.sha256(STORY.messages[tag].body.encode()).hexdigest()
    return SUMS[tag]


def dump(spool, *more):
    """({tag: {rcpt: state}}, complaints)"""
    p = subprocess.run([STORY.dump, spool, *more], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, timeout=60, check=False)
    out, bad, notes = {}, [], []
    if p.returncode < 0:
        bad.append(f"opening ended with signal {-p.returncode}: {p.stderr.decode()[-300:]}")
    for line in p.stdout.decode("utf-8", "replace").splitlines():
        word, _, rest = line.partition(" ")
        if word == "message":
            subject, sum_, *to = rest.split(" ")
            m = re.fullmatch(r"tag-(\S+)-", subject)
            tag = m.group(1) if m else subject
            if tag == "onemore":
                out[tag] = {}
                continue
            msg = STORY.messages.get(tag)
            states = dict(t.rsplit("=", 1) for t in to if "=" in t)
            if not msg:
                bad.append(f"nobody sent {subject}")
            elif sum_ != body_sum(tag):
                bad.append(f"{tag} has another body")
            elif set(states) != set(msg.rcpts):
                bad.append(f"{tag} is for {sorted(states)}")
            else:
                out[tag] = states
        elif word == "damaged" and "cut short by a crash" in rest:
            notes.append(rest)
        else:
            bad.append(line)
    return out, bad, notes


def owed(at, there, have):
    """What was acknowledged before and is neither in the spool nor delivered."""
    lost = []
    for pos, kind, m in STORY.acks:
        if pos > at or kind != "message":
            continue
        states, got = there.get(m.tag), have.get(m.tag, set())
        for t in m.rcpts:
            if t in got or (states and states.get(t) == "pending"):
                continue
            lost.append(f"{t} ({'not in the spool' if not states else states.get(t)})")
    return lost


def check_service(tree, choice, at, dir):
    """The server itself, on the whole image."""
    bad = []
    data = os.path.join(dir, "service-data")
    shutil.rmtree(data, ignore_errors=True)
    shutil.rmtree(os.path.join(dir, "service"), ignore_errors=True)
    os.makedirs(data)
    for name, o in tree.root.image(choice).items():
        if name != "capture" and not name.endswith("-shm"):
            write_out(o, choice, os.path.join(data, name))
    have = captured(tree, choice)
    x = b.Box(STORY.template, os.path.join(dir, "service"), data=data)
    try:
        x.start()
        if not x.wait_up():
            x.kill()
            return [f"the server does not start: {x.log[-500:]}"]
        withdrawn = {what[0]: pos for pos, kind, what in STORY.acks if kind == "revoked"}
        asked = {what[0]: pos for pos, kind, what in STORY.acks if kind == "withdrawing"}
        for pos, kind, what in STORY.acks:
            if kind != "key" or pos > at:
                continue
            c, r = x.login(what[1])
            c.close()
            if withdrawn.get(what[0], at + 1) <= at and r.code == 235:
                bad.append(f"the withdrawn key {what[0]} logs in")
            if asked.get(what[0], at) >= at and r.code != 235:
                bad.append(f"the key {what[0]} that was made does not log in: {r}")
        c, r = x.login()
        m = b.Message("after")
        if r.code != 235 or b.send(c, m).code != 250:
            bad.append("no mail is taken")
        c.close()
        x.wait_empty()
    except b.TROUBLE as e:
        bad.append(f"the server: {type(e).__name__}: {e}")
    code = x.stop()
    if code != 0:
        bad.append(f"the server ends with {code}")
    got = b.Captured(x.capture, list(STORY.messages.values()) + [b.Message("after")])
    bad += got.bad[:3]
    there = {t: {r: "pending" for r in to} for t, to in got.seen.items()}
    lost = owed(at, there, have)
    if lost:
        bad.append(f"lost, says the server: {lost[:5]}")
    x.remove()
    return bad


def check_image(tree, rng, at, dir, service):
    choice = Choice(rng, at)
    spool = os.path.join(dir, "spool")
    shutil.rmtree(spool, ignore_errors=True)
    names = tree.root.image(choice)
    have = captured(tree, choice)
    if "spool" in names:
        write_out(names["spool"], choice, spool)
    first, bad, notes = dump(spool, "put")
    lost = owed(at, first, have)
    if lost:
        bad.append(f"lost: {lost[:5]}" + (f" and {len(lost) - 5} more" if len(lost) > 5 else ""))
    second, more, _ = dump(spool)
    bad += [f"second start: {x}" for x in more]
    if set(second) != set(first) | {"onemore"}:
        bad.append(f"the second start differs: {sorted(set(first) ^ set(second))[:6]}")
    if service and not bad:
        bad += check_service(tree, choice, at, dir)
    return [f"{choice}: {x}" for x in bad], len(notes)


# -- all of it --

STORY = None


def part(job):
    """Plays the story once; looks at the images of this worker."""
    worker, of, plan, seed = job
    os.umask(0o077)
    dir = os.path.join(STORY.dir, f"worker{worker}")
    os.makedirs(dir, exist_ok=True)
    tree = Tree.__new__(Tree)
    tree.__dict__.update(STORY.first.__dict__)      # the fork's own copy
    rng = random.Random(f"{seed} {worker}")
    results = []
    for i, (at, *record) in enumerate(STORY.records()):
        tree.apply(at, *record)
        for k in plan.get(i, ()):
            if k % of == worker:
                bad, notes = check_image(tree, rng, at, dir, k % SERVICE_EVERY == 0)
                results.append((k, at, bad, notes))
    return results


SERVICE_EVERY = 40


def go(images, seed, say=print, binary=None, env=None, messages=2500, at_once=2, service_every=40):
    """Returns (images, findings)."""
    global STORY, SERVICE_EVERY
    SERVICE_EVERY = service_every
    rng = random.Random(seed)
    dir = b.place("powercut")
    try:
        STORY = Story(dir, messages, binary=binary, env=env, seed=seed)
        SUMS.clear()
        records = list(STORY.records())
        # The inodes do not say which sync was the spool's: every one counts.
        syncs = [i for i, r in enumerate(records) if r[1] == SYNCED]
        say(f"recorded: {len(records)} changes of files, {len(syncs)} syncs, "
            f"{sum(k == 'message' for _, k, _ in STORY.acks)} messages acknowledged, "
            f"{sum(k in ('key', 'revoked') for _, k, _ in STORY.acks)} key changes")
        # Just before a sync had ended, just behind it, and anywhere.
        points = [i - 1 for i in syncs] + syncs
        rng.shuffle(points)
        points = points[:images * 2 // 3]
        points += [rng.randrange(len(records)) for _ in range(images - len(points))]
        plan = collections.defaultdict(list)
        for k, i in enumerate(points):
            plan[i].append(k)
        findings, notes, n = [], 0, 0
        with b.pool(at_once) as pool:
            for results in pool.imap_unordered(part, [(w, at_once, plan, seed) for w in range(at_once)]):
                for k, at, bad, some in results:
                    n, notes = n + 1, notes + some
                    for x in bad:
                        findings.append(f"image {k} at {at}: {x}")
        for f in findings[:20]:
            say(f"FINDING {f}")
        say(f"{n} images (of {len(set(points))} points), {len(range(0, images, service_every))} with the "
            f"server itself; {notes} commits cut short set aside; {len(findings)} findings; seed {seed}")
        return n, findings
    finally:
        if STORY:
            STORY.box.kill()
        shutil.rmtree(dir, ignore_errors=True)
        STORY = None

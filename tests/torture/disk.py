"""Rotten, full and read-only disks.

Rot: a spool of several segments is damaged at random (bits, sectors that are zero, stale or
another's, files cut, gone, doubled, foreign) and opened. What was not touched is all there, with its
outcomes; of what was touched nothing is shown but as it was sent; what is missing is listed, unless
it is the torn end of the last segment; a spool that does not open says so, and salvage brings the
rest. A second start finds the same.

Full and read-only: on a small file system of its own (needs root)."""
import hashlib
import os
import random
import re
import shutil
import subprocess
import time

from lab import raw

from . import box as b
from . import powercut

HEADER = 1024


class Rot:
    def __init__(self, dir, rng):
        self.dir, self.rng = dir, rng
        self.template = b.Template(os.path.join(dir, "template"))
        self.dump = powercut.build_dump(dir)
        self.messages = {}
        self.base = self.make("base")
        self.other = self.make("other")        # a stranger's segments
        # Places and states before anything is touched.
        self.before, bad, _, self.places = self.look(self.copy("clean"))
        if bad or len(self.before) < 60:
            raise AssertionError(f"the spool before: {len(self.before)} messages, {bad}")

    def make(self, name):
        x = b.Box(self.template, os.path.join(self.dir, name), powercut.ROUTES)
        x.start()
        x.wait_up()
        c, r = x.login()
        raw.check_reply(r, "235 *", "AUTH")
        for i in range(90):
            m = b.Message(f"{name}{i}", self.rng.choice((5, 300, 1500, 2500)), 1 + i % 3)
            if i % 12 == 5:
                m.body += "large\r\n" * 9000
            self.messages[m.tag] = m
            raw.check_reply(b.send(c, m), "250 *", m.tag)
        c.close()
        # The first recipients have theirs: outcomes stand between the messages.
        b.wait(lambda: len(os.listdir(os.path.join(x.capture, "new"))) >= 90)
        x.kill()
        return x.spool

    def copy(self, name):
        to = os.path.join(self.dir, name)
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.base, to)
        return to

    def look(self, spool, places=True):
        """({tag: states}, complaints, damage, {tag: places})"""
        p = subprocess.run([self.dump, spool, "where"], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, check=False)
        got, bad, damage, where = {}, [], [], {}
        if p.returncode < 0:
            bad.append(f"opening ended with signal {-p.returncode}: {p.stderr.decode()[-300:]}")
        for line in p.stdout.decode("utf-8", "replace").splitlines():
            word, _, rest = line.partition(" ")
            if word != "message":
                damage.append(line)
                continue
            subject, sum_, *to = rest.split(" ")
            m = self.messages.get(subject[4:-1])
            states = dict(t.rsplit("=", 1) for t in to if "=" in t)
            if not m or m.tag.startswith("other"):
                bad.append(f"a message that is not of this spool: {subject}")
            elif sum_ != hashlib.sha256(m.body.encode()).hexdigest():
                bad.append(f"{m.tag} with another body")
            elif set(states) != set(m.rcpts):
                bad.append(f"{m.tag} for {sorted(states)}")
            else:
                got[m.tag] = states
                where[m.tag] = [t for t in to if "=" not in t]
        return got, bad, damage, where

    # -- what is done to it --

    def files(self, spool, pattern):
        return sorted(n for n in os.listdir(spool) if re.fullmatch(pattern, n))

    def hurt(self, spool):
        """[(file, from, to)] that were touched, and what was done in words."""
        rng, touched, words = self.rng, [], []
        logs = self.files(spool, r"seg-.*\.log")
        sums = self.files(spool, r"seg-.*\.sum")
        large = sorted(os.listdir(os.path.join(spool, "large")))

        def write(name, at, data):
            with open(os.path.join(spool, name), "r+b") as f:
                f.seek(at)
                f.write(data)
            touched.append((name, at, at + len(data)))

        def read(name, at, n, from_=spool):
            if not os.path.exists(os.path.join(from_, name)):
                return b""
            with open(os.path.join(from_, name), "rb") as f:
                f.seek(at)
                return f.read(n)

        def size(name):
            return os.path.getsize(os.path.join(spool, name))

        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            what = rng.choice(("flip", "flip", "flips", "zero", "stale", "swap", "stranger", "cut",
                               "double", "foreign", "sum", "large", "header", "gone"))
            name = rng.choice(logs)
            if name not in os.listdir(spool):
                continue
            end = size(name)
            if end <= HEADER + 1024 and what in ("zero", "stale", "swap", "stranger"):
                continue
            at = rng.randrange(HEADER, end) if end > HEADER else 0
            if what in ("flip", "flips"):
                for _ in range(1 if what == "flip" else rng.randint(2, 12)):
                    at = rng.randrange(HEADER, end) if end > HEADER else 0
                    old = read(name, at, 1)
                    if old:
                        write(name, at, bytes([old[0] ^ 1 << rng.randrange(8)]))
            elif what in ("zero", "stale", "swap", "stranger"):
                n = rng.choice((512, 512, 4096, 16384))
                at = max(HEADER, at // 512 * 512)
                data = {"zero": lambda: bytes(n),
                        "stale": lambda: read(rng.choice(logs), rng.randrange(HEADER, 1 << 19) // 512 * 512, n),
                        "swap": lambda: read(name, max(HEADER, at - 4096), n),
                        "stranger": lambda: read(rng.choice(self.files(self.other, r"seg-.*\.log")),
                                                 at, n, self.other)}[what]()
                write(name, at, data[:max(0, end - at)])
            elif what == "cut":
                os.truncate(os.path.join(spool, name), at)
                touched.append((name, at, 1 << 40))
            elif what == "double":
                to = rng.choice((f"seg-{int(logs[-1][4:12], 16) + 1:08x}.log", "spare-0.log", name + ".bak",
                                 f"seg-{int(logs[-1][4:12], 16) + 7:08x}.log"))
                shutil.copy2(os.path.join(spool, name), os.path.join(spool, to))
            elif what == "foreign":
                n = rng.choice(self.files(self.other, r"seg-.*\.log"))
                to = rng.choice((f"seg-{int(logs[-1][4:12], 16) + 1:08x}.log", "notes.txt", n + "~"))
                shutil.copy2(os.path.join(self.other, n), os.path.join(spool, to))
            elif what == "sum" and sums:
                n = rng.choice(sums)
                if not os.path.exists(os.path.join(spool, n)):
                    continue
                at = rng.randrange(size(n)) if size(n) else 0
                rng.choice((lambda: os.unlink(os.path.join(spool, n)),
                            lambda: os.truncate(os.path.join(spool, n), at),
                            lambda: write(n, at, b"\xa5"),
                            lambda: shutil.copy2(os.path.join(self.other, n), os.path.join(spool, n))
                            if os.path.exists(os.path.join(self.other, n)) else None))()
            elif what == "large" and large:
                n = "large/" + rng.choice(large)
                if not os.path.exists(os.path.join(spool, n)):
                    continue
                at = rng.randrange(size(n)) if size(n) else 0
                rng.choice((lambda: os.unlink(os.path.join(spool, n)),
                            lambda: os.truncate(os.path.join(spool, n), at),
                            lambda: write(n, at, bytes(64)),
                            lambda: shutil.copy2(os.path.join(spool, "large", large[0]), os.path.join(spool, n))
                            if n != "large/" + large[0] and os.path.exists(
                                os.path.join(spool, "large", large[0])) else None))()
                touched.append((n, 0, 1 << 40))
            elif what == "header":
                # One of the two, or both.
                for at in rng.choice(((0,), (512,), (0, 512))):
                    write(name, at + rng.randrange(64), b"\x5a\xa5")
            elif what == "gone" and rng.random() < 0.3:
                os.unlink(os.path.join(spool, name))
                touched.append((name, 0, 1 << 40))
            words.append(f"{what} {name} at {at}")
        return touched, words

    def is_touched(self, touched, tag):
        """(the record or its body was, an outcome was)"""
        put, *rest = self.places[tag]

        def hit(place):
            if ":" not in place:
                return any(n == f"large/{place}" for n, _, _ in touched)
            seg, at, n = (int(x) for x in place.split(":"))
            return any(f == f"seg-{seg:08x}.log" and x < at + n and y > at - 16 for f, x, y in touched)

        return hit(put) or any(hit(p) for p in rest if ":" not in p), any(hit(p) for p in rest if ":" in p)

    def whole_segments(self, touched, words):
        """Both headers gone, or the file: all that stood there is touched."""
        out = list(touched)
        for name in {n for n, _, _ in touched if n.endswith(".log")}:
            both = all(any(n == name and x < at + 64 and y > at for n, x, y in touched) for at in (0, 512))
            if both:
                out.append((name, 0, 1 << 40))
        return out

    def judge(self, got, damage, touched, salvaged):
        bad = []
        lost = [t for t in self.before if t not in got]
        last = max(n for n in os.listdir(self.base) if re.fullmatch(r"seg-.*\.log", n))
        for t in self.before:
            record, outcome = self.is_touched(touched, t)
            if t not in got:
                if not record and not outcome:
                    bad.append(f"{t} is gone, and nothing of it was touched: {self.places[t]}")
            elif got[t] != self.before[t] and not outcome:
                bad.append(f"{t}: outcomes differ, and none was touched: {got[t]}")
        at_end = all(self.places[t][0].split(":")[0] == str(int(last[4:12], 16)) for t in lost)
        # A segment that is gone from either end of the log cannot be told from one that was never
        # there: docs/spool.md.
        first = min(n for n in os.listdir(self.base) if re.fullmatch(r"seg-.*\.log", n))
        end_gone = any(y == 1 << 40 and x == 0 and n in (first, last) for n, x, y in touched)
        if lost and not damage and not at_end and not salvaged and not end_gone:
            bad.append(f"{lost[:5]} gone without a word")
        return bad

    def round(self, i):
        spool = self.copy("hurt")
        touched, words = self.hurt(spool)
        touched = self.whole_segments(touched, words)
        before = self.state(spool)
        got, bad, damage, _ = self.look(spool)
        failed = [x for x in damage if x.startswith("failed open")]
        salvaged = False
        if failed:
            if "salvage" not in failed[0] and not re.search("another|in use", failed[0]):
                bad.append(f"it does not open, and does not say what to do: {failed}")
            if self.state(spool) != before:
                bad.append("it does not open, and something was changed")
            new = os.path.join(self.dir, "salvaged")
            shutil.rmtree(new, ignore_errors=True)
            p = subprocess.run([self.template.binary, "spool", "salvage", spool, new],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=60)
            got, bad2, damage2, _ = self.look(new)
            bad += [f"salvaged: {x}" for x in bad2 + damage2]
            if p.returncode < 0 or not os.path.isdir(new):
                bad.append(f"salvage: {p.returncode} {p.stdout.decode()[-300:]}")
            salvaged = True
        else:
            again, bad2, damage2, _ = self.look(spool)
            if again != got or bad2:
                bad.append(f"the second start differs: {sorted(set(again) ^ set(got))} {bad2}")
        bad += self.judge(got, damage, touched, salvaged)
        return [f"round {i} ({'; '.join(words)}): {x}" for x in bad], failed, len(self.before) - len(got)

    @staticmethod
    def state(spool):
        out = {}
        for root, _, names in os.walk(spool):
            for n in names:
                if n.endswith(".log"):
                    with open(os.path.join(root, n), "rb") as f:
                        out[n] = hashlib.sha256(f.read()).digest()
        return out


def rot(rounds, seed, say):
    dir = b.place("rot")
    try:
        r = Rot(dir, random.Random(seed))
        bad, closed, gone = [], 0, 0
        for i in range(rounds):
            found, failed, lost = r.round(i)
            bad += found
            closed += bool(failed)
            gone += lost
        for x in bad[:20]:
            say(f"FINDING {x}")
        say(f"{rounds} rounds of rot on {len(r.before)} messages: {closed} did not open and were "
            f"salvaged, {gone} messages set aside or lost with what was touched, {len(bad)} findings; "
            f"seed {seed}")
        return bad
    finally:
        shutil.rmtree(dir, ignore_errors=True)


# -- small file systems --


class NoMount(Exception):
    """The text says why."""


class Small:
    """A file system of a few MiB in a file."""

    def __init__(self, dir, mib=40):
        self.at = os.path.join(dir, "small")
        os.makedirs(self.at)
        if os.getuid():
            raise NoMount("mounting needs root")
        self.image = os.path.join(dir, "image")
        with open(self.image, "wb") as f:
            f.truncate(mib << 20)
        for argv in (["mkfs.ext4", "-q", "-m", "0", self.image],
                     ["mount", "-o", "loop", self.image, self.at]):
            try:
                p = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            except FileNotFoundError:
                raise NoMount(f"{argv[0]} is not there") from None
            if p.returncode:
                raise NoMount(f"{' '.join(argv)}: {p.stdout.decode().strip()}")
        self.mounted = True

    def abort(self):
        """As after an error of the device: from now on it only reads."""
        subprocess.run(["mount", "-o", "remount,abort", self.at], check=True)

    def again(self):
        subprocess.run(["umount", self.at], check=True)
        subprocess.run(["mount", "-o", "loop", self.image, self.at], check=True)

    def end(self):
        if getattr(self, "mounted", False):
            subprocess.run(["umount", self.at], check=False)


def fill(c, messages, tag, count, lines):
    """Sends until refused: (those taken, the refusal)."""
    taken = []
    for i in range(count):
        m = b.Message(f"{tag}{i}", lines, 1 + i % 3)
        messages.append(m)
        r = b.send(c, m)
        if r.code != 250:
            return taken, r
        taken.append(m)
    return taken, None


def full(say, reserve="8M"):
    """Filled to the reserve, then by a stranger to the last byte; outcomes go on; nothing is lost,
    and mail is taken again when there is room."""
    dir, bad = b.place("full"), []
    small = x = None
    try:
        small = Small(dir)
        t = b.Template(os.path.join(dir, "template"))
        # What is delivered is kept elsewhere: the disk is the spool's.
        options = {"spool": {"path": os.path.join(small.at, "spool"), "reserve": reserve}}
        x = b.Box(t, os.path.join(dir, "box"), b.merge(dict(b.NOWHERE), dict(options)))
        with open(os.path.join(small.at, "stranger"), "wb") as f:
            f.write(bytes(4 << 20))
        x.start()
        x.wait_up()
        messages = []
        c, _ = x.login(timeout=20)
        taken, refusal = fill(c, messages, "a", 5000, 3000)
        more, refusal2 = fill(c, messages, "b", 5000, 20)
        taken += more
        for r in (refusal, refusal2):
            if not r or not r.startswith("452 4.3.1"):
                bad.append(f"a full disk answers {r}")
        c.close()
        for cycle in range(3):
            x.kill()
            with open(os.path.join(small.at, "stranger"), "ab") as f:
                try:
                    while f.write(bytes(65536)):
                        f.flush()
                except OSError:
                    pass
            x.start()
            if not x.wait_up():
                bad.append(f"no start on a full disk: {x.log[-300:]}")
                break
            n = x.count()["messages"]
            if n != len(taken):
                bad.append(f"{n} of {len(taken)} there after start {cycle} on a full disk")
        # Deliveries with no room at all but what the segment in use has.
        x.stop()
        x.configure(options)
        x.start()
        x.wait_up()
        time.sleep(3)
        if not x.running():
            bad.append(f"it ends for want of room: {x.log[-300:]}")
            x.start()
            x.wait_up()
        left = x.count()["messages"]
        outcomes = x.log.count('"event":"outcome"')
        if outcomes > 2 * len(taken) + 64:
            bad.append(f"{outcomes} attempts for {len(taken)} messages: handed on again and again")
        os.unlink(os.path.join(small.at, "stranger"))
        x.wait_empty(30)
        c, _ = x.login()
        again, r = fill(c, messages, "c", 5, 50)
        c.close()
        if r:
            bad.append(f"room again, and still {r}")
        x.wait_empty(30)
        if x.stop() != 0:
            bad.append("it does not end well")
        got = b.Captured(x.capture, messages)
        bad += got.bad[:3]
        lost = got.missing(taken + again)
        if lost:
            bad.append(f"lost: {lost[:5]}")
        strange = [m.tag for m in messages if m not in taken + again and m.tag in got.seen]
        if strange:
            bad.append(f"refused and delivered: {strange[:5]}")
        say(f"full disk, reserve {reserve}: {len(taken)} taken before it, {len(lost)} lost; with no byte "
            f"left {len(taken) - left} handed on, {outcomes} outcomes")
    finally:
        if x:
            x.kill()
        if small:
            small.end()
        shutil.rmtree(dir, ignore_errors=True)
    return [f"full disk: {x}" for x in bad]


def read_only(say):
    """The file system turns read-only under the server, as ext4 does after an error."""
    dir, bad = b.place("ro"), []
    small = x = None
    try:
        small = Small(dir)
        t = b.Template(os.path.join(dir, "template"))
        options = {"spool": {"path": os.path.join(small.at, "spool")}}
        x = b.Box(t, os.path.join(dir, "box"), b.merge(dict(b.NOWHERE), dict(options)))
        x.start()
        x.wait_up()
        messages = []
        c, _ = x.login()
        taken, _ = fill(c, messages, "a", 20, 50)
        small.abort()
        r = fill(c, messages, "b", 1, 50)[1]
        if not r or r.code // 100 != 4:
            bad.append(f"read-only under it: {r}")
        c.close()
        code = x.process.wait(10)
        if code != 69:
            bad.append(f"read-only under it: exit {code}")
        x.kill()
        x.start()
        if x.wait_up():
            bad.append("it starts on a read-only spool")
        code = x.stop()
        if code != 69 or not re.search(r"(?m)^signet: .*Read-only", x.log):
            bad.append(f"start on a read-only spool: exit {code}: {x.log[-300:]}")
        small.again()
        x.configure(options)
        x.start()
        if not x.wait_up():
            bad.append(f"no start when it is writable again: {x.log[-300:]}")
        x.wait_empty()
        x.stop()
        got = b.Captured(x.capture, messages)
        if any(m.tag in got.seen for m in messages[len(taken):]):
            bad.append("refused and delivered")
        if got.missing(taken) or got.bad:
            bad.append(f"lost: {got.missing(taken)[:5]} {got.bad[:3]}")
        say(f"read-only: {len(taken)} taken before it, {len(got.missing(taken))} lost")
    finally:
        if x:
            x.kill()
        if small:
            small.end()
        shutil.rmtree(dir, ignore_errors=True)
    return [f"read-only: {x}" for x in bad]


def go(rounds, seed, say=print):
    bad = rot(rounds, seed, say)
    try:
        for f in (lambda: full(say), lambda: full(say, "0"), lambda: read_only(say)):
            found = f()
            for x in found:
                say(f"FINDING {x}")
            bad += found
    except NoMount as e:
        say(f"skipped: full and read-only disks: {e}")
    return bad

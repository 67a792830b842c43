"""Each system call of a ten-message run fails in turn (faults.c makes it).

A run is: a server starts (on an empty spool, or on one that a killed server left with messages
waiting), refuses a wrong key, takes ten messages on several connections, answers a control call
that withdraws a key, delivers to a Maildir, ends. One call of it fails. Then a server without a
fault starts on what there is. Wanted:

- what was acknowledged is delivered, as it was sent, to those it was sent to; nothing else is;
- a wrong key never logs in, and a key whose withdrawal was acknowledged never again;
- the server was healthy again without anybody's help, or it ended with a documented exit code and
  a line that says why;
- the next start works, and nothing is set aside as damaged."""
import multiprocessing
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import time

from lab import paths, raw

from . import box as b

# As in faults.c.
CALLS = ("write pwrite pwritev writev read pread fsync fdatasync open openat rename link unlink "
         "mkdir mmap fallocate ftruncate socket bind listen accept connect send recv getrandom "
         "epoll_create epoll_ctl epoll_wait eventfd thread malloc calloc realloc").split()
FRAMES, SITES = 8, 8192
HEAD = 64 * 8 + 8 + FRAMES * 4
SITE = struct.Struct(f"<QIII{FRAMES}I4x")
STATE_BYTES = HEAD + SITES * SITE.size + 64

ERRORS = {
    "write": "EIO ENOSPC EINTR short", "pwrite": "EIO ENOSPC EINTR short",
    "pwritev": "EIO ENOSPC EINTR short", "writev": "EIO EINTR",
    "read": "EIO EINTR short", "pread": "EIO EINTR short",
    "fsync": "EIO ENOSPC", "fdatasync": "EIO ENOSPC",
    "open": "EMFILE EIO ENOSPC ENOMEM EINTR", "openat": "EMFILE EIO ENOSPC ENOMEM EINTR",
    "rename": "EIO ENOSPC", "link": "EIO ENOSPC", "unlink": "EIO", "mkdir": "ENOSPC EIO",
    "mmap": "ENOMEM", "fallocate": "ENOSPC EINTR EIO", "ftruncate": "EIO ENOSPC",
    "socket": "EMFILE ENOMEM", "bind": "EADDRINUSE ENOMEM", "listen": "EADDRINUSE",
    "accept": "EMFILE EINTR ENOMEM ECONNABORTED", "connect": "EINTR ENOMEM ECONNREFUSED",
    "send": "EINTR ENOBUFS ECONNRESET short", "recv": "EINTR ENOMEM ECONNRESET short",
    "getrandom": "EIO EINTR short", "epoll_create": "EMFILE", "epoll_ctl": "ENOMEM ENOSPC",
    "epoll_wait": "EINTR", "eventfd": "EMFILE", "thread": "EAGAIN",
    "malloc": "ENOMEM", "calloc": "ENOMEM", "realloc": "ENOMEM",
}
DOCUMENTED = {0, 69, 78}
# Without randomness or a digest there is nothing sound to go on with: docs/operations.md.
ABORTS = re.compile(r"signet: bug: .* is false at \S*(digest/digest|keyring/keyring)\.c:\d+")
MESSAGES = 10
VARIANTS = ("fresh", "reopen")


class Rig:
    """The templates; made once, inherited by the workers."""

    def __init__(self, binary=None):
        self.dir = b.place("faults")
        self.so = b.build("faults", self.dir)
        self.template = b.Template(os.path.join(self.dir, "template"), binary)
        self.waiting = [b.Message(f"w{i}", 3000 if i % 4 else 500, 1 + i % 3) for i in range(80)]
        self.used = self.left_by_a_kill()

    def left_by_a_kill(self):
        """Several segments with summaries, large bodies, outcomes; the server was killed."""
        x = b.Box(self.template, os.path.join(self.dir, "used"), b.NOWHERE)
        x.start()
        x.wait_up()
        c, r = x.login()
        raw.check_reply(r, "235 *", "AUTH")
        for i, m in enumerate(self.waiting):
            if i % 12 == 0:
                m.body = m.body + "large\r\n" * 6000
            raw.check_reply(b.send(c, m), "250 *", m.tag)
        c.close()
        x.kill()
        return x.data

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)


class Run:
    def __init__(self, rig, spec, variant, number):
        self.rig, self.spec, self.variant = rig, spec, variant
        self.findings, self.notes = [], []
        self.box = b.Box(rig.template, os.path.join(rig.dir, f"run{os.getpid()}-{number}"),
                         data=rig.used if variant == "reopen" else None)
        self.state = b.SharedFile(os.path.join(rig.dir, f"state{os.getpid()}"), STATE_BYTES)
        self.messages = [b.Message(f"m{i}", 3 + 50 * i, 1 + i % 3) for i in range(MESSAGES)]
        self.messages[7].body += "a body that goes to a file\r\n" * 4000
        self.acked, self.unsure, self.revoked, self.code = [], [], False, None

    def find(self, text):
        self.findings.append(text)

    def stacks(self):
        """Where it struck: offsets in the program."""
        return struct.unpack_from(f"<{FRAMES}I", self.state.map, 64 * 8 + 8)

    def hits(self):
        return struct.unpack_from("<Q", self.state.map, 64 * 8)[0]

    def counts(self):
        return dict(zip(CALLS, struct.unpack_from(f"<{len(CALLS)}Q", self.state.map, 0)))

    # -- the run --

    def login(self, key, what):
        """A connection, or None; a wrong key that is taken is a finding."""
        try:
            c, r = self.box.login(key)
        except b.TROUBLE as e:
            self.notes.append(f"{what}: {type(e).__name__} {e}"[:200])
            return None
        if r.code == 235:
            return c
        c.close()
        if key is None or r.code != 535:
            self.notes.append(f"{what}: {r}")
        return None

    def refuse_wrong_key(self, when):
        c = self.login(self.rig.template.wrong, f"wrong key {when}")
        if c:
            c.close()
            self.find(f"a wrong key logs in ({when})")

    def withdraw(self):
        """Revokes the second key; what was acknowledged binds."""
        try:
            status, _ = self.box.control("POST", f"/keys/{self.rig.template.key2_id}/revoke")
            self.revoked = status == 200
            if not self.revoked:
                self.notes.append(f"revoke: {status}")
        except b.TROUBLE as e:
            self.notes.append(f"revoke: {type(e).__name__} {e}"[:200])
        if self.revoked:
            c = self.login(self.rig.template.key2, "withdrawn key")
            if c:
                c.close()
                self.find("a key whose withdrawal was acknowledged logs in")

    def send_all(self):
        c, left = None, list(self.messages)
        end = time.monotonic() + 15
        while left and self.box.running() and time.monotonic() < end:
            # Several connections: a new one after three messages.
            if c is None or len(left) % 3 == 1:
                if c:
                    c.close()
                c = self.login(None, "login")
                if c is None:
                    time.sleep(0.02)
                    continue
            m = left[0]
            try:
                r = b.send(c, m)
            except b.TROUBLE as e:
                self.notes.append(f"{m.tag}: {type(e).__name__} {e}"[:200])
                self.unsure.append(left.pop(0))
                c.close()
                c = None
                continue
            if r.code == 250:
                self.acked.append(left.pop(0))
                if len(left) == 5:
                    self.withdraw()
            else:
                self.notes.append(f"{m.tag}: {r}")
                if r.code // 100 == 5 and r.code != 503:
                    self.find(f"a good message is refused for good: {r}")
                if r.code // 100 == 4:
                    # Not ours: it may not be delivered; the same text goes under another tag.
                    again = b.Message(m.tag + "x", 5)
                    self.refused.append(left.pop(0))
                    left.insert(0, again)
                    self.messages.append(again)
                    time.sleep(0.02)
                c.close()
                c = None
        if c:
            c.close()
        if left and self.box.running():
            self.find(f"not healthy: {len(left)} messages not taken in 15 s: {self.notes[-3:]}")

    def end(self):
        """How the server with the fault ended."""
        alive = self.box.running()
        # The signal's own byte to the loop may be what failed: whoever ends it asks again.
        if alive:
            self.box.process.send_signal(signal.SIGTERM)
            try:
                self.box.process.wait(8)
            except subprocess.TimeoutExpired:
                self.notes.append("SIGTERM once more")
        self.code = self.box.stop()
        log = self.box.log
        if "Sanitizer" in log or "runtime error" in log:
            self.find(f"a sanitizer spoke: {log[-3000:]}")
        if self.code is None:
            self.find("it did not end within 15 s of SIGTERM")
        elif self.code == -6 and (ABORTS.search(log) or self.spec.startswith("getrandom")):
            self.notes.append("aborted")
        elif self.code == -11 and "conf.c" in where(self.rig.template.binary, self.stacks()):
            self.notes.append("the configuration's library dies without memory")
        elif self.code < 0:
            self.find(f"it was ended by signal {-self.code}: {log[-300:]}")
        elif self.code not in DOCUMENTED:
            self.find(f"exit code {self.code} is not documented: {log[-300:]}")
        elif self.code and not re.search(r"(?m)^signet: |spool_failed", log) and \
                self.spec.split(":")[0].split("@")[0] != "write":
            self.find(f"exit code {self.code} without a line that says why: {log[-300:]}")
        elif alive and self.code:
            self.notes.append(f"exit {self.code} at its end")

    def after(self):
        """A start without a fault; what was acknowledged is there and goes out."""
        self.box.start()
        try:
            if not self.box.wait_up():
                self.find(f"the next start fails: {self.box.log[-500:]}")
                return
            self.refuse_wrong_key("at the next start")
            if self.revoked:
                c = self.login(self.rig.template.key2, "withdrawn key, next start")
                if c:
                    c.close()
                    self.find("a key whose withdrawal was acknowledged logs in after a restart")
            fresh = b.Message("after")
            c = self.login(None, "login at the next start")
            if not c:
                self.find(f"no login at the next start: {self.notes[-1:]}")
            else:
                r = b.send(c, fresh)
                c.close()
                self.messages.append(fresh)
                if r.code == 250:
                    self.acked.append(fresh)
                else:
                    self.find(f"no mail at the next start: {r}")
            self.box.wait_empty()
            damaged = self.box.count()["damaged"]
            if damaged:
                self.find(f"{damaged} set aside: {self.box.control('GET', '/queue/damaged')}")
        except b.TROUBLE as e:
            self.find(f"after the restart: {type(e).__name__}: {e}")
        code = self.box.stop()
        if code != 0:
            self.find(f"the server without a fault ends with {code}")

    def account(self):
        known = self.messages + (self.rig.waiting if self.variant == "reopen" else [])
        owed = self.acked + (self.rig.waiting if self.variant == "reopen" else [])
        got = b.Captured(self.box.capture, known)
        for bad in got.bad[:3]:
            self.find(bad)
        lost = got.missing(owed)
        if lost:
            self.find(f"lost: {lost}")
        wrong = [m.tag for m in self.refused if m.tag in got.seen]
        if wrong:
            self.find(f"delivered although refused: {wrong}")

    def go(self, sites=False):
        self.refused = []
        env = {"TORTURE_STATE": self.state.path}
        if self.spec:
            env["TORTURE_FAULT"] = self.spec
        if sites:
            env["TORTURE_SITES"] = "1"
        try:
            self.box.start(env=env, preload=self.rig.so)
            up = None
            try:
                up = self.box.wait_up()
            except AssertionError as e:
                self.find(str(e))
                self.box.kill()
            if up:
                self.refuse_wrong_key("with the fault")
                self.send_all()
                self.settle()
            self.end()
            self.after()
            self.account()
        finally:
            self.box.kill()
        return self

    def settle(self):
        """Deliveries go on; how far they get with the fault is not judged here."""
        end = time.monotonic() + (0.25 if self.spec else 5)
        while self.box.running() and time.monotonic() < end:
            got = b.Captured(self.box.capture, self.messages)
            if not got.missing(self.acked):
                return
            time.sleep(0.02)

    def close(self):
        self.state.close()
        self.box.remove()


RIG = None


def run(job):
    """In a worker: (number, spec, variant) -> what there is to say."""
    number, spec, variant = job
    r = Run(RIG, spec, variant, number)
    at = time.monotonic()
    try:
        r.go()
        return {"number": number, "spec": spec, "variant": variant, "hits": r.hits(), "code": r.code,
                "findings": r.findings, "acked": len(r.acked), "refused": len(r.refused),
                "unsure": len(r.unsure), "stack": r.stacks(), "notes": r.notes[:6],
                "seconds": time.monotonic() - at}
    finally:
        r.close()


def count(rig, variant, sites=False):
    """A run without a fault: how often each function is called, and from where memory is asked."""
    r = Run(rig, "", variant, 0)
    try:
        r.go(sites)
        if r.findings:
            raise AssertionError(f"without a fault: {r.findings}\n{r.notes}")
        found = []
        for i in range(SITES if sites else 0):
            h, *rest = SITE.unpack_from(r.state.map, HEAD + i * SITE.size)
            if h:
                found.append((h, rest[:3]))
        return r.counts(), found
    finally:
        r.close()


def plan(counts, found, variant, rng, each=None):
    """Every call of every function with every error; of allocations, those from each place once.
    each: so many of every function only."""
    out = []
    for name in CALLS:
        if name in ("malloc", "calloc", "realloc"):
            continue
        # Threads make the count differ a little from run to run: three more.
        all_ = [(f"{name}:{n}:{e}", variant) for n in range(1, counts[name] + 4)
                for e in ERRORS[name].split()] if counts[name] else []
        if each is not None and len(all_) > each:
            all_ = rng.sample(all_, each)
        out += all_
    places = [(f"{name}@{h:x}:{rng.randint(1, n)}:ENOMEM", variant) for h, c in found
              for name, n in zip(("malloc", "calloc", "realloc"), c) if n]
    if each is not None and len(places) > each * 3:
        places = rng.sample(places, each * 3)
    return out + places


def where(binary, stack):
    """The program's lines for a stack."""
    addresses = [hex(a - 1) for a in stack if a]
    if not addresses:
        return ""
    p = subprocess.run(["addr2line", "-fs", "-e", binary, *addresses], stdout=subprocess.PIPE,
                       stderr=subprocess.DEVNULL, check=False)
    lines = p.stdout.decode().split("\n")
    return " < ".join(f"{f} {l}" for f, l in zip(lines[::2], lines[1::2]))


ANSWER_S = 60


def go(jobs_wanted, seed, each=None, say=print, binary=None, at_once=2, only=None):
    """Returns (all results, those with findings). jobs_wanted: at most so many runs; None: all."""
    global RIG
    rng = random.Random(seed)
    RIG = Rig(binary)
    try:
        jobs = []
        for variant in VARIANTS:
            counts, found = count(RIG, variant, sites=True)
            say(f"{variant}: " + ", ".join(f"{k} {v}" for k, v in counts.items() if v)
                + f"; {len(found)} places ask for memory")
            jobs += plan(counts, found, variant, rng, each)
        if only:
            jobs = [j for j in jobs if re.match(only, j[0])]
        rng.shuffle(jobs)
        if jobs_wanted is not None:
            jobs = jobs[:jobs_wanted]
        results = []
        say(f"{len(jobs)} runs, seed {seed}")
        left = dict(enumerate(jobs))
        # A pool whose worker is gone waits for its answer for ever: what is missing is asked again.
        for _ in range(3):
            with b.pool(at_once) as pool:
                told = pool.imap_unordered(run, [(n, *j) for n, j in left.items()])
                while left:
                    try:
                        r = told.next(timeout=ANSWER_S)
                    except multiprocessing.TimeoutError:
                        say(f"no answer for {ANSWER_S} s: {len(left)} runs are begun again")
                        break
                    left.pop(r["number"])
                    results.append(r)
                    if r["findings"]:
                        say(f"FINDING {r['variant']} {r['spec']}: "
                            + "; ".join(r["findings"])[:1500]
                            + f"\n    at {where(RIG.template.binary, r['stack'])}\n    {r['notes']}")
                    if len(results) % 500 == 0:
                        say(f"{len(results)} of {len(jobs)}")
            if not left:
                break
        if left:
            raise AssertionError(f"{len(left)} runs gave no answer")
        return results, [r for r in results if r["findings"]]
    finally:
        RIG.remove()


def summary(results):
    codes = {}
    for r in results:
        codes[r["code"]] = codes.get(r["code"], 0) + 1
    return (f"{len(results)} runs, {sum(1 for r in results if r['hits'])} with the fault met; "
            f"{sum(r['acked'] for r in results)} acknowledged, 0 lost unless listed; "
            f"{sum(r['refused'] for r in results)} refused for now, "
            f"{sum(r['unsure'] for r in results)} unanswered; exit codes "
            + ", ".join(f"{k}: {v}" for k, v in sorted(codes.items(), key=str)))

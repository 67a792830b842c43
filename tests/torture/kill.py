"""kill -9, again and again: at random moments under load, during the recovery of a start, and (in a
build with fault points) at the worst moments of single threads. At the end every acknowledged
message is in the spool or with the next hop, as it was sent; what the next hop got twice is counted
and laid at the door of the kill that fell between. With mx, deliveries to several sites are in
flight, found by MX in a world of their own (tests/lab/world.py)."""
import collections
import hashlib
import os
import random
import shutil
import threading
import time

from lab import paths
from lab.lab import Lab
from lab.world import World

from . import box as b
from . import powercut
from .sink import Sink

# Where, and about how often a place is passed in a cycle.
POINTS = {
    "spool_written": 60, "spool_synced": 60, "before_answer": 60, "before_outcome": 80,
    "spool_named": 3, "spool_rotated": 1, "spool_summary": 1, "spool_new_segment": 1,
    "spool_moving": 8, "spool_retiring": 1, "spool_retired": 1,
    "spool_recovering": 4, "spool_recovered": 1,
}
# Deliveries of a site whose outcome may be on its way: its connections, each with one answered and
# not yet handed over, and what waits for the commit under way.
IN_FLIGHT = 64


# In the world: two sites that take mail, and one where nobody is.
LIVE, DEAD = (20, 21), 22


class Kills:
    def __init__(self, dir, binary, seed, also=None, world=None):
        self.dir, self.rng, self.also, self.world = dir, random.Random(seed), also, world
        self.sink = Sink(dir, [world.ip(n) for n in LIVE], world.port) if world else Sink(dir)
        self.template = b.Template(os.path.join(dir, "template"), binary)
        self.dump = powercut.build_dump(dir)
        self.routes = {("route", "capture"): None,
                  ("route", "sink"): {"domains": ["d0.example"], "type": "smarthost",
                                      "host": "127.0.0.1", "port": self.sink.port, "tls": "none"},
                  ("route", "nowhere"): b.NOWHERE[("route", "nowhere")],
                  "retry": {"first": "50ms", "max": "10s"}}
        if world:
            self.routes = world.options({"retry": self.routes["retry"]})
        self.box = b.Box(self.template, os.path.join(dir, "box"), self.routes)
        self.sent, self.acked, self.kills, self.life = {}, [], {}, 0
        self.how = collections.Counter()
        self.bad = []

    def client(self, name, n, stop, seed):
        rng, c = random.Random(seed), None
        for k in range(n):
            if stop.is_set():
                break
            m = b.Message(f"{name}-{k}", rng.choice((2, 30, 60, 120, 250)),
                          2 if rng.random() < 0.1 else 1)
            if self.world:
                m.rcpts = [f"{m.tag}-{i}@d{(k + i) % 3}.example" for i in range(len(m.rcpts))]
            if rng.random() < 0.03:
                m.body += "a body that goes to a file\r\n" * 2000
            self.sent[m.tag] = m
            try:
                if c is None:
                    c, r = self.box.login()
                r = b.send(c, m)
            except b.TROUBLE:
                c = None
                if not self.box.running():
                    break
                continue
            if r.code == 250:
                self.acked.append(m)
        if c:
            c.close()

    def dead(self, seconds=0.0):
        """Waits for the server to be gone by itself."""
        end = time.monotonic() + seconds
        while self.box.running() and time.monotonic() < end:
            time.sleep(0.001)
        return not self.box.running()

    def killed(self, how):
        code = self.box.process.poll()
        if code is not None and code != -9:
            self.bad.append(f"{how}: the server ended with {code}: {self.box.log[-400:]}")
        self.box.kill()
        self.kills[self.life] = (time.monotonic(), how)
        self.how[how] += 1

    def new_life(self):
        """Each process goes by a name of its own, which the next hop hears."""
        self.life += 1
        self.box.configure(dict(self.routes, hostname=f"n{self.life}.signet.test"))

    def start(self, how, env=None):
        """False: it is dead already."""
        if self.also:
            env = {"SIGNET_FAULT": ",".join([self.also, *(env or {}).values()])}
        self.new_life()
        self.box.start(env=env)
        try:
            return self.box.wait_up()
        except AssertionError as e:
            self.bad.append(f"{how}: {e}")
            return False

    def cycle(self, i):
        rng = self.rng
        how, env = "random", None
        if rng.random() < 0.75:
            point = rng.choice(list(POINTS))
            how, env = point, {"SIGNET_FAULT": f"{point}@{rng.randint(1, max(1, POINTS[point]))}"}
        for _ in range(rng.choice((0, 0, 1, 3))):
            # Killed while it starts: the next start must not care.
            self.new_life()
            self.box.start()
            time.sleep(rng.random() * 0.02)
            self.killed("starting")
        if not self.start(how, env):
            self.killed(how)
            return
        stop = threading.Event()
        n = rng.randint(20, 70)
        threads = [threading.Thread(target=self.client, args=(f"k{i}-{t}", n, stop, rng.random()))
                   for t in range(4)]
        for t in threads:
            t.start()
        if env:
            # The place may not be passed so often: then the load's end is the moment.
            while any(t.is_alive() for t in threads) and not self.dead(0.01):
                pass
            if not self.dead(0.05):
                how = "end of load"
        else:
            time.sleep(rng.random() * 0.15)
        self.killed(how)
        stop.set()
        for t in threads:
            t.join()

    def account(self):
        """What became of everything."""
        if not self.start("the last start"):
            self.bad.append(f"the last start fails: {self.box.log[-500:]}")
            return
        # What goes to the sink goes; what goes nowhere stays.
        seen, still = -1, 0
        while still < 20:
            now = len(self.sink.taken())
            still = still + 1 if now == seen else 0
            seen = now
            time.sleep(0.1)
        damaged = self.box.count()["damaged"]
        if self.box.stop() != 0:
            self.bad.append("the last server does not end well")
        powercut.STORY, powercut.SUMS = self, {}
        self.messages = self.sent
        there, bad, notes = powercut.dump(self.box.spool)
        self.bad += bad[:5]
        if damaged > len(notes):
            self.bad.append(f"{damaged} set aside")
        got, twice = collections.defaultdict(set), []
        first = {}
        for when, who, tag, sum_, to in self.sink.taken():
            m = self.sent.get(tag)
            if not m or hashlib.sha256(m.body.encode()).hexdigest() != sum_ or not set(to) <= set(m.rcpts):
                self.bad.append(f"the next hop got what nobody sent: {tag} for {to}")
                continue
            for t in to:
                if t in first:
                    twice.append((first[t], (when, who)))
                first[t] = (when, who)
            got[tag] |= set(to)
        lost = [t for m in self.acked for t in m.rcpts
                if t not in got[m.tag] and there.get(m.tag, {}).get(t) != "pending"]
        if lost:
            self.bad.append(f"{len(lost)} lost: {lost[:5]}")
        self.judge(twice)
        self.lost, self.twice = len(lost), twice

    def judge(self, twice):
        """Each came from two processes, and the first was killed with no more than can be in
        flight."""
        each = collections.Counter()
        self.age = 0.0
        for (when, who), (_, again) in twice:
            life = int(who[1:].partition(".")[0])
            if who == again or life not in self.kills:
                self.bad.append(f"delivered twice without a kill, by {who} and {again}")
                continue
            each[life] += 1
            self.age = max(self.age, self.kills[life][0] - when)
        self.most = max(each.values(), default=0)
        if self.most > IN_FLIGHT * (len(LIVE) if self.world else 1):
            self.bad.append(f"{self.most} delivered twice by one kill: more than can be in flight")

    def end(self):
        self.box.kill()
        self.sink.stop()


def world_of(lab):
    return World(lab, records=[r for i, n in enumerate((*LIVE, DEAD)) for r in World.mx(f"d{i}", n)])


def go(cycles, seed, say=print, binary=None, also=None, mx=False):
    """also: a fault that every server has besides. mx: deliveries by MX, to several sites. Returns
    the findings."""
    dir = b.place("kill")
    k, lab = None, Lab("kill") if mx else None
    try:
        k = Kills(dir, binary or paths.SIGNET_FAULTS, seed, also, world_of(lab) if mx else None)
        for i in range(cycles):
            k.cycle(i)
            if i % 100 == 99:
                say(f"{i + 1} of {cycles}: {len(k.acked)} acknowledged, {len(k.kills)} kills")
        k.account()
        for x in k.bad[:20]:
            say(f"FINDING {x}")
        say(f"{cycles} cycles, {len(k.kills)} kills ("
            + ", ".join(f"{n} {w}" for w, n in sorted(k.how.items(), key=lambda x: -x[1]))
            + f"); {len(k.acked)} acknowledged, {getattr(k, 'lost', '?')} lost, "
            f"{len(getattr(k, 'twice', []))} delivered twice (at most {getattr(k, 'most', '?')} by one "
            f"kill, answered at most {getattr(k, 'age', 0) * 1000:.0f} ms before it); seed {seed}")
        return k.bad
    finally:
        if k:
            k.end()
        if lab:
            lab.end()
            lab.remove()
        shutil.rmtree(dir, ignore_errors=True)

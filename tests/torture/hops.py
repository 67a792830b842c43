"""Next hops of random behaviour, found by MX: rounds in which every site does something wrong at a
random place of its conversations, and then none does. At the end each recipient has got its mail, as
it was sent, or was bounced by a host that did refuse it; what arrived twice has a reason."""
import collections
import random
import re
import time

from lab import badsink as bad
from lab import paths
from lab.badsink import Talk
from lab.lab import Lab
from lab.world import World, memory, post

SITES, FIRST = 40, 30
PLACES = ("connect", "banner", "ehlo", "starttls", "tls", "mail", "rcpt", "data", "body", "dot", "quit")
# KiB beyond what it had before; with a sanitizer, whose memory is no measure, more.
MEMORY = 128 * 1024


class Site:
    """A sink that remembers what it said, since that is what Signet had to go by."""

    def __init__(self, world, n, rng):
        self.rng, self.n = rng, n
        self.refused, self.unsure = set(), set()
        self.sink = world.sink(FIRST + n, tls=rng.random() < 0.5)

    def polite(self):
        self.sink.behaviour = {}

    def misbehave(self):
        places = self.rng.sample(PLACES, self.rng.choice((1, 1, 1, 2)))
        self.sink.behaviour = {p: self.action(p) for p in places}

    def action(self, place):
        rng = self.rng
        if place == "connect":
            return self.breaking(rng.choice((Talk.close, Talk.reset, bad.endless_line)), place)
        if place == "tls":
            return rng.choice((bad.tls_close, bad.tls_garbage, bad.tls_half, bad.tls_old,
                               bad.alert(rng.randrange(256)), Talk.reset))
        if place == "body":
            return self.breaking(rng.choice((Talk.close, Talk.reset)), place)
        how = rng.random()
        if how < 0.3:
            return self.breaking(rng.choice((Talk.close, Talk.reset, Talk.hang, bad.endless,
                                             bad.endless_line, bad.million, bad.drip)), place)
        return lambda talk: self.say(talk, place)

    def breaking(self, fn, place):
        def act(talk):
            self.note(talk, place, b"")
            return fn(talk)
        return act

    def say(self, talk, place):
        """A reply of a random code, in a random shape, possibly in pieces."""
        rng = self.rng
        code = rng.choice((421, 450, 451, 452, 550, 552, 554, 250, 220, 354, 599, 600, 199, 0))
        text = rng.randbytes(rng.choice((0, 3, 40, 600))).replace(b"\r", b"").replace(b"\n", b"")
        lines = rng.choice((1, 1, 1, 3, 200))
        reply = b"".join(b"%03d%s%s\r\n" % (code, b" " if i == lines - 1 else b"-", text)
                         for i in range(lines))
        if rng.random() < 0.2:
            cut = rng.randrange(len(reply) + 1)
            reply = reply[:cut] + rng.randbytes(rng.randrange(4)) + reply[cut:]
        self.note(talk, place, reply)
        talk.slow = rng.random() < 0.5
        return reply

    def note(self, talk, place, reply):
        """Who may be bounced by this, and whose mail may count as taken, or not, though we did not
        say so."""
        to = set(talk.rcpts) | set(self.sink.asked[-1:] if place == "rcpt" else [])
        if place == "mail":
            to = {"*"}      # whoever it is for
        if place in ("mail", "rcpt", "data", "body", "dot") and b"5" in re.findall(rb"(?m)^(.)", reply):
            self.refused |= to
        if place in ("body", "dot"):
            self.unsure |= to


class Hops:
    def __init__(self, lab, seed, binary):
        self.rng = random.Random(seed)
        self.world = World(lab, records=[r for i in range(SITES)
                                         for r in World.mx(f"d{i}", FIRST + i)])
        self.sites = [Site(self.world, i, random.Random(self.rng.random())) for i in range(SITES)]
        quick = {k: "1s" for k in ("connect", "greeting", "ehlo", "tls", "mail", "rcpt", "data",
                                   "body", "dot", "quit", "idle")}
        self.s = self.world.signet({"delivery": quick, "retry": {"first": "200ms", "max": "1s"}},
                                   binary=binary)
        self.sent, self.bad = {}, []

    def round(self, i):
        for s in self.sites:
            s.misbehave()
        with self.s.login() as c:
            for s in self.sites:
                for k in range(self.rng.choice((1, 1, 2))):
                    name = f"r{i}-{s.n}-{k}"
                    to = [f"{name}-{j}@d{s.n}.example" for j in range(self.rng.choice((1, 1, 2, 5)))]
                    size = self.rng.choice((1, 1, 1, 20, 20000))
                    body = "".join(f"{name} {j}\r\n" for j in range(size))
                    mid = post(self.s, to, body, subject=name, connection=c)
                    self.sent[name] = (mid, to, body.encode())
        time.sleep(2.5)
        for s in self.sites:
            s.polite()

    def waiting(self):
        """Recipients without an end."""
        done = {e["to"] for e in self.s.events("outcome") if e["outcome"] != "deferred"}
        return sum(t not in done for _, to, _ in self.sent.values() for t in to)

    def account(self):
        """Everything has an end now; is it the right one?"""
        end = time.monotonic() + 90
        while self.waiting() and time.monotonic() < end:
            time.sleep(0.2)
        got = collections.defaultdict(list)
        for site in self.sites:
            for m in list(site.sink.messages):
                for t in m.rcpts:
                    got[t].append(m)
        said = collections.defaultdict(set)
        for e in self.s.events("outcome"):
            said[e["to"]].add(e["outcome"])
        for site in self.sites:
            if site.sink.errors:
                self.bad.append(f"the sink of d{site.n}: {site.sink.errors[:3]}")
        for name, (_, to, body) in self.sent.items():
            site = self.sites[int(name.split("-")[1])]
            refused, unsure = site.refused, site.unsure
            for t in to:
                if got[t] and any(m.body != body for m in got[t]):
                    self.bad.append(f"{t} got another body: {[(m.sender, m.body[:60], len(m.body), len(body)) for m in got[t]]}")
                if said[t] & {"failed", "bounced"}:
                    if not {t, "*"} & refused:
                        self.bad.append(f"{t} was bounced, and nobody refused it: {said[t]}")
                elif not got[t] and not ("delivered" in said[t] and t in unsure):
                    self.bad.append(f"{t} is lost: {said[t]}")
                if len(got[t]) > 1 and t not in unsure:
                    self.bad.append(f"{t} got it {len(got[t])} times")
        for line in self.s.log_lines:
            if re.search(r"[\x00-\x1f\x7f-\x9f]", line):
                self.bad.append(f"control characters in the log: {line[:200]!r}")


def go(rounds, seed, say=print, binary=None):
    lab = Lab("hops")
    h = None
    try:
        h = Hops(lab, seed, binary or paths.SIGNET)
        before = memory(h.s)
        for i in range(rounds):
            h.round(i)
            if i % 20 == 19:
                say(f"{i + 1} of {rounds} rounds; {memory(h.s, 'VmRSS')} KiB")
        h.account()
        grown = memory(h.s) - before
        if grown > MEMORY and "asan" not in h.s.binary:
            h.bad.append(f"memory grew by {grown} KiB")
        complaint = lab.end()
        if complaint:
            h.bad.append(str(complaint)[:1000])
        for x in h.bad[:20]:
            say(f"FINDING {x}")
        ends = collections.Counter(e["outcome"] for e in h.s.events("outcome"))
        say(f"{rounds} rounds of {SITES} sites, {len(h.sent)} messages: "
            + ", ".join(f"{n} {k}" for k, n in ends.items())
            + f"; memory {before} + {grown} KiB; seed {seed}")
        return h.bad
    finally:
        lab.end()
        lab.remove()

"""A small internet on loopback: addresses of its own in 127.0.0.0/8, a signed root with zones on
NSD, and behind the MX records other people's mail servers and sinks that misbehave on purpose.

Every domain is NAME.example; a Signet that is given World.options() delivers there by MX."""
import email
import email.policy
import os
import random
import re
import shutil
import socket
import subprocess

from . import receivers as others
from .badsink import Sink
from .lab import Skip
from .nsd import Nsd, Zone
from .raw import check_reply, wait_for
from .tree import Unavailable

DNS_HOST, DNS_PORT = 53, 5353
HOME = 10              # mail for shop.example, whose account sends: its bounces come back here
RECEIVERS = {name: 11 + i for i, name in enumerate(others.ALL)}


class Net:
    """A /24 of 127.0.0.0/8 that nobody else has: its first address is bound for as long."""

    def __init__(self):
        for _ in range(100):
            net = f"127.{random.randrange(64, 192)}.{random.randrange(256)}"
            self.claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                self.claim.bind((f"{net}.1", 9))
                self.net = net
                return
            except OSError:
                self.claim.close()
        raise AssertionError("no free network in 127.0.0.0/8")


class World:
    """receivers: which of other people's servers run. records: lines of the zone example.,
    {net} stands for the network, a /24 of loopback or the one that is given. zones: further ones,
    below example., before it is signed. roots: addresses at which the name server is, too.
    Everything ends with the lab."""

    def __init__(self, lab, receivers=(), records=(), zones=(), port=25, net=None, roots=()):
        if os.geteuid() != 0:
            raise Skip("the world needs root: port 25, and trees to chroot into")
        self.lab, self.port = lab, port
        self.net, self.sinks = net, {}
        if not net:
            claim = Net()
            self.net = claim.net
            lab.at_end(claim.claim.close)
        lines = ["ns.nic IN A {net}.53", *self.mx("shop", HOME)]
        for name in receivers:
            lines += self.mx(name, RECEIVERS[name])
        lines = [x.format(net=self.net) for x in (*lines, *records)]
        for z in zones:
            z.records = [x.format(net=self.net) for x in z.records]
            z.bogus = [(a.format(net=self.net), b.format(net=self.net)) for a, b in z.bogus]
        try:
            self.receivers = {n: self.receiver(n) for n in receivers}   # all at once
            self.nsd = Nsd(self.ip(DNS_HOST), DNS_PORT,
                           [*zones, Zone("example.", lines, signed=True), Zone(".", signed=True)],
                           further=roots)
        except Unavailable as e:
            raise Skip(str(e)) from None
        lab.at_end(self.nsd.stop)
        self.trust_anchor = os.path.join(lab.make_dir("world"), "root.key")
        shutil.copy(self.nsd.trust_anchor, self.trust_anchor)
        self.home = self.sink(HOME)
        for r in self.receivers.values():
            r.ready()

    def __getattr__(self, name):
        """world.postfix and so on."""
        try:
            return self.__dict__["receivers"][name]
        except KeyError:
            raise AttributeError(name) from None

    def ip(self, n):
        return f"{self.net}.{n}"

    @staticmethod
    def mx(name, *hosts):
        """Records: NAME.example has one MX for each number, in this order of preference."""
        out = []
        for i, n in enumerate(hosts):
            out += [f"{name} IN MX {10 * (i + 1)} mx{i}.{name}", f"mx{i}.{name} IN A {{net}}.{n}"]
        return out

    def receiver(self, name):
        r = others.ALL[name](os.path.join(self.lab.dir, name), self.ip(RECEIVERS[name]), self.port)
        self.lab.at_end(r.stop)
        return r

    def sink(self, n, behaviour=None, host=None, **more):
        """At the network's address number n, or at another host."""
        s = Sink(host or self.ip(n), self.port, behaviour, **more)
        self.sinks[n] = s
        self.lab.at_end(s.stop)
        return s

    def options(self, more=None, **route):
        """For lab.signet(): everything goes by MX. route: its options; None takes one away."""
        route = {"domains": ["*"], "type": "mx", "port": self.port, "tls": "may",
                 "allow": ["127.0.0.0/8"], **route}
        out = {
            ("route", "capture"): None,
            "dns": {"forward": [f"{self.ip(DNS_HOST)}:{DNS_PORT}"],
                    "trust_anchor": self.trust_anchor, "timeout": "5s"},
            ("route", "world"): {k: v for k, v in route.items() if v is not None},
            "retry": {"first": "300ms", "max": "1s", "jitter": 0},
        }
        out.update(more or {})
        return out

    def signet(self, more=None, route=None, **kw):
        return self.lab.signet(self.options(more, **(route or {})), **kw)

    def drill(self, *args):
        """Debian's drill asks the world's name server; returns what it says."""
        tree = self.nsd.tree
        p = subprocess.run(tree.argv("/usr/bin/drill", "-p", str(DNS_PORT), f"@{self.nsd.address}",
                                     *args), stdout=subprocess.PIPE, check=True)
        return p.stdout.decode()


# -- what a test does there -----------------------------------------------------------------------


def post(s, to, body="hello\r\n", subject="to the world", params="", sender=None, connection=None):
    """Hands one message to Signet; returns its id."""
    sender = s.sender if sender is None else sender
    rcpts = [to] if isinstance(to, str) else to
    data = (f"From: {s.sender}\r\nTo: {rcpts[0]}\r\nSubject: {subject}\r\n\r\n").encode()
    data += body.encode() if isinstance(body, str) else body
    c = connection or s.login()
    try:
        r = c.message(sender, rcpts, data, params)
        check_reply(r, "250 2.0.0 Ok: queued as *", subject)
        return r.split()[-1]
    finally:
        if not connection:
            c.close()


def outcomes(s, mid, to=None):
    return [e for e in s.events("outcome", id=mid) if to in (None, e["to"])]


def wait_outcome(s, mid, outcome, to=None, seconds=30):
    """The first outcome of this kind; the log is shown by the test when there is none."""
    return wait_for(f"{outcome} for {mid} {to or ''} (has "
                    f"{[(e['to'], e['outcome'], e['reply']) for e in outcomes(s, mid)]})", seconds,
                    lambda: next((e for e in outcomes(s, mid, to) if e["outcome"] == outcome), None))


def memory(s, what="VmHWM"):
    """KiB of Signet's, now (VmRSS) or at most (VmHWM)."""
    with open(f"/proc/{s.pid()}/status", encoding="utf-8") as f:
        return int(re.search(rf"{what}:\s+(\d+)", f.read()).group(1))


class Bounce:
    """A DSN as Python's email package reads it (RFC 3464): the report's fields by recipient."""

    def __init__(self, data):
        self.data = data
        self.message = email.message_from_bytes(data, policy=email.policy.default)
        if self.message.get_content_type() != "multipart/report":
            raise AssertionError(f"not a report: {data[:2000]!r}")
        parts = list(self.message.iter_parts())
        self.text = parts[0].get_content()
        blocks = parts[1].get_payload()
        self.about, self.rcpts = blocks[0], blocks[1:]
        self.returned = parts[2] if len(parts) > 2 else None

    def status(self, to):
        return self.field(to, "Status")

    def field(self, to, name):
        for b in self.rcpts:
            if b["Final-Recipient"].endswith(f";{to}") or b["Final-Recipient"].endswith(f"; {to}"):
                return b[name]
        raise AssertionError(f"no {to} in the report: {self.data!r}")


def wait_bounce(world, to, seconds=30):
    """The report about this recipient, at the sender's own mail server."""
    def look():
        for m in list(world.home.messages):
            if m.sender == "" and to.encode() in m.data:
                return m
        return None

    m = wait_for(f"a bounce about {to}", seconds, look)
    return Bounce(m.data)

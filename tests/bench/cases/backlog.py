"""A long queue that does not move, and a site that hangs: what the rest notices of them."""
import os
import time

from rig import procs
from rig.figures import Case, Spread
from rig.servers import Signet
from rig.tools import Sink, free_port, load, listening

from lab.nsd import Nsd, Zone

from .onward import measure

SMALL = 1024       # of a waiting message, so that a million of them is two gigabytes
FILL = {"connections": 50, "per_connection": 0, "size": SMALL, "next": True}


DOMAINS = 100       # by MX, the dead destination is so many domains with a host each


def hop(port):
    return {"type": "smarthost", "host": "127.0.0.1", "port": str(port), "tls": "none"}


def warm():
    """A hypervisor that takes free memory back gives it again at the first touch, at three times
    the cost of the write itself: what follows gets pages that were given a moment ago."""
    path, block = os.path.join(procs.WORK, "warm"), bytes(1 << 20)
    with open(path, "wb") as f:
        for _ in range(256):
            f.write(block)
    os.unlink(path)


class Sites:
    """Signet with mail for dead.example to one port and all else to a sink."""

    def __init__(self, setup, name, dead):
        self.live = Sink()
        self.server = Signet(os.path.join(procs.WORK, name), cert=setup.cert, routes={
            ("route", "dead"): {"domains": ["dead.example"], **hop(dead)},
            ("route", "live"): {"domains": ["*"], **hop(self.live.port)}}, options=self.options())

    def options(self):
        return {}

    def __enter__(self):
        try:
            self.server.__enter__()
        except BaseException:
            self.live.stop()
            raise
        return self

    def __exit__(self, *_):
        self.server.__exit__()
        self.live.stop()

    def fill(self, n, domain="dead.example"):
        return load(self.server, to=f"rcpt@{domain}", messages=n, limit=900, **FILL)

    def accept(self, rounds=3):
        """Messages a second taken for the dead site."""
        return Spread([self.accept_once() for _ in range(rounds)])

    def accept_once(self):
        warm()
        return load(self.server, to="rcpt@dead.example", messages=10000, connections=50,
                    per_connection=100, size=4096)["rate"]

    def way(self, n, rate):
        """Seconds from the end of data to the sink, of n messages at this rate: p50, p99, max."""
        before = self.live.way()["messages"]
        load(self.server, messages=n, rate=rate, connections=20, size=4096)
        self.live.wait(before + n, 120, self.server)
        told = self.live.way()["way_us"]
        return {k: told[k] / 1e6 for k in ("p50", "p99", "max")}


class MxSites(Sites):
    """The same by MX: names from NSD, everything at 127.0.0.1."""

    def __init__(self, setup, name, dead):
        port, lines = free_port(), ["ns.nic IN A 127.0.0.1"]
        for domain in ("sink", "dead", "live", *(f"d{i}.dead" for i in range(DOMAINS))):
            lines += [f"{domain} IN MX 10 mx.{domain}", f"mx.{domain} IN A 127.0.0.1"]
        self.names = Nsd("127.0.0.1", port, [Zone("example.", lines, signed=True),
                                             Zone(".", signed=True)], only=True)
        try:
            super().__init__(setup, name, dead)
        except BaseException:
            self.names.stop()
            raise
        for route in self.server.routes.values():
            route.update(type="mx", allow=["127.0.0.0/8"])
            del route["host"]

    def options(self):
        return {"dns": {"forward": [f"127.0.0.1:{self.names.port}"],
                        "trust_anchor": self.names.trust_anchor}}

    def __enter__(self):
        try:
            return super().__enter__()
        except BaseException:
            self.names.stop()
            raise

    def __exit__(self, *a):
        super().__exit__(*a)
        self.names.stop()

    def fill(self, n, domain="dead.example"):
        at = time.monotonic()
        for i in range(DOMAINS):
            super().fill(n * (i + 1) // DOMAINS - n * i // DOMAINS, f"d{i}.{domain}")
        return {"rate": n / (time.monotonic() - at)}


def million_mx(setup, say):
    return million(setup, say, "million-mx", f"{DOMAINS} dead destinations, by MX", MxSites)


def million(setup, say, name="million", where="a dead destination", sites=Sites):
    n, dead = setup.queue, free_port()
    case = Case(name, f"a queue of {n:,} messages of 1 KiB to {where}, one core")
    with sites(setup, "signet", dead) as s:
        server = s.server
        load(server, to="rcpt@dead.example", messages=500, connections=50, per_connection=10)
        before = s.accept()
        filled = s.fill(n - 30500)
        say(f"  filled at {filled['rate']:,.0f}/s")
        kept = server.count()["messages"]
        if kept != n:
            raise procs.Broken(f"{n} messages should wait, {kept} do")
        at = time.monotonic()
        server.count()
        count = time.monotonic() - at
        memory = procs.memory_kb(server.pid, "RssAnon", "RssShmem") / 1024
        fresh = s.way(100, 20)
        during = s.accept()
        case.at_most("fresh mail handed on, the slowest of 100", 2, Spread([fresh["max"]]), " s")
        case.at_least("accept rate / that of the empty queue", 0.8,
                      Spread([during.median / before.median]))
        case.note(f"accepted before {before.text('/s')}, with the queue {during.text('/s')}")
        case.at_most("RssAnon + RssShmem", 400, Spread([memory]), " MB")
        case.at_most("queue count", 1, Spread([count]), " s")
        operate(case, server, n)
        restart(case, s, dead)
    return case


def operate(case, server, n):
    """What an operator asks and does while all that waits."""
    def timed(what, *args):
        at = time.monotonic()
        answer = server.ctl("queue", *args)
        case.at_most("queue " + what, 1, Spread([time.monotonic() - at]), " s")
        return answer

    account = server.ctl("account", "list")["accounts"][0]["name"]
    first = timed("list", "list")["messages"][0]["id"]
    timed("list --domain", "list", "--domain", "dead.example")
    timed("count --account", "count", "--account", account)
    timed("count --older-than", "count", "--older-than", "1s")
    timed("why", "why", first)
    timed("hold --account", "hold", "--account", account)
    timed("release --account", "release", "--account", account)
    at = time.monotonic()
    held = server.ctl("queue", "hold", "--older-than", "0s")["messages"]
    middle = time.monotonic()
    released = server.ctl("queue", "release", "--older-than", "0s")["messages"]
    case.note(f"one by one, in steps: {held:,} held in {middle - at:.1f} s, {released:,} released in "
              f"{time.monotonic() - middle:.1f} s")


def restart(case, s, dead):
    """Stopped and started with the queue; the dead destination is alive now."""
    s.server.stop()
    revived = Sink(port=dead)
    try:
        at = time.monotonic()
        s.server.start()
        procs.wait_for("listening", 60, lambda: listening(s.server.port), 0.005)
        listen = time.monotonic() - at
        first = procs.wait_for("the first delivery", 60, lambda: revived.count()["first_us"], 0.01)
        case.at_most("restart to listening", 3, Spread([listen]), " s")
        case.at_most("restart to the first delivery", 10, Spread([first / 1e6 - at]), " s")
        procs.stop(s.server.process, 60)
    finally:
        revived.stop()


def drained(setup, say):
    """put + delete is what end to end costs: the only way to have both in a real server."""
    n, dead = setup.queue, free_port()
    case = Case("drained", f"after {n:,} messages have waited and gone, beside a fresh spool, one "
                           "core")
    with Sites(setup, "signet", dead) as s:
        s.fill(500, "live.example")
        s.live.wait(500, 60, s.server)
        rounds = {"fresh": figures(s, 500)}
        s.fill(n)
        say("  filled")
        s.server.stop()
        revived = Sink(port=dead)
        try:
            at = time.monotonic()
            s.server.start()
            procs.wait_for("listening", 60, lambda: listening(s.server.port))
            revived.wait(n, 1200, s.server)
            rate = n / (time.monotonic() - at)
            case.note(f"drained at {rate:,.0f}/s")
            say(f"  drained at {rate:,.0f}/s")
            procs.wait_for("an empty queue", 60, lambda: s.server.count()["messages"] == 0)
        finally:
            revived.stop()
        rounds["drained"] = figures(s, 500 + 30000)
        case.table(("handed on/s", "through"), ("accepted/s", "rate"),
                   ("server CPU us/message", "server_us"))
        for who, r in rounds.items():
            case.row(who, r)
        a, b = ({k: case.cell(rounds[w], k).median for k in ("rate", "server_us")}
                for w in ("fresh", "drained"))
        case.at_least("accept rate, drained / fresh", 1 / 1.5, Spread([b["rate"] / a["rate"]]))
        case.at_most("CPU of accept and delivery, drained / fresh", 1.5,
                     Spread([b["server_us"] / a["server_us"]]))
    return case


def figures(s, seen):
    return [measure(s.server, s.live, seen + 10000 * i, 10000) for i in range(3)]


def hanging(setup, say):
    case = Case("hanging", "a site that takes connections and says nothing with 100,000 messages, "
                           "1,000 healthy messages beside it, one core")
    port = free_port()
    stuck = Sink(port=port, hang=True)
    try:
        with Sites(setup, "signet", port) as s:
            s.way(200, 100)
            without = [s.way(1000, 200) for _ in range(setup.rounds)]
            s.fill(100000)
            say("  100,000 messages wait")
            s.way(200, 100)
            beside = [s.way(1000, 200) for _ in range(setup.rounds)]
    finally:
        stuck.stop()
    case.table(("queue time p50 ms", lambda r: r["p50"] * 1000),
               ("p99 ms", lambda r: r["p99"] * 1000), ("max ms", lambda r: r["max"] * 1000))
    case.row("without the hanging site", without)
    case.row("beside it", beside)
    p99 = [case.cell(r, "p99").median for r in (without, beside)]
    case.at_most("p99, beside / without", 2, Spread([p99[1] / p99[0]]))
    return case

"""What a flood of bad logins does to a good one: one core of generator, 1,000 addresses of loopback."""
import json
import os
import signal
import statistics
import subprocess
import time

from lab import raw
from rig import procs
from rig.figures import Case, Spread
from rig.servers import Signet
from rig.tools import free_port

SECONDS = 20
OFF = {"delay": "0s", "ban_after": "0"}
# (what, guard, limits): as it is; without delays and bans; and then with no end of a connection either,
# so that the tries are all that the server does, and no handshakes.
WAYS = (("delays and bans on", {}, {}),
        ("off", OFF, {}),
        ("off, and any number of tries a connection", OFF, {"auth_failures": "0", "errors": "0", "commands": "0"}))


class Guarded(Signet):
    def configuration(self):
        self.tls_port = free_port()
        return {**super().configuration(),
                ("listener", "tls"): {"address": [f"127.0.0.1:{self.tls_port}"], "tls": "implicit",
                                      "mechanisms": ["PLAIN", "SCRAM-SHA-256"]}}


def good(server, until, strangers=False):
    """Milliseconds of each whole login: connection, handshake, AUTH. strangers: each from an address of
    its own, which nothing is known of."""
    took = []
    while time.monotonic() < until:
        began = time.monotonic()
        n = len(took) + 1
        source = f"127.2.{n // 250}.{n % 250 + 1}" if strangers else None
        with raw.Raw(server.tls_port, implicit=True, timeout=30, source=source) as c:
            c.ehlo()
            reply = c.auth(server.secret)
        if not str(reply).startswith("235"):
            raise procs.Broken(f"a good login got {reply}")
        took.append((time.monotonic() - began) * 1000)
        time.sleep(0.01)
    return took


def once(setup, name, guard, limits, flooded, strangers=False, mode="login"):
    with Guarded(os.path.join(procs.WORK, name), cert=setup.cert, limits=limits,
                 options={"guard": guard}) as server:
        good(server, time.monotonic() + 1)
        flood = None
        if flooded:
            flood = procs.start([procs.tool("flood"), "--port", server.tls_port, "--mode", mode,
                                 "--connections", 1000, "--sources", 1000, "--seconds", SECONDS + 30],
                                procs.CLIENT_CPU, stdout=subprocess.PIPE)
            time.sleep(3)
        before = procs.cpu_seconds(server.pid)
        began = time.monotonic()
        took = good(server, began + SECONDS, strangers)
        elapsed = time.monotonic() - began
        busy = (procs.cpu_seconds(server.pid) - before) / elapsed * 100
        said = {}
        if flood:
            flood.send_signal(signal.SIGTERM)
            said = json.loads(flood.communicate(timeout=30)[0])
        memory = procs.memory_kb(server.pid, "RssAnon")
    took.sort()
    return {"p50": statistics.median(took), "p99": took[int(len(took) * 0.99)], "worst": took[-1], "n": len(took),
            "tries": said.get("told", 0) / (SECONDS + 3), "connections": said.get("ended", 0) / (SECONDS + 3),
            "server": busy, "memory": memory / 1024}


def guessers(setup, say):
    case = Case("guessers", "a good login (connection, TLS handshake, AUTH) while one core sends bad ones from "
                            "1,000 addresses, the server on the other core")
    case.table(("p50 ms", "p50"), ("p99 ms", "p99"), ("longest ms", "worst"), ("bad logins answered/s", "tries"),
               ("their connections ended/s", "connections"), ("server CPU %", "server"), ("RssAnon MB", "memory"))
    alone = [once(setup, "alone", {}, {}, False) for _ in range(setup.rounds)]
    case.row("nobody beside it", alone)
    for what, guard, limits in WAYS:
        rounds = []
        for i in range(setup.rounds):
            rounds.append(once(setup, f"guessers-{i}", guard, limits, True))
            say(f"  {what}: p99 {rounds[-1]['p99']:.1f} ms, {rounds[-1]['tries']:,.0f} bad ones/s")
        case.row(what, rounds)
        case.at_most(f"p99 of a good login, {what}", 100, Spread([r["p99"] for r in rounds]), " ms")
    # The same by clients that have never been here: their handshakes wait with the guessers'.
    for what, guard, limits in WAYS:
        r = once(setup, "strangers", guard, limits, True, strangers=True)
        say(f"  {what}, by strangers: p99 {r['p99']:.1f} ms, {r['tries']:,.0f} bad ones/s")
        case.row(f"{what}; each good one from a new address", [r])
    for what, guard, limits in WAYS:
        r = once(setup, "scram", guard, limits, True, mode="scram")
        say(f"  {what}, by SCRAM: p99 {r['p99']:.1f} ms, {r['tries']:,.0f} bad ones/s")
        case.row(f"{what}; the bad ones by SCRAM-SHA-256", [r])
    m = procs.run_json([procs.tool("addresses"), 10000000], procs.SERVER_CPU, 300)
    case.at_most("the limiter's memory after 10,000,000 addresses", 64, Spread([m["bytes"] / 2**20]), " MB")
    case.note(f"{m['addresses']:,} failed logins of as many /64 took {m['seconds']:.1f} s; {m['kept']:,} are kept, "
              f"{m['forgotten']:,} forgotten, RssAnon {m['rss_kb'] / 1024:.1f} MB; who had tried 15 times before them "
              f"waits {m['guesser_waits_ms'] / 1000:.1f} s still")
    return case

"""How long a client waits for its 250 when the server is half busy."""
import mmap
import os
import statistics
import struct

from rig import procs
from rig.figures import Case, Spread, ratios
from rig.servers import Ceiling, Signet
from rig.tools import load

RING = 1 << 16


class Syncs:
    """What syncs.c counts inside the server."""

    def __init__(self, path):
        with open(path, "r+b") as f:
            self.m = mmap.mmap(f.fileno(), 8 + 4 * RING)
        self.first = self.n()

    def n(self):
        return struct.unpack_from("<Q", self.m, 0)[0]

    def durations(self):
        """Microseconds of those since the beginning, as far as they are kept."""
        end = self.n()
        return [struct.unpack_from("<I", self.m, 8 + 4 * (i % RING))[0]
                for i in range(max(self.first, end - RING), end)]


def latency(setup, say):
    case = Case("latency", "end of data to 250 at half of the maximum load, 4 KiB, one core, queue "
                           "held: an open loop over 200 connections")
    ms = 1000
    case.table(("maximum/s", "full"), ("load/s", "rate"), ("p50 ms", lambda r: r["p50"] / ms),
               ("p99 ms", lambda r: r["p99"] / ms), ("messages a commit", "batch"),
               ("a sync (ceiling: a commit), median ms", lambda r: r["sync"] / ms),
               ("its p99 ms", lambda r: r["sync_p99"] / ms),
               ("the spool's own commit, median ms", lambda r: r["commit"] and r["commit"] / ms),
               ("server CPU %", "server_percent"), ("generator CPU %", "cpu_percent"))
    rounds, least = [], []
    for i in range(setup.rounds):
        rounds.append(once(setup, f"signet-{i}", say, i))
        least.append(ceiling(setup, f"ceiling-{i}", rounds[-1]))
    case.row("signet", rounds)
    case.row("ceiling, at the same load", least)
    case.at_most("p99 / the spool's median commit", 4, ratios(rounds, rounds, "p99", "commit"))
    case.at_most("p99", 10, Spread([r["p99"] / ms for r in rounds]), " ms")
    return case


def once(setup, name, say, i):
    server = Signet(os.path.join(procs.WORK, name), cert=setup.cert)
    counts = os.path.join(procs.WORK, f"{name}.syncs")
    server.env.update(LD_PRELOAD=procs.tool("syncs.so"), SYNCS_FILE=counts)
    with server:
        load(server, messages=500, connections=50, per_connection=10)
        full = load(server, messages=10000, connections=50, per_connection=100, size=4096)["rate"]
        syncs = Syncs(counts)
        r = load(server, rate=full / 2, seconds=5, connections=200, size=4096)
        durations = syncs.durations()
    if not durations:
        raise procs.Broken("no fdatasync was seen: is syncs.so preloaded?")
    # The machine of this very minute: beside nothing, on the same core.
    batch = max(1, round(r["messages"] / len(durations)))
    own = procs.run_json([procs.tool("spool_bench"), procs.WORK, "commit", min(batch, 100)],
                         procs.SERVER_CPU, 60)
    r.update(full=full, batch=r["messages"] / len(durations), commit=own["p50"],
             sync=statistics.median(durations),
             sync_p99=sorted(durations)[len(durations) * 99 // 100],
             p50=r["latency_us"]["p50"], p99=r["latency_us"]["p99"])
    say(f"  round {i + 1} {r['rate']:,.0f}/s of {full:,.0f}/s: p99 {r['p99'] / 1000:.1f} ms, "
        f"{batch} a commit, the spool's own {own['p50'] / 1000:.2f} ms")
    return r


def ceiling(setup, name, beside):
    """What the machine alone does to a p99 at this load."""
    with Ceiling(os.path.join(procs.WORK, name), cert=setup.cert) as server:
        load(server, messages=500, connections=50, per_connection=10)
        r = load(server, rate=beside["full"] / 2, seconds=5, connections=200, size=4096)
    told = server.figures
    r.update(full=None, batch=told["batch"], commit=None, sync=told["commit_us"]["p50"],
             sync_p99=told["commit_us"]["p99"],
             p50=r["latency_us"]["p50"], p99=r["latency_us"]["p99"])
    return r

"""One loop thread and two, on the same two cores with the generator beside them."""
import os
import re
import shutil
import subprocess

from rig import procs
from rig.figures import Case, Spread, ratios
from rig.servers import Signet
from rig.tools import load

BOTH = f"{procs.SERVER_CPU},{procs.CLIENT_CPU}"
LOCKS = re.compile(r"pthread_(mutex|rwlock|cond|spin)|lll_lock|futex|spin_lock|rwsem|down_read|"
                   r"down_write|mutex_lock", re.I)


def two_threads(setup, say):
    case = Case("two-threads", "accept, 4 KiB, 50 connections x 100 messages, queue held, one loop "
                               "thread and two; server and generator share both cores")
    case.table(("messages/s", "rate"), ("server CPU us/message", "server_us"),
               ("server CPU %", "server_percent"), ("generator CPU %", "cpu_percent"))
    got = {1: [], 2: []}
    for i in range(setup.rounds):
        for threads in (1, 2):
            with Signet(os.path.join(procs.WORK, f"signet-{threads}-{i}"), threads=threads,
                        cpus=BOTH, cert=setup.cert) as server:
                load(server, messages=500, connections=50, per_connection=10)
                got[threads].append(load(server, messages=20000, connections=50,
                                         per_connection=100, size=4096))
            r = got[threads][-1]
            say(f"  round {i + 1} {threads} {r['rate']:9,.0f}/s  server {r['server_us']:.0f} "
                "us/message")
    case.row("one", got[1])
    case.row("two", got[2])
    case.at_most("server CPU per message, two / one", 1.1, ratios(got[2], got[1], "server_us"))
    locks(case, setup)
    return case


def locks(case, setup):
    """Where two threads spend their time: samples by symbol."""
    if not shutil.which("perf"):
        case.note("locks: not looked at, there is no perf here")
        return
    data = os.path.join(procs.WORK, "perf.data")
    with Signet(os.path.join(procs.WORK, "signet-perf"), threads=2, cpus=BOTH,
                cert=setup.cert) as server:
        load(server, messages=500, connections=50, per_connection=10)
        perf = subprocess.Popen(["perf", "record", "-q", "-F", "1999", "-e", "cpu-clock", "-o", data,
                                 "-p", str(server.pid), "--", "sleep", "4"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                preexec_fn=procs.paths.die_with())
        try:
            load(server, messages=40000, connections=50, per_connection=100, size=4096)
        finally:
            perf.wait(30)
    p = subprocess.run(["perf", "script", "-i", data, "-F", "ip,sym", "-G"], stdout=subprocess.PIPE,
                       stderr=subprocess.DEVNULL, check=False)
    names = p.stdout.decode(errors="replace").split()
    if len(names) < 500:
        case.note(f"locks: not looked at, perf gave {len(names)} samples")
        return
    shares = {}
    for n in names:
        if LOCKS.search(n):
            shares[n] = shares.get(n, 0) + 100 / len(names)
    worst = max(shares, key=shares.get) if shares else "none"
    case.at_most(f"samples in one lock's code ({worst})", 2,
                 Spread([shares.get(worst, 0.0)]), " %")
    case.note(f"{len(names)} samples; in all locks together {sum(shares.values()):.1f} %")

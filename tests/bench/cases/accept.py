"""How fast mail is taken: queues held, nothing goes out."""
import os
import time

from lab.tree import Unavailable
from rig import limits, procs
from rig.figures import Case, ratios
from rig.tools import BUSY, load

COLUMNS = (("messages/s", "rate"), ("server CPU us/message", "server_us"),
           ("server CPU %", "server_percent"), ("generator CPU %", "cpu_percent"),
           ("250 after, p50 ms", lambda r: r["latency_us"]["p50"] / 1000),
           ("p99 ms", lambda r: r["latency_us"]["p99"] / 1000))


OURS = ("ceiling", "signet")
WARM = 500
SLOW_SECONDS = 30      # a peer is sent no more after this


def interleaved(setup, case, servers, once, say):
    """Each server once a round, started anew: {name: [figures of each round]}. A peer that fails
    is left out from then on, and the table says so; ours may not fail."""
    got, out, began = {}, set(), time.monotonic()
    for i in range(setup.rounds):
        used = time.monotonic() - began
        if i and used + used / i > setup.limit:
            case.note(f"{i} rounds of {setup.rounds}: no more fit into {setup.limit} s")
            break
        for make in servers:
            if make.name in out:
                continue
            try:
                r = once(setup, make, os.path.join(procs.WORK, f"{make.name}-{i}"))
            except (procs.Broken, Unavailable) as e:
                if make.name in OURS:
                    raise
                out.add(make.name)
                case.note(f"{make.name} is missing from round {i + 1} on: {e}")
                say(f"  {make.name}: {e}")
                continue
            got.setdefault(make.name, []).append(r)
            say(f"  round {i + 1} {make.name:9} {r.get('through', r['rate']):9,.0f}/s  server "
                f"{r['server_us']:7.0f} us/message  generator {r['cpu_percent']:3.0f} % CPU")
    return got


def held(measure):
    """A round with nothing handed on."""
    def once(setup, make, dir):
        server = make(dir, cert=setup.cert)
        with server:
            r = measure(server)
        setup.remark(server)
        return r
    return once


def warm_then(count, slow_count, **options):
    """Some messages that do not count, then the work."""
    def measure(server):
        load(server, messages=WARM, connections=options["connections"], per_connection=20,
             seconds=SLOW_SECONDS)
        if server.name in OURS:
            return load(server, messages=count, **options)
        return load(server, messages=slow_count, seconds=SLOW_SECONDS, **options)
    return held(measure)


def accept_4k(setup, say):
    case = Case("accept-4k", "accept, 4 KiB, 50 connections x 100 messages, STARTTLS + AUTH, "
                             "one core, queue held")
    case.table(*COLUMNS)
    got = interleaved(setup, case, setup.servers(), warm_then(
        20000, 5000, connections=50, per_connection=100, size=4096), say)
    for who, rounds in got.items():
        case.row(who, rounds)
    ceiling, signet = got["ceiling"], got["signet"]
    case.at_least("ceiling, messages/s", 8000, case.cell(ceiling, "rate"))
    case.at_least("Signet / ceiling", 0.75, ratios(signet, ceiling, "rate"))
    for peer, factor in (("exim", 6), ("postfix", 15)):
        if peer in got:
            case.at_least(f"Signet / {peer}", factor, ratios(signet, got[peer], "rate"))
    told_busy(case, got)
    return case


def accept_one(setup, say):
    case = Case("accept-one", "accept, 4 KiB, one message per connection, 20 at once, full "
                              "handshake + AUTH, one core, queue held")
    case.table(*COLUMNS)
    got = interleaved(setup, case, setup.servers(), warm_then(
        4000, 1000, connections=20, per_connection=1, size=4096), say)
    for who, rounds in got.items():
        case.row(who, rounds)
    case.at_most("server CPU per message, Signet / ceiling", 1.25,
                 ratios(got["signet"], got["ceiling"], "server_us"))
    told_busy(case, got)
    return case


def accept_64k(setup, say):
    return large(setup, say, "accept-64k", 64 << 10, 3000, 500, 20)


def accept_10m(setup, say):
    return large(setup, say, "accept-10m", 10 << 20, 80, 20, 4)


def large(setup, say, name, size, count, slow_count, connections):
    case = Case(name, f"accept, bodies of {size >> 10:,} KiB, {connections} connections, "
                      "STARTTLS + AUTH, one core, queue held")
    mb = size / 1e6
    case.table(("messages/s", "rate"), ("MB/s", lambda r: r["rate"] * mb), *COLUMNS[1:4],
               ("server CPU us/MB", lambda r: r["server_us"] / mb))

    def measure(server):
        load(server, messages=2 * connections, connections=connections, per_connection=2,
             size=size, limit=60)
        more = {} if server.name in OURS else {"seconds": SLOW_SECONDS}
        return load(server, messages=slow_count if more else count, size=size, limit=120,
                    connections=connections, per_connection=100, **more)

    got = interleaved(setup, case, setup.servers(), held(measure), say)
    for who, rounds in got.items():
        case.row(who, rounds)
    disk, aes = limits.disk_mb(), limits.aes_mb()
    rate = case.cell(got["signet"], lambda r: r["rate"] * mb)
    case.note(f"the disk alone, 1 MiB and a sync each: {disk.text(' MB/s')}; "
              f"AES-256-GCM on one core, one pass: {aes.text(' MB/s')}")
    case.note(f"Signet's {rate.text(' MB/s')} are {rate.median / disk.median:.2f} of the disk alone "
              f"and {rate.median / aes.median:.2f} of AES alone")
    case.at_least("Signet / ceiling, which has the same disk and AES", 0.75,
                  ratios(got["signet"], got["ceiling"], "rate"))
    told_busy(case, got)
    return case


def told_busy(case, got):
    for who, rounds in got.items():
        if max(r["cpu_percent"] for r in rounds) > BUSY and min(
                r["server_percent"] for r in rounds) < BUSY:
            case.note(f"{who}: the generator's core was full and the server's was not: read the "
                      "server's CPU, not the rate")

"""How fast mail is taken: queues held, nothing goes out."""
import os

from rig import limits, procs
from rig.figures import Case, ratios
from rig.tools import BUSY, load

COLUMNS = (("messages/s", "rate"), ("server CPU us/message", "server_us"),
           ("server CPU %", "server_percent"), ("generator CPU %", "cpu_percent"),
           ("250 after, p50 ms", lambda r: r["latency_us"]["p50"] / 1000),
           ("p99 ms", lambda r: r["latency_us"]["p99"] / 1000))


WARM = 500


def interleaved(setup, servers, rounds, measure, say):
    """Each server once a round, started anew: {name: [figures of each round]}."""
    got = {}
    for i in range(rounds):
        for make in servers:
            server = make(os.path.join(procs.WORK, f"{make.name}-{i}"), cert=setup.cert)
            with server:
                r = measure(server)
            setup.remark(server)
            got.setdefault(server.name, []).append(r)
            say(f"  round {i + 1} {server.name:9} {r['rate']:9,.0f}/s  server "
                f"{r['server_us']:7.0f} us/message  generator {r['cpu_percent']:3.0f} % CPU")
    return got


def warm_then(count, fast=(), slow_count=None, **options):
    """A measure: some messages that do not count, then the work."""
    def measure(server):
        n = count if server.name in fast or not slow_count else slow_count
        load(server, messages=WARM, connections=options["connections"], per_connection=20)
        return load(server, messages=n, **options)
    return measure


OURS = ("ceiling", "signet")


def accept_4k(setup, say):
    case = Case("accept-4k", "accept, 4 KiB, 50 connections x 100 messages, STARTTLS + AUTH, "
                             "one core, queue held")
    case.table(*COLUMNS)
    got = interleaved(setup, setup.servers(), setup.rounds, warm_then(
        20000, OURS, 5000, connections=50, per_connection=100, size=4096), say)
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
    got = interleaved(setup, setup.servers(), setup.rounds, warm_then(
        4000, OURS, 1000, connections=20, per_connection=1, size=4096), say)
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
        return load(server, messages=count if server.name in OURS else slow_count, size=size,
                    connections=connections, per_connection=100, limit=120)

    got = interleaved(setup, setup.servers(), setup.rounds, measure, say)
    for who, rounds in got.items():
        case.row(who, rounds)
    disk, aes = limits.disk_mb(), limits.aes_mb()
    rate = case.cell(got["signet"], lambda r: r["rate"] * mb)
    least = min(("the disk", disk), ("AES", aes), key=lambda x: x[1].median)
    case.note(f"the disk alone, 1 MiB and a sync each: {disk.text(' MB/s')}; "
              f"AES-256-GCM on one core, one pass: {aes.text(' MB/s')}")
    case.note(f"Signet reaches {rate.median / least[1].median:.2f} of what {least[0]} alone does, "
              f"{rate.median / disk.median:.2f} of the disk")
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

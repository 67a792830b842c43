"""How fast mail is taken: queues held, nothing goes out."""
import os

from rig import procs
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
                if server.remark and server.remark not in setup.remarks:
                    setup.remarks.append(server.remark)
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


def told_busy(case, got):
    for who, rounds in got.items():
        if max(r["cpu_percent"] for r in rounds) > BUSY and min(
                r["server_percent"] for r in rounds) < BUSY:
            case.note(f"{who}: the generator's core was full and the server's was not: read the "
                      "server's CPU, not the rate")

"""Deliveries running: from the first byte of a client to the sink."""
import os

from rig import procs
from rig.figures import Case, ratios
from rig.tools import Sink, load

from .accept import interleaved

COLUMNS = (("handed on/s", "through"), ("accepted/s", "rate"),
           ("server CPU us/message", "server_us"), ("server CPU %", "server_percent"),
           ("generator CPU us/message", "cpu_us_per_message"),
           ("sink CPU us/message", "sink_us"))


def plain(setup, say):
    return end_to_end(setup, say, "end-to-end", None)


def tls(setup, say):
    return end_to_end(setup, say, "end-to-end-tls", setup.cert)


def end_to_end(setup, say, name, cert):
    case = Case(name, "end to end, 4 KiB, 50 connections x 100 messages in by STARTTLS + AUTH, out "
                      f"to a sink {'by STARTTLS' if cert else 'in plaintext'}, one core")
    case.table(*COLUMNS)
    got = interleaved(setup, case, setup.servers()[1:], through(cert), say)
    for who, rounds in got.items():
        case.row(who, rounds)
    if "postfix" in got:
        case.at_least("Signet / postfix, handed on", 8,
                      ratios(got["signet"], got["postfix"], "through"))
    return case


def through(cert):
    """A round with a sink of its own behind the server."""
    def once(setup, make, dir):
        n = 10000 if make.name == "signet" else 1000
        sink = Sink(cert=cert)
        try:
            server = make(dir, sink=sink.port, sink_tls=bool(cert), cert=setup.cert)
            with server:
                load(server, messages=200, connections=50, per_connection=4)
                sink.wait(200, 60, server)
                r = measure(server, sink, 200, n)
            setup.remark(server)
        finally:
            told = sink.stop()
        r["sink_us"] = told.get("cpu_us_per_message")
        return r
    return once


def measure(server, sink, before, n, **options):
    """n messages until the last of them is at the sink, which has seen `before` messages."""
    cpu = procs.cpu_seconds(server.pid)
    options = {"connections": 50, "per_connection": 100, "size": 4096, **options}
    r = load(server, messages=n, **options)
    last = sink.wait(before + n, 120, server)["last_us"] / 1e6
    cpu = procs.cpu_seconds(server.pid) - cpu
    r["through"] = n / (last - r["began"])
    r["server_us"] = cpu * 1e6 / n
    r["server_percent"] = 100 * cpu / (last - r["began"])
    return r

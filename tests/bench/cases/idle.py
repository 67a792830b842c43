"""What it costs to hold sessions that have logged in and say nothing."""
import os
import time

from rig import procs
from rig.figures import Case, ratios
from rig.tools import Held, load

# As many as each can have as it is packaged; Signet the row's own number.
SESSIONS = {"signet": 8000, "postfix": 90, "exim": 200, "opensmtpd": 200, "haraka": 500}
NO_LIMIT = {"connections_per_address": "0", "connections_per_account": "0"}


def idle(setup, say):
    case = Case("idle", "idle sessions after STARTTLS + AUTH, one core")
    case.table(("sessions", "sessions"), ("KiB each (RssAnon)", "each"),
               ("accept/s without them", "without"), ("accept/s beside them", "beside"))
    for make in setup.servers()[1:]:
        rounds = by_turns(setup, make)
        case.row(make.name, rounds)
        say(f"  {make.name}: {SESSIONS[make.name]} sessions, {rounds[0]['each']:.1f} KiB each")
        if make.name == "signet":
            case.at_most("RssAnon of a session", 32, case.cell(rounds, "each"), " KiB")
            case.at_least("accept rate beside them / without", 0.9,
                          ratios(rounds, rounds, "beside", "without"))
    return case


def by_turns(setup, make):
    """Without them and beside them, on one server. What a session takes is seen once: later ones find
    the memory of those before."""
    ours = make.name == "signet"
    n, got = SESSIONS[make.name], []
    count, conns = (20000, 50) if ours else (500, 10)
    more = {"limits": NO_LIMIT} if ours else {}
    with make(os.path.join(procs.WORK, make.name), cert=setup.cert, **more) as server:
        setup.remark(server)
        options = {"messages": count, "connections": conns, "per_connection": 100, "size": 4096}
        load(server, **options)
        for i in range(setup.rounds if ours else 1):
            without = load(server, **options)["rate"]
            memory = procs.memory_kb(server.pid, "RssAnon")
            held = Held(server, n)
            try:
                grown = procs.memory_kb(server.pid, "RssAnon") - memory
                beside = load(server, **options)["rate"]
            finally:
                held.stop()
            time.sleep(1)
            got.append({"sessions": None if i else n, "each": None if i else grown / n, "without": without,
                        "beside": beside})
    return got

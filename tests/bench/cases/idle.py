"""What it costs to hold sessions that have logged in and say nothing."""
import os

from rig import procs
from rig.figures import Case, Spread
from rig.tools import Held, load

# As many as each can have as it is packaged; Signet the row's own number.
SESSIONS = {"signet": 8000, "postfix": 90, "exim": 200, "opensmtpd": 200, "haraka": 500}
NO_LIMIT = {"connections_per_address": "0", "connections_per_account": "0"}


def idle(setup, say):
    case = Case("idle", "idle sessions after STARTTLS + AUTH, one core")
    case.table(("sessions", "sessions"), ("KiB each (RssAnon)", "each"),
               ("accept/s before", "before"), ("accept/s beside them", "beside"))
    for make in setup.servers()[1:]:
        r = once(setup, make)
        case.row(make.name, [r])
        say(f"  {make.name}: {r['sessions']} sessions, {r['each']:.1f} KiB each")
        if make.name == "signet":
            case.at_most("RssAnon of a session", 32, Spread([r["each"]]), " KiB")
            case.at_least("accept rate beside them / before", 0.9,
                          Spread([r["beside"] / r["before"]]))
    return case


def once(setup, make):
    n = SESSIONS[make.name]
    more = {"limits": NO_LIMIT} if make.name == "signet" else {}
    count, conns = (10000, 50) if make.name == "signet" else (500, 10)
    with make(os.path.join(procs.WORK, make.name), cert=setup.cert, **more) as server:
        setup.remark(server)
        options = {"messages": count, "connections": conns, "per_connection": 100, "size": 4096}
        load(server, messages=500, connections=conns, per_connection=10)
        rates = [load(server, **options)["rate"] for _ in range(3)]
        memory = procs.memory_kb(server.pid, "RssAnon")
        held = Held(server, n)
        try:
            grown = procs.memory_kb(server.pid, "RssAnon") - memory
            beside = [load(server, **options)["rate"] for _ in range(3)]
        finally:
            held.stop()
    return {"sessions": n, "each": grown / n, "before": Spread(rates).median,
            "beside": Spread(beside).median, "rounds_before": rates, "rounds_beside": beside}

"""Delivery by MX, what is particular to us: TLS that is only welcome, address literals, validation,
sites that rest. (What the world's servers and name servers do stands in 302 to 306.)"""
import os
import re

from lab import badsink as bad
from lab.badsink import Talk
from lab.lab import check, equal
from lab.raw import wait_for
from lab.world import World, post, wait_outcome

GOOD, BUSY, NEAR = 20, 21, 22
BROKEN = {"garbage": bad.tls_garbage, "close": bad.tls_close, "old": bad.tls_old,
          "alert": bad.alert(40), "reset": Talk.reset, "hang": bad.tls_hang}
TLS = {name: 30 + i for i, name in enumerate(BROKEN)}
INJECTED = 40
HOUR = {"retry": {"first": "1h", "max": "1h", "jitter": 0}}


def setup(lab):
    w = World(lab, records=[*World.mx("good", GOOD), *World.mx("busy", BUSY), *World.mx("near", NEAR),
                            *World.mx("injected", INJECTED),
                            *(r for name, n in TLS.items() for r in World.mx(f"tls-{name}", n))])
    w.good, w.near = w.sink(GOOD), w.sink(NEAR)
    w.broken = {name: w.sink(TLS[name], {"tls": what}) for name, what in BROKEN.items()}
    return w


def test_tls_that_fails_is_done_without(lab, w):
    """Where it is only welcome: the same host is asked again, in clear, and at the same attempt."""
    s = w.signet({"delivery": {"tls": "1s"}})
    ids = {name: post(s, f"you@tls-{name}.example", subject=f"broken {name}") for name in BROKEN}
    for name, mid in ids.items():
        e = wait_outcome(s, mid, "delivered")
        equal((e["tls"], e["attempt"]), ("", 1), f"{name}: in clear, at once")
        equal(w.broken[name].find(f"Subject: broken {name}\r\n").tls, None, f"{name}: in clear")
        said = [a for a in s.events("attempt") if f"tls-{name}" in a["remote"]]
        equal([(a["phase"], a["result"]) for a in said], [("tls", "without TLS then")], name)


def test_an_attack_on_tls_is_not_done_without(lab, w):
    """Bytes behind the reply to STARTTLS are no failure of TLS but somebody in between."""
    sink = w.sink(INJECTED, {"starttls": b"220 go\r\n250 injected\r\n250 ok\r\n"})
    s = w.signet(HOUR)
    mid = post(s, "you@injected.example")
    wait_outcome(s, mid, "deferred")
    equal((sink.sessions, sink.asked, sink.messages), (1, [], []), "one connection, no recipient named")


def test_tls_demanded(lab, w):
    s = w.signet(HOUR, route={"tls": "must"})
    mid = post(s, "you@tls-close.example", subject="demanded")
    wait_outcome(s, mid, "deferred")
    check(not any(b"Subject: demanded" in m.data for m in w.broken["close"].messages), "not in clear")


def test_address_literal(lab, w):
    """It is its own host; the guard looks at it like at any other."""
    s = w.signet(HOUR)
    mid = post(s, f"you@[{w.ip(GOOD)}]", subject="literal")
    e = wait_outcome(s, mid, "delivered")
    equal(w.good.find("Subject: literal\r\n").rcpts, [f"you@[{w.ip(GOOD)}]"], "recipient")
    equal(e["remote"], f"{w.ip(GOOD)}:25", "remote")
    s = w.signet(HOUR, route={"allow": None})
    mid = post(s, f"you@[{w.ip(NEAR)}]")
    e = wait_outcome(s, mid, "deferred")
    check("loopback" in e["reply"] and "allow" in e["reply"], "it says why, and what to do", e)
    equal(w.near.sessions, 0, "connections")


def test_an_idle_connection_is_used_again(lab, w):
    s = w.signet({"delivery": {"idle": "1m"}})
    before = w.good.sessions
    for i in range(3):
        wait_outcome(s, post(s, f"r{i}@good.example"), "delivered")
    equal(w.good.sessions - before, 1, "sessions")


def test_who_breaks_off_is_left_alone(lab, w):
    """421 before anything was taken is the site's trouble: the others do not try it, too."""
    sink = w.sink(BUSY, {"mail": "421 4.7.0 too busy"})
    s = w.signet(HOUR)
    wait_outcome(s, post(s, "r@busy.example"), "deferred")
    for i in range(5):
        post(s, f"r{i}@busy.example")
    wait_outcome(s, post(s, "beside@good.example"), "delivered")
    equal(sink.sessions, 1, "sessions")
    wait_for("the others to be kept", 20, lambda: s.count()["messages"] == 6)


def dnssec(s):
    return s.ctl("status")["dnssec"]


def test_validation_works(lab, w):
    s = w.signet()
    e = s.wait_event("dns")[0]
    equal((e["validation"], e["why"]), ("works", ""), "event")
    equal(dnssec(s), "works", "status")


def test_validation_is_off(lab, w):
    o = w.options()
    o["dns"]["trust_anchor"] = ""
    s = lab.signet(o)
    equal(s.wait_event("dns")[0]["validation"], "off", "event")
    check(dnssec(s).startswith("off: "), "status", dnssec(s))
    wait_outcome(s, post(s, "you@good.example"), "delivered")


def test_validation_is_broken(lab, w):
    """With another root's key nothing is believed: mail waits, and it is said what to look at."""
    o = w.options(HOUR)
    key = os.path.join(lab.make_dir("anchor"), "root.key")
    with open(key, "w", encoding="ascii") as f:
        f.write(". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\n")
    o["dns"]["trust_anchor"] = key
    s = lab.signet(o)
    e = s.wait_event("dns", seconds=20)[0]
    equal(e["validation"], "broken", "event")
    check("trust_anchor" in e["why"] and dnssec(s).startswith("broken: "), "what to do", e, dnssec(s))
    e = wait_outcome(s, post(s, "you@good.example"), "deferred")
    check("DNSSEC" in e["reply"], "why it waits", e)


def test_not_asked_without_need(lab):
    s = lab.signet()
    check(dnssec(s).startswith("not asked"), "status", dnssec(s))
    equal(s.events("dns"), [], "events")


def test_the_suggestion_of_init_is_one(lab):
    """Its commented route, with the comment signs taken away, is a configuration."""
    s = lab.signet(bare=True, start=False)
    d = os.path.join(lab.make_dir("init"), "data")
    s.run("init", "--data", d, "--hostname", "relay.example")
    path = os.path.join(d, "signet.conf")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    part = re.search(r'# route "world" \{\n(?:# .*\n)*', text).group(0)
    part = part[:part.index("# }\n") + 4]
    with open(path, "w", encoding="utf-8") as f:
        f.write(text.replace(part, part.replace("# ", "")))
    s.run("config", "check", "--config", path)
    dump = s.run("config", "dump", "--config", path)
    check('type = "mx"' in dump, "the route", dump)

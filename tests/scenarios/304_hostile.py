"""Next hops that misbehave, found by MX: one domain, one address, one behaviour each, all at once.
Every one ends in the right outcome, in bounded time and memory; mail for a neighbour goes on."""
import copy
import json
import os
import re
import ssl
import threading
import time

from lab import badsink as bad
from lab.badsink import Talk
from lab.lab import check, equal
from lab.peers import make_cert
from lab.raw import wait_for
from lab.world import World, memory, outcomes, post, wait_bounce, wait_outcome

TIMEOUT = 240
GOOD = 20
FIRST = 30                    # the first of the bad addresses

# Text that wants to be more than text: a line of the log, a header of the bounce, a terminal's colour.
POISON = (b"5.1.1 no\x00body \x1b[31mhere\x1b[0m\x0b\x0cX-Injected: yes\x7f \xff\xfe \xe2\x80\xa8 \"q\" \\ "
          b"%s%n =?utf-8?q?=0d=0aX-Injected:_yes?= <b>")
HANG, DEAF, CLOSE, RESET = Talk.hang, Talk.deaf, Talk.close, Talk.reset
BIG = "x" * 70 + "\r\n"

# name: (behaviour, what becomes of the message, more). later: it waits, to be tried again. maybe: it
# waits, and the log says that it may have arrived. bounced, delivered: as it says.
TABLE = {}


def row(name, behaviour, outcome, **more):
    assert name not in TABLE
    TABLE[name] = (behaviour, outcome, more)


for place in ("banner", "ehlo", "mail", "rcpt", "data", "dot"):
    lost = "maybe" if place == "dot" else "later"
    row(f"{place}-hang", {place: HANG}, lost)
    row(f"{place}-close", {place: CLOSE}, lost)
    row(f"{place}-reset", {place: RESET}, lost)
    row(f"{place}-421", {place: "421 4.3.2 going down"}, "later", code=421)
    row(f"{place}-451", {place: "451 4.3.0 not now"}, "later", code=451)
    row(f"{place}-endless", {place: bad.endless}, lost)
    row(f"{place}-million", {place: bad.million}, lost)
    row(f"{place}-endless-line", {place: bad.endless_line}, lost)
    row(f"{place}-drip", {place: bad.drip}, lost)
    row(f"{place}-garbage", {place: b"\x00\xff\xfe HTTP/1.1 200 OK\r\n\r\n"}, lost)
    row(f"{place}-code-999", {place: "999 what"}, lost)
    row(f"{place}-codes-differ", {place: "250-one\r\n550 two"}, lost)
    if place not in ("banner", "ehlo"):
        row(f"{place}-550", {place: "550 5.7.1 never"}, "bounced", code=550)
        row(f"{place}-poison", {place: b"550 " + POISON + b"\r\n"}, "bounced", code=550)
        row(f"{place}-lines", {place: b"550-5.1.1 no\r\n550-\r\n550-X-Injected: yes\r\n"
                                      b"550 5.1.1 end\r\n"}, "bounced", code=550)
        # A bare CR or LF ends no line of a reply, and begins none of ours.
        row(f"{place}-bare-cr", {place: b"550 5.1.1 no\rX-Injected: yes\r\n"}, lost)
        row(f"{place}-bare-lf", {place: b"550 5.1.1 no\nX-Injected: yes\r\n"}, lost)

row("connect-close", {"connect": CLOSE}, "later")
row("connect-reset", {"connect": RESET}, "later")
row("nobody-listens", None, "later")
row("banner-554", {"banner": "554 5.3.2 no mail here"}, "later")
row("ehlo-is-unknown", {"ehlo": ["500 5.5.1 what?"]}, "delivered")
row("starttls-hang", {"starttls": HANG}, "later")
row("starttls-close", {"starttls": CLOSE}, "later")
row("starttls-injection", {"starttls": b"220 go\r\n250 injected\r\n250 ok\r\n"}, "later")
row("rcpt-552", {"rcpt": "552 5.2.2 full"}, "bounced", code=552)
row("data-354-twice", {"data": "354 go\r\n354 go"}, "later")
row("data-is-250", {"data": "250 ok"}, "later")
# More than both sides' socket buffers can hold.
row("body-deaf", {"body": DEAF}, "later", body=BIG * 200000)
row("body-close", {"body": CLOSE}, "later", body=BIG * 60000)
row("body-reset", {"body": RESET}, "later", body=BIG * 60000)
row("body-552", {"body": lambda t: (t.send("552 5.3.4 too much"), t.hang())}, "bounced", code=552,
    body=BIG * 60000)
# Seen before our dot, it is no answer to it; a liar can say it later as well.
row("body-250-early", {"body": lambda t: (t.send("250 2.0.0 taken already"), t.hang())},
    "later or delivered", body=BIG * 60000)
for name, what in (("hang", HANG), ("close", CLOSE), ("reset", RESET), ("endless", bad.endless)):
    row(f"quit-{name}", {"quit": what}, "delivered")
for name, what in (("garbage", bad.tls_garbage), ("close", bad.tls_close), ("hang", bad.tls_hang),
                   ("half", bad.tls_half), ("old", bad.tls_old), ("alert", bad.alert(40)),
                   ("internal-error", bad.alert(80)), ("reset", RESET)):
    row(f"tls-{name}", {"tls": what}, "later", must=True)
    # Where TLS is only welcome, mail goes without rather than not at all.
    row(f"may-tls-{name}", {"tls": what}, "delivered", tls=True, clear=True)
row("tls-old-version", {}, "later", must=True, version=ssl.TLSVersion.TLSv1_1)
row("may-tls-old-version", {}, "delivered", tls=True, clear=True, version=ssl.TLSVersion.TLSv1_1)
# Under must-verify: the name in the certificate, who signed it, when.
row("verify", {}, "delivered", verify="mx0.verify.example")
row("verify-stranger", {}, "later", verify=None)
row("verify-other-name", {}, "later", verify="mx0.other.example")
row("verify-expired", {}, "later", verify="mx0.verify-expired.example", expired=True)

DOMAINS = {name: FIRST + i for i, name in enumerate(TABLE)}


def setup(lab):
    assert FIRST + len(TABLE) < 250, "no address left"
    w = World(lab, records=[
        *World.mx("good", GOOD), *World.mx("mixed", FIRST + len(TABLE)),
        *World.mx("often", FIRST + len(TABLE) + 1),
        *(f"hangs{i} IN MX 10 mx.hangs{i}" for i in range(40)),
        *(f"mx.hangs{i} IN A {{net}}.{FIRST + len(TABLE) + 2}" for i in range(40)),
        *(r for name, n in DOMAINS.items() for r in World.mx(name, n))])
    w.good = w.sink(GOOD)
    w.known = os.path.join(lab.make_dir("known"), "known.pem")
    for name, (behaviour, _, more) in TABLE.items():
        if behaviour is not None:
            w.sink(DOMAINS[name], copy.deepcopy(behaviour), context=context(lab, w, more),
                   tls=name.startswith(("tls-", "starttls-", "verify")) or more.get("tls"))
    return w


def sixty_days_ago(lab):
    """The environment of a program that makes a certificate which is no longer good."""
    return lab.clock(-60 * 86400)[0]


def context(lab, w, more):
    """What the row says about TLS; None: any self-signed certificate."""
    if "version" in more:
        return bad.server_context(ciphers="DEFAULT@SECLEVEL=0", minimum_version=ssl.TLSVersion.TLSv1,
                                  maximum_version=more["version"])
    if not more.get("verify"):
        return None
    cert, key = make_cert(lab.make_dir("cert"), more["verify"],
                          env=sixty_days_ago(lab) if more.get("expired") else None)
    with open(cert, encoding="utf-8") as f, open(w.known, "a", encoding="utf-8") as known:
        known.write(f.read())
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    c.load_cert_chain(cert, key)
    return c


def options(w):
    must = [f"{n}.example" for n, (_, _, more) in TABLE.items() if more.get("must")]
    quick = {k: "4s" for k in ("connect", "greeting", "ehlo", "tls", "mail", "rcpt", "data", "body",
                               "quit", "idle")}
    o = w.options({"delivery": {**quick, "dot": "4s"},
                   # One attempt each: what is put off stays so.
                   "retry": {"first": "1h", "max": "1h", "jitter": 0}})
    world = o[("route", "world")]
    o[("route", "must")] = {**world, "domains": must, "tls": "must"}
    o[("route", "verify")] = {**world, "tls": "must-verify", "ca_file": w.known,
                              "domains": [f"{n}.example" for n, (_, _, m) in TABLE.items()
                                          if "verify" in m]}
    return o


class Neighbour(threading.Thread):
    """Mail for a good site, one message after the other, as long as the others misbehave."""

    def __init__(self, s):
        super().__init__(daemon=True)
        self.s, self.ids, self.ended, self.error = s, [], threading.Event(), None

    def run(self):
        try:
            with self.s.login() as c:
                while not self.ended.wait(0.05):
                    self.ids.append(post(self.s, "you@good.example", connection=c))
        except Exception as e:  # pylint: disable=broad-except  # told by the test
            self.error = e

    def end(self):
        self.ended.set()
        self.join(20)


def seen(s, mid):
    """What the log says about the message, in the words of the table."""
    ends = {e["outcome"] for e in outcomes(s, mid)}
    if ends & {"bounced", "failed"}:
        return "bounced"
    if "delivered" in ends:
        return "delivered"
    if any("duplicate" in e["about"] for e in s.events("warning", id=mid)):
        return "maybe"
    return "later"


OUTER = {"from", "to", "date", "subject", "message-id", "mime-version", "content-type", "auto-submitted",
         "received", "in-reply-to", "references", "content-transfer-encoding", "return-path"}
PER_RCPT = {"original-recipient", "final-recipient", "action", "status", "remote-mta",
            "diagnostic-code", "last-attempt-date", "final-log-id", "will-retry-until"}


def reports(w, rows, who):
    """What was bounced is reported, with nothing in the report that the remote put there as more than
    text; what was not is not."""
    for name, (_, want, _) in rows.items():
        to = f"{who}@{name}.example"
        if want != "bounced":
            check(not any(f";{to}" in m.data.decode("latin-1").replace("; ", ";")
                          for m in w.home.messages), f"a report about {name}")
            continue
        b = wait_bounce(w, to)
        strange = {k.lower() for k in b.message.keys()} - OUTER
        check(not strange, f"{name}: fields of the report", strange)
        for block in b.rcpts:
            check({k.lower() for k in block.keys()} <= PER_RCPT, f"{name}: fields", block.keys())
        check(b.status(to).startswith("5."), f"{name}: the status", b.status(to))
        check("X-Injected" not in b.about, f"{name}: fields of the message", b.about.keys())
        check(not re.search(rb"[^\r\n\t\x20-\x7e]", b.data), f"{name}: control or 8-bit bytes", b.data)
        check(max(map(len, b.data.split(b"\r\n"))) <= 998, f"{name}: the lines", b.data)
        check(b"\nX-Injected" not in b.data.partition(b"message/")[0], f"{name}: no field", b.data)


def table(lab, w, rows, who):
    """One message to each of these rows, at the same time, and what became of it."""
    s = lab.signet(options(w))
    post(s, "you@good.example", subject=f"before {who}")
    w.good.find(f"Subject: before {who}\r\n")
    before, good = memory(s), len(w.good.messages)
    neighbour = Neighbour(s)
    neighbour.start()
    at = time.monotonic()
    with s.login() as c:
        ids = {name: post(s, f"{who}@{name}.example", more.get("body", "hello\r\n"), subject=name,
                          connection=c) for name, (_, _, more) in rows.items()}
    wait_for("a verdict on each", 60, lambda: all(outcomes(s, mid) for mid in ids.values()), 0.2)
    took = time.monotonic() - at
    neighbour.end()
    print(f"note: {len(rows)} behaviours in {took:.1f} s; {len(neighbour.ids)} messages to the "
          f"neighbour meanwhile; memory {before} -> {memory(s)} KiB", flush=True)
    wrong = [x for name in rows for x in judge(w, s, name, ids[name])]
    check(not wrong, f"{len(wrong)} wrong:\n" + "\n".join(wrong))
    check(not neighbour.error, "the neighbour", neighbour.error)
    wait_for("the neighbour's mail", 20, lambda: len(w.good.messages) >= good + len(neighbour.ids))
    check(memory(s) < before + 96 * 1024, "memory (KiB)", before, memory(s))
    reports(w, rows, who)
    for line in s.log_lines:
        check(not re.search(r"[\x00-\x1f\x7f-\x9f]", line), "control characters in the log", line)
        check("X-Injected" not in json.loads(line), "a field of a stranger's", line)
    return s


def judge(w, s, name, mid):
    """What is wrong with the row's end, if anything."""
    _, want, more = TABLE[name]
    said = outcomes(s, mid)
    attempts = [e for e in s.events("attempt") if f"{w.ip(DOMAINS[name])}:" in str(e)]
    got = seen(s, mid)
    if got not in want.split(" or "):
        yield f"{name}: wanted {want}, got {got}: {said} {attempts}"
    elif more.get("clear") and said[-1]["tls"]:
        yield f"{name}: over TLS"
    elif "code" in more and more["code"] not in {e.get("code") for e in said + attempts}:
        yield f"{name}: code {more['code']} is not in the log: {said} {attempts}"


def test_every_behaviour(lab, w):
    table(lab, w, TABLE, "you")


def test_every_behaviour_inside_tls(lab, w):
    """The same where the conversation is the same but encrypted."""
    rows = {}
    for name, (behaviour, want, more) in TABLE.items():
        if behaviour and not re.match(r"(may-)?tls-|starttls-|verify|ehlo-is-unknown", name):
            rows[name] = (behaviour, want, more)
            sink = w.sinks[DOMAINS[name]]
            sink.context = bad.default_context()
            sink.handshakes = 0
    s = table(lab, w, rows, "inside")
    for name in rows:
        if not name.startswith(("banner", "ehlo", "connect")):
            check(w.sinks[DOMAINS[name]].handshakes, f"{name}: was inside TLS", s.events("attempt"))


def test_each_recipient_for_itself(lab, w):
    """One transaction, every kind of answer: each recipient has its own."""
    answers = {"yes": None, "no": "550 5.1.1 nobody", "later": "450 4.2.1 busy", "full": "552 5.2.2 full",
               "enough": "552 5.5.3 too many", "also": None}
    w.sink(FIRST + len(TABLE), {f"rcpt {k}": [v] for k, v in answers.items() if v})
    s = lab.signet({**options(w), "retry": {"first": "300ms", "max": "1s", "jitter": 0}})
    to = {k: f"{k}@mixed.example" for k in answers}
    mid = post(s, list(to.values()), subject="mixed")
    for k, t in to.items():
        wait_for(f"the end of {k}", 20, lambda t=t: any(e["outcome"] != "deferred"
                                                        for e in outcomes(s, mid, t)))
    ends = {k: [e["outcome"] for e in outcomes(s, mid, t)] for k, t in to.items()}
    bounced = {k for k, o in ends.items() if o[-1] != "delivered"}
    equal(bounced, {"no", "full"}, "who is bounced")
    check(ends["yes"] == ends["also"] == ["delivered"], "who got it at once", ends)
    check(ends["later"][0] == ends["enough"][0] == "deferred", "who got it later", ends)
    got = w.sinks[FIRST + len(TABLE)].messages
    equal(sorted(t for m in got for t in m.rcpts), sorted(to[k] for k in to if k not in bounced),
          "each once")
    b = wait_bounce(w, to["no"])
    wait_for("both reports", 20, lambda: sum(b"mixed.example" in m.data for m in w.home.messages))
    check(b.status(to["no"]) == "5.1.1", "its status", b.data)


def test_a_host_that_ends_connections_often(lab, w):
    """421 in the middle of things, and the end without a word: nothing is lost, nothing is doubled."""
    talks = iter(range(10 ** 6))
    n = FIRST + len(TABLE) + 1

    def sometimes(talk):
        k = next(talks) % 7
        if k == 3:
            talk.close()
        return "421 4.7.0 too much of you" if k == 5 else "250 2.1.0 ok"

    w.sink(n, {"mail": sometimes})
    s = lab.signet({**options(w), "retry": {"first": "200ms", "max": "500ms", "jitter": 0}})
    with s.login() as c:
        ids = [post(s, f"r{i}@often.example", connection=c) for i in range(60)]
    for mid in ids:
        wait_for("delivery", 60, lambda m=mid: outcomes(s, m)
                 and outcomes(s, m)[-1]["outcome"] == "delivered")
    equal(sorted(m.rcpts[0] for m in w.sinks[n].messages),
          sorted(f"r{i}@often.example" for i in range(60)), "each once")


def test_more_hosts_that_hang_than_connections(lab, w):
    """The limit of all connections holds; and as long as a healthy site waits for its turn, hosts that
    are not ready for a message have seconds and not the minutes of the timeouts."""
    n = FIRST + len(TABLE) + 2
    hang = w.sink(n, {"connect": HANG})
    o = options(w)
    o["delivery"] = {**o["delivery"], "greeting": "10m", "connections": 30}
    s = lab.signet(o)
    with s.login() as c:
        ids = [post(s, f"you@hangs{i}.example", connection=c) for i in range(40)]
        wait_for("all connections in use", 20, lambda: len(hang.open) == 30)
        mid = post(s, "you@good.example", subject="beside forty", connection=c)
    w.good.find("Subject: beside forty\r\n", 60)
    wait_outcome(s, mid, "delivered")
    check(hang.most <= 40, "connections at once, those just ended included", hang.most)
    check({e["outcome"] for i in ids for e in outcomes(s, i)} == {"deferred"}, "the others wait")

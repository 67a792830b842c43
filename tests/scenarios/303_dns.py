"""Name servers in trouble, and ones that lie: the mail waits, none of it is bounced, and what others
get goes on. The honest part of the world is NSD; what lies stands before it (tests/lab/baddns.py)."""
import re
import time

from lab import baddns as dns
from lab.baddns import BadDns
from lab.lab import check, equal
from lab.nsd import Zone
from lab.raw import wait_for
from lab.world import DNS_PORT, World, memory, outcomes, post, wait_outcome

TIMEOUT = 240
LIAR, GOOD, MANY = 54, 20, 21
BELOW = ".bad.example"


def chain(q):
    """Aliases without end, each a new one."""
    n = int(q.name.partition(".")[0].rpartition("-")[2]) if "chain-" in q.name.replace("long-chain.", "") else 0
    return q.reply([dns.cname(q.wire, f"chain-{n + 1}.links" + BELOW)])


def slow(q):
    time.sleep(0.5)
    return q.reply([dns.mx(q.wire, 10, "mx0.good.example")])


def odd(host):
    return lambda q: q.reply([dns.mx(q.wire, 10, host)])


def hosts(n, first=0):
    """n MX records of one preference each, all at the same place in the end."""
    return lambda q: q.fits(q.reply([dns.mx(q.wire, i, f"h{i}.many{BELOW}") for i in range(first, n)]))


def two_answers(q):
    """A forger was quicker than the truth, with the wrong number."""
    return [dns.wrong_id(q), q.reply([dns.mx(q.wire, 10, "mx0.good.example")])]


# name below bad.example: (what the server says to the question for MX, what becomes of the mail).
TABLE = {
    "servfail": (dns.rcode(dns.SERVFAIL), "waits"),
    "refused": (dns.rcode(dns.REFUSED), "waits"),
    "formerr": (dns.rcode(dns.FORMERR), "waits"),
    "notimp": (dns.rcode(dns.NOTIMP), "waits"),
    "rcode15": (dns.rcode(15), "waits"),
    "silence": (dns.silence, "waits"),
    "wrong-id": (dns.wrong_id, "waits"),
    "wrong-question": (dns.wrong_question, "waits"),
    "no-question": (dns.no_question, "waits"),
    "query-back": (dns.query_back, "waits"),
    "cut": (dns.cut, "waits"),
    "only-header": (dns.only_header, "waits"),
    "many-counts": (dns.many_counts, "waits"),
    "noise": (dns.noise, "waits"),
    "noise-with-id": (dns.noise_with_id, "waits"),
    "tc": (dns.truncated_always, "waits"),
    "rdata-empty": (dns.mx_rdata(b""), "waits"),
    "rdata-one": (dns.mx_rdata(b"\0"), "waits"),
    "rdata-no-name": (dns.mx_rdata(b"\0\x0a"), "waits"),
    "rdata-short-label": (dns.mx_rdata(b"\0\x0a\x3fabc"), "waits"),
    "rdata-too-long": (dns.mx_rdata(b"\0\x0a\x01a\0", length=500), "waits"),
    "rdata-pointer-out": (dns.mx_rdata(b"\0\x0a\xff\xff"), "waits"),
    "rdata-pointer-loop": (dns.pointer_loop, "waits"),
    "cname-self": (lambda q: q.reply([dns.cname(q.wire, q.name)]), "waits"),
    "cname-loop": (lambda q: q.reply([dns.cname(q.wire, "cname-loop2" + BELOW)]), "waits"),
    "long-chain": (chain, "waits"),
    "bogus": (None, "waits"),       # NSD's, signed by nobody
    "host-servfail": (lambda q: q.reply([dns.mx(q.wire, 10, "h.servfail" + BELOW)]), "waits"),
    "host-short": (lambda q: q.reply([dns.mx(q.wire, 10, "h.short" + BELOW)]), "waits"),
    "hosts-1000": (hosts(1000), "delivered"),
    "slow": (slow, "delivered"),
    # Who is sent on has not heard that there is nothing (RFC 2308 2.2).
    "referral": (dns.referral, "waits"),
    "answer-for-another": (dns.other_name, "bounced"),
    # No host has such a name, and the domain's own server says it: that is for good.
    "odd-blank": (odd(b"\x09mx x.evil\0"), "bounced"),
    "odd-newline": (odd(b"\x10a\r\nX-Injected: b\0"), "bounced"),
    "odd-escape": (odd(b"\x05\x1b[31m\x07example\0"), "bounced"),
    "odd-nul": (odd(b"\x05a\0b\0c\0"), "bounced"),
    "odd-dot": (odd(b"\x0bmx.example.\x03com\0"), "bounced"),
    "forger-first": (two_answers, "delivered"),
}


def setup(lab):
    w = World(lab, records=[*World.mx("good", GOOD), "*.good IN MX 10 mx0.good"], zones=[
        Zone("bogus.example.", ["@ IN MX 10 mx0", "mx0 IN A {net}.20"], signed=True,
             bogus=[("MX\t10 mx0", "MX\t11 mx0")]),
        Zone("bad.example.")])
    w.good, w.many = w.sink(GOOD), w.sink(MANY)
    w.liar = BadDns(w.ip(LIAR), DNS_PORT, (w.nsd.address, DNS_PORT))
    lab.at_end(w.liar.stop)
    b = w.liar.behaviour
    for name, (fn, _) in TABLE.items():
        if fn:
            b[name + BELOW, dns.MX] = fn
    b["*.links" + BELOW] = chain
    b["cname-loop2" + BELOW] = lambda q: q.reply([dns.cname(q.wire, "cname-loop" + BELOW)])
    b["h.servfail" + BELOW] = dns.rcode(dns.SERVFAIL)
    b["h.short" + BELOW] = lambda q: q.reply([dns.record(q.wire, q.type, b"\x7f\0\0")])
    for i in range(1000):
        b[f"h{i}.many" + BELOW] = lambda q: q.reply(
            [dns.a(q.wire, w.ip(MANY))] if q.type == dns.A else [])
    return w


def test_trouble_is_no_bounce(lab, w):
    s = w.signet({"dns": {"forward": [f"{w.ip(LIAR)}:{DNS_PORT}"], "trust_anchor": w.trust_anchor,
                          "timeout": "4s"},
                  "retry": {"first": "1h", "max": "1h", "jitter": 0}})
    post(s, "you@good.example")
    w.good.wait(1)
    before, at = memory(s), time.monotonic()
    ids = {n: post(s, f"you@{n}{'.example' if n == 'bogus' else BELOW}", subject=n) for n in TABLE}
    good = [post(s, "you@good.example", subject=f"good {i}") for i in range(20)]
    # Each has an end: a verdict, or a reason in the log why it waits.
    wait_for("a word about each", 60, lambda: all(outcomes(s, m) for m in ids.values()) or None, 0.1)
    for mid in good:
        wait_outcome(s, mid, "delivered")
    print(f"note: {len(TABLE)} kinds of trouble in {time.monotonic() - at:.1f} s, "
          f"{len(w.liar.asked)} questions, memory {before} -> {memory(s)} KiB", flush=True)
    wrong = []
    for name, (_, want) in TABLE.items():
        said = [e["outcome"] for e in outcomes(s, ids[name])]
        got = {"deferred": "waits", "failed": "bounced"}.get(said[-1], said[-1])
        if got != want:
            wrong.append(f"{name}: wanted {want}, got {said}: {outcomes(s, ids[name])}")
    check(not wrong, f"{len(wrong)} wrong:\n" + "\n".join(wrong))
    for line in s.log_lines:
        check(not re.search(r"[\x00-\x1f\x7f-\x9f]|^X-", line), "a stranger's bytes in the log", line)
    check(not w.liar.errors, "the liar's own trouble", w.liar.errors)
    check(memory(s) < before + 64 * 1024, "memory (KiB)", before, memory(s))
    check(len(w.many.asked) == 1, "one delivery to the thousand hosts", w.many.asked)
    asked = sum(n.startswith("h") and ".many." in n for n, _ in w.liar.asked)
    check(asked <= 200, "questions for a thousand hosts", asked)


def test_a_server_that_comes_back(lab, w):
    """What waited for the name service goes when it is there again."""
    w.liar.behaviour["later" + BELOW, dns.MX] = dns.rcode(dns.SERVFAIL)
    s = w.signet({"dns": {"forward": [f"{w.ip(LIAR)}:{DNS_PORT}"], "trust_anchor": w.trust_anchor,
                          "timeout": "2s"}})
    mid = post(s, "you@later" + BELOW)
    wait_outcome(s, mid, "deferred")
    w.liar.behaviour["later" + BELOW, dns.MX] = lambda q: q.reply(
        [dns.mx(q.wire, 10, "mx0.good.example")])
    wait_outcome(s, mid, "delivered", seconds=40)


def test_a_dead_server_beside_a_live_one(lab, w):
    s = w.signet({"dns": {"forward": [f"{w.ip(99)}:{DNS_PORT}", f"{w.nsd.address}:{DNS_PORT}"],
                          "trust_anchor": w.trust_anchor, "timeout": "20s"}})
    for i in range(3):
        wait_outcome(s, post(s, f"you@b{i}.good.example"), "delivered")


def test_no_server_at_all(lab, w):
    """Nobody answers at that address: the mail waits, the relay lives."""
    s = w.signet({"dns": {"forward": [f"{w.ip(99)}:{DNS_PORT}"], "trust_anchor": w.trust_anchor,
                          "timeout": "2s"}})
    mid = post(s, "you@good.example")
    e = wait_outcome(s, mid, "deferred")
    check(e["code"] == 0, "nobody's code", e)
    equal(s.count()["messages"], 1, "it is kept")


def test_many_silent_domains_hold_up_nobody(lab, w):
    """More than may be looked up at once, and none of them is answered: a healthy one waits for the
    timeout of some, not of all."""
    w.liar.behaviour["*.silent" + BELOW] = dns.silence
    s = w.signet({"dns": {"forward": [f"{w.ip(LIAR)}:{DNS_PORT}"], "trust_anchor": w.trust_anchor,
                          "timeout": "3s"},
                  "retry": {"first": "1s", "max": "1h", "factor": 10000, "jitter": 0}})
    with s.login() as c:
        for i in range(400):
            post(s, f"you@d{i}.silent{BELOW}", connection=c)
        at = time.monotonic()
        for i in range(20):
            post(s, f"you@g{i}.good.example", subject=f"beside {i}", connection=c)
    for i in range(20):
        w.good.find(f"Subject: beside {i}\r\n", 40)
    print(f"note: beside 400 silent domains: {time.monotonic() - at:.1f} s", flush=True)

"""Delivery by MX to other people's mail servers, and what the DNS may say about a domain."""
import random

from lab.lab import check, equal
from lab.nsd import Zone
from lab.raw import check_reply, wait_for
from lab.world import World, outcomes, post, wait_bounce, wait_outcome

TIMEOUT = 240
SELF = 3
LIVE, DEAD, SHARED, BARE, WORSE, NEAR, GREY = range(20, 27)     # DEAD: nobody listens there

RECORDS = [
    # Several, in an order of preference that is not that of the zone.
    "two IN MX 20 mx1.two", "two IN MX 10 mx0.two", f"mx0.two IN A {{net}}.{DEAD}",
    f"mx1.two IN A {{net}}.{LIVE}",
    "many IN MX 10 mx0.two", "many IN MX 10 mx0.many", "many IN MX 30 mx.worse",
    f"mx0.many IN A {{net}}.{LIVE}",
    # Two domains, one set of hosts, said in another order and in other letters.
    "shared-a IN MX 10 mx.shared", "shared-a IN MX 10 MX2.shared",
    "shared-b IN MX 5 mx2.Shared", "shared-b IN MX 5 mx.shared",
    f"mx.shared IN A {{net}}.{SHARED}", f"mx2.shared IN A {{net}}.{SHARED}",
    # Without MX: the domain's own address.
    f"bare IN A {{net}}.{BARE}",
    # It wants no mail (RFC 7505).
    "null IN MX 0 .",
    # There, but without anything that takes mail.
    "empty IN TXT nothing",
    # RFC 5321 5.1: the name may be an alias.
    "alias IN CNAME two",
    # The host may not (RFC 2181 10.3), but is.
    "hostalias IN MX 10 www.hostalias", f"www.hostalias IN CNAME mx1.two",
    # A host that does not exist beside one that does; alone.
    "half IN MX 10 gone.half", "half IN MX 20 mx1.two",
    "gone IN MX 10 gone.half",
    # We are in the list: nothing at our level or worse.
    "ours IN MX 10 mx0.two", "ours IN MX 20 signet.test.", "ours IN MX 20 mx.worse",
    "ours IN MX 30 mx.worse",
    "loop IN MX 10 SIGNET.test.", "loop IN MX 20 mx.worse",
    f"mx.worse IN A {{net}}.{WORSE}",
    # Not to be connected to, unless a route allows it.
    f"near IN MX 10 mx.near", f"mx.near IN A {{net}}.{NEAR}",
    "zero IN MX 10 mx.zero", "mx.zero IN A 0.0.0.0",
    "mapped IN MX 10 mx.mapped", f"mx.mapped IN AAAA ::ffff:{{net}}.{NEAR}",
    # An address where a name should be.
    f"literal IN MX 10 {{net}}.{LIVE}.",
    # Ourselves, by a name that is not ours.
    "mirror IN MX 10 mx.mirror", f"mx.mirror IN A {{net}}.{SELF}",
    "grey IN MX 10 mx.grey", f"mx.grey IN A {{net}}.{GREY}",
    # A wildcard.
    "*.wild IN MX 10 mx1.two",
]


def setup(lab):
    w = World(lab, receivers=("postfix", "exim", "opensmtpd", "haraka"), records=RECORDS, zones=[
        Zone("signed.example.", ["@ IN MX 10 mx", f"mx IN A {{net}}.{LIVE}"], signed=True),
        Zone("plain.example.", ["@ IN MX 10 mx", f"mx IN A {{net}}.{LIVE}"])])
    w.live, w.shared, w.bare = w.sink(LIVE), w.sink(SHARED), w.sink(BARE)
    w.worse, w.near = w.sink(WORSE), w.sink(NEAR)
    w.grey = w.sink(GREY, {"rcpt": ["450 4.7.1 greylisted"]})
    w.s = w.signet({
        ("listener", "smtp"): {"address": [f"{w.ip(SELF)}:{w.port}"], "tls": "starttls"},
        ("route", "strict"): {"domains": ["near.example", "zero.example", "mapped.example"],
                              "type": "mx", "port": w.port, "tls": "may"}})
    return w


def bodies():
    """Everything that a body may hold and a receiver must not change."""
    rng = random.Random(302)
    yield "dots", b".\r\n..\r\n.x\r\n\r\n.\r\nend\r\n"
    yield "from", b"From here on\r\n>From there\r\n from\r\n\tx\r\n"
    yield "long lines", b"x" * 990 + b"\r\n" + b"y" * 998 + b"\r\n"
    yield "blanks", b"  \r\n\t\r\nends in blanks  \t \r\n\r\n\r\n"
    yield "eight bits", "gr\u00fcn \u2603 \U0001f600\r\n".encode() + bytes(range(0xa0, 0x100)) + b"\r\n"
    yield "controls", bytes(b for b in range(1, 32) if b not in (10, 13)) + b"\x7f\r\n"
    yield "large", b"".join(bytes(rng.choices(range(33, 127), k=76)) + b"\r\n" for _ in range(8000))


def receiver(name):
    def test(lab, w):
        r, s, want = getattr(w, name), w.s, {}
        to = [f"A.b+c@{name}.example", f"two@{name}.example"]
        with s.login() as c:
            for what, body in bodies():
                # Recipients of one message: one transaction, several files at some of them.
                mid = post(s, to, body, f"{name} {what}", params=" BODY=8BITMIME", connection=c)
                want[mid] = (what, body)
        for mid, (what, body) in want.items():
            for t in to:
                e = wait_outcome(s, mid, "delivered", t)
                check(e["tls"], f"{what}: the log", e)
                equal(len(outcomes(s, mid, t)), 1, f"{what}: attempts")
            subject = f"Subject: {name} {what}\r\n".encode()
            ours = wait_for(f"{what} at {name}", 30, lambda sub=subject: (
                m := [m for m in r.messages() if sub in m.data])
                and sum(len(x.rcpts) for x in m) == 2 and m)
            for m in ours:
                equal(m.sender, s.sender, f"{what}: the sender")
                check(m.body == body, f"{what}: the body", m.body[:300], body[:300])
                check(m.tls, f"{what}: over TLS", m.received)
            # A local part's letters are its domain's business: some fold them at home.
            equal(sorted(x.lower() for m in ours for x in m.rcpts), [x.lower() for x in to],
                  f"{what}: recipients")
    return test


def tests():
    for name in ("postfix", "exim", "opensmtpd", "haraka"):
        yield f"test_{name}", receiver(name)


def delivered_at(w, sink, domain, where=None):
    mid = post(w.s, f"you@{domain}.example", subject=f"at {domain}")
    m = sink.find(f"Subject: at {domain}\r\n")
    equal(m.rcpts, [f"you@{domain}.example"], "the recipient, as it was given")
    return wait_outcome(w.s, mid, "delivered")


def refused(w, mid, to, status):
    """It ends at once, with this status, and is reported to the sender."""
    e = wait_for(f"a verdict on {to}", 30, lambda: outcomes(w.s, mid, to))
    check(e[0]["outcome"] in ("failed", "bounced") and status in e[0]["reply"], "the log", e)
    b = wait_bounce(w, to)
    equal(b.status(to), status, "the status")
    return b


def bounced(w, to, status):
    return refused(w, post(w.s, to, subject=f"for {to}"), to, status)


def test_the_next_when_the_first_is_dead(lab, w):
    e = delivered_at(w, w.live, "two")
    check(f".{LIVE}:" in e["remote"], "the second", e)


def test_equal_preference_dead_and_alive(lab, w):
    """Whichever is drawn first, it arrives; and never at the worse one while a better one lives."""
    for i in range(6):
        post(w.s, f"r{i}@many.example", subject=f"equal {i}")
    for i in range(6):
        w.live.find(f"Subject: equal {i}\r\n")
    check(not any("equal" in str(m.head) for m in w.worse.messages), "not the worse one")


def test_one_set_of_hosts_is_one_site(lab, w):
    """Connections are used for both domains, and their limit counts for both."""
    with w.s.login() as c:
        for i in range(60):
            post(w.s, f"r{i}@shared-{'ab'[i % 2]}.example", subject=f"shared {i}", connection=c)
    w.shared.wait(60, 40)
    check(w.shared.most <= 10, "connections at once", w.shared.most)
    by = {}
    for m in w.shared.messages:
        by.setdefault(m.session, set()).add(m.rcpts[0].partition("@")[2])
    check(any(len(d) == 2 for d in by.values()), "a connection that served both", by)


def test_without_mx_the_address(lab, w):
    delivered_at(w, w.bare, "bare")


def test_an_alias_is_followed(lab, w):
    delivered_at(w, w.live, "alias")


def test_a_host_that_is_an_alias(lab, w):
    delivered_at(w, w.live, "hostalias")


def test_a_host_that_is_not_there(lab, w):
    delivered_at(w, w.live, "half")


def test_wildcard(lab, w):
    delivered_at(w, w.live, "deep.in.the.wild")


def test_signed_and_unsigned(lab, w):
    delivered_at(w, w.live, "signed")
    delivered_at(w, w.live, "plain")


def test_null_mx(lab, w):
    b = bounced(w, "you@null.example", "5.1.10")
    check("accept" in b.text, "says why", b.text)


def test_no_such_domain(lab, w):
    bounced(w, "you@nowhere.example", "5.1.2")


def test_domain_without_anything(lab, w):
    bounced(w, "you@empty.example", "5.4.4")


def test_our_own_name_cuts_the_list(lab, w):
    """What is better is tried (and dead here), what is no better never: it would come back."""
    mid = post(w.s, "you@ours.example", subject="ours")
    wait_outcome(w.s, mid, "deferred")
    check(not any("Subject: ours" in str(m.head) for m in w.worse.messages), "not at the worse one")
    w.s.run("queue", "cancel", mid, check=False)


def test_we_are_the_best(lab, w):
    bounced(w, "you@loop.example", "5.4.6")
    equal([m for m in w.worse.messages if b"loop.example" in m.data], [], "the worse one got nothing")


def test_a_loop_by_another_name(lab, w):
    """We come back to ourselves as a stranger, who may not send."""
    b = bounced(w, "you@mirror.example", "5.7.0")
    check("530" in b.field("you@mirror.example", "Diagnostic-Code"), "our own answer", b.data)


def test_greylisting(lab, w):
    mid = post(w.s, "you@grey.example", subject="grey")
    w.grey.find("Subject: grey\r\n")
    wait_outcome(w.s, mid, "delivered")
    equal([e["outcome"] for e in outcomes(w.s, mid)], ["deferred", "delivered"], "two attempts")


def test_a_real_refusal(lab, w):
    to = "refused@postfix.example"
    mid = post(w.s, ["taken@postfix.example", to], subject="one is refused")
    b = refused(w, mid, to, "5.1.1")
    w.postfix.find("Subject: one is refused\r\n")
    check("nobody of that name" in b.field(to, "Diagnostic-Code"), "Postfix's words", b.data)
    equal(len(b.rcpts), 1, "the other one is not in the report")
    check(outcomes(w.s, mid, "taken@postfix.example")[-1]["outcome"] == "delivered", "the other")


def test_too_large_for_exim(lab, w):
    """Its EHLO says so (RFC 1870); it is not even tried."""
    to = "you@exim.example"
    mid = post(w.s, to, (b"y" * 76 + b"\r\n") * 30000, subject="large")
    refused(w, mid, to, "5.3.4")


def test_utf8_addresses(lab, w):
    """Postfix and Haraka take them; OpenSMTPD in Debian 12 does not know SMTPUTF8."""
    for name in ("postfix", "haraka"):
        post(w.s, f"j\u00fcrgen@{name}.example", subject=f"utf8 {name}", params=" SMTPUTF8")
        m = getattr(w, name).find(f"Subject: utf8 {name}\r\n")
        equal(m.rcpts, [f"j\u00fcrgen@{name}.example"], "the recipient")
    to = "j\u00fcrgen@opensmtpd.example"
    mid = post(w.s, to, subject="utf8 opensmtpd", params=" SMTPUTF8")
    e = wait_for("the verdict", 20, lambda: [e for e in outcomes(w.s, mid)
                                             if e["outcome"] != "deferred"])
    check("5.6.7" in e[0]["reply"], "bounced for that", e)


def test_near_addresses_are_not_connected_to(lab, w):
    """A stranger's MX may not make us talk to our own machine."""
    for domain in ("near", "zero", "mapped"):
        mid = post(w.s, f"you@{domain}.example")
        wait_for(f"a verdict on {domain}", 20, lambda m=mid: outcomes(w.s, m))
        check(outcomes(w.s, mid)[0]["outcome"] != "delivered", "not delivered", outcomes(w.s, mid))
    equal(w.near.sessions, 0, "connections to the near one")


def test_an_address_in_place_of_a_name(lab, w):
    mid = post(w.s, "you@literal.example", subject="literal")
    wait_for("a verdict", 20, lambda: outcomes(w.s, mid))
    check(outcomes(w.s, mid)[0]["outcome"] != "delivered", "an address is no host", outcomes(w.s, mid))


def test_an_address_literal(lab, w):
    """RFC 5321 4.1.3: no name is asked for, and the guard stands before it as before any address."""
    mid = post(w.s, f"you@[{w.ip(LIVE)}]", subject="to an address")
    m = w.live.find("Subject: to an address\r\n")
    equal(m.rcpts, [f"you@[{w.ip(LIVE)}]"], "the recipient")
    wait_outcome(w.s, mid, "delivered")


def test_recipients_of_many_domains(lab, w):
    """One message, one copy for each site; a bad one spoils nothing."""
    to = ["a@two.example", "b@alias.example", "c@bare.example", "d@null.example", "e@postfix.example"]
    mid = post(w.s, to, subject="to many domains")
    for t in to:
        wait_for(f"a verdict on {t}", 30, lambda t=t: [
            e for e in outcomes(w.s, mid, t) if e["outcome"] != "deferred"])
    equal({t: outcomes(w.s, mid, t)[-1]["outcome"] == "delivered" for t in to},
          {t: t[0] != "d" for t in to}, "outcomes")
    w.postfix.find("Subject: to many domains\r\n")


def test_a_name_in_other_letters(lab, w):
    """Domains are compared without case, and in A-labels."""
    with w.s.login() as c:
        check_reply(c.message(w.s.sender, "You@TWO.Example", f"From: {w.s.sender}\r\n"
                              "Subject: in capitals\r\n\r\nx\r\n"), "250 *")
    w.live.find("Subject: in capitals\r\n")

"""Handing on: aiosmtpd and a real Postfix as smart hosts, and next hops that misbehave."""
import os
import re
import time

from lab.lab import check, equal, reply
from lab.peers import make_cert
from lab.raw import wait_for

TIMEOUT = 240
# Tried again soon, so that a test can see it.
QUICK = {"first": "200ms", "max": "1s", "jitter": 0}


def route(port, tls="none", **more):
    return {("route", "capture"): None,
            ("route", "onward"): {"domains": ["*"], "type": "smarthost", "host": "127.0.0.1",
                                  "port": port, "tls": tls, **more},
            "retry": dict(QUICK)}


def password_file(lab, text):
    path = os.path.join(lab.make_dir("pw"), "password")
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
        f.write(text + "\n")
    return path


def message(s, body="hi\r\n", subject="onward", to="you@example.com"):
    return f"From: {s.sender}\r\nTo: {to}\r\nSubject: {subject}\r\n\r\n{body}"


def hand_over(s, to="you@example.com", body="hi\r\n", params="", **more):
    with s.login() as c:
        rcpts = [to] if isinstance(to, str) else to
        r = c.message(s.sender, rcpts, message(s, body, **more), params)
        reply(r, "250 2.0.0 Ok: queued as *")
        c.cmd("QUIT")
        return r.split()[-1]


def test_delivers_exactly_the_body(lab):
    h = lab.peer("smarthost")
    s = lab.signet(route(h.port))
    body = ".\r\n..\r\n.dot at the start\r\nlast line without trailing blank\r\n\r\n..end.\r\n"
    hand_over(s, body=body)
    m = h.wait(1)[0]
    equal(m.body, body.encode(), "the body's bytes")
    equal(m.sender, s.sender, "MAIL FROM")
    equal(m.rcpts, ["you@example.com"], "RCPT TO")
    check(re.match(rb"Received: from ", m.head), "Received is on top", m.head)
    s.wait_empty()


def test_several_recipients_in_one_transaction(lab):
    h = lab.peer("smarthost")
    s = lab.signet(route(h.port))
    to = [f"r{i}@example.com" for i in range(20)]
    hand_over(s, to)
    s.wait_empty()
    equal(len(h.messages), 1, "transactions")
    equal(h.messages[0].rcpts, to, "recipients")
    check(b"for <" not in h.messages[0].head, "no recipient is named in Received")


def test_many_messages_reuse_connections(lab):
    h = lab.peer("smarthost")
    s = lab.signet(route(h.port, connections=2))
    with s.login() as c:
        for i in range(40):
            reply(c.message(s.sender, "you@example.com", message(s, subject=f"n{i}")), "250 *")
    s.wait_empty()
    equal(len(h.messages), 40, "messages")
    check(h.sessions <= 10, "sessions", h.sessions)


def test_a_spent_connection_makes_room(lab):
    h = lab.peer("smarthost")
    # One that stayed for its idle time would be in the way of the next for minutes.
    s = lab.signet({**route(h.port, connections=1, messages_per_connection=2),
                    "delivery": {"idle": "5m"}})
    with s.login() as c:
        for i in range(5):
            reply(c.message(s.sender, "you@example.com", message(s, subject=f"n{i}")), "250 *")
    s.wait_empty()
    equal(len(h.messages), 5, "messages")
    equal(h.sessions, 3, "sessions")


def test_starttls_and_auth(lab):
    h = lab.peer("smarthost", tls=True, user="relay", password="s3cret word", require_tls=True)
    pw = password_file(lab, "s3cret word")
    s = lab.signet(route(h.port, "must", user="relay", password_file=pw))
    s.secrets += ["s3cret word"]
    hand_over(s)
    m = h.wait(1)[0]
    check(m.tls, "over TLS")
    equal(m.user, "relay", "authenticated as")


def test_password_file_that_others_may_read(lab):
    """Refused at the start, as any wrong configuration: 78, one line."""
    path = password_file(lab, "s3cret")
    os.chmod(path, 0o644)
    s = lab.signet(route(9, "must", user="relay", password_file=path), start=False)
    s.start(wait=False)
    equal(s.process.wait(20), 78, "exit code")
    s.process = None
    s.reader.join(5)
    said = [x for x in s.log_lines if x]
    check(len(said) == 1 and path in said[0] and "chmod" in said[0], "one line", said)
    s.log_lines.clear()


def test_wrong_password_keeps_the_message(lab):
    h = lab.peer("smarthost", tls=True, user="relay", password="right")
    pw = password_file(lab, "wrong-password")
    s = lab.signet(route(h.port, "must", user="relay", password_file=pw))
    s.secrets += ["wrong-password"]
    hand_over(s)
    s.wait_event("attempt", count=1)
    time.sleep(0.5)
    equal(h.messages, [], "messages taken")
    equal(s.count()["messages"], 1, "it is kept")


def test_tls_demanded_and_not_offered(lab):
    h = lab.peer("smarthost")
    s = lab.signet(route(h.port, "must"))
    hand_over(s)
    s.wait_event("attempt", count=1)
    time.sleep(0.5)
    equal(h.messages, [], "nothing goes in clear")
    equal(s.count()["messages"], 1, "it is kept")


def test_must_verify_refuses_a_stranger(lab):
    h = lab.peer("smarthost", tls=True)
    s = lab.signet(route(h.port, "must-verify"))
    hand_over(s)
    s.wait_event("attempt", count=1)
    time.sleep(0.5)
    equal(h.messages, [], "nothing goes to a certificate that nobody vouches for")


def test_must_verify_with_a_known_authority(lab):
    d = lab.make_dir("ca")
    pair = make_cert(d, "127.0.0.1", stem="known")
    h = lab.peer("smarthost", tls=True, cert=pair)
    s = lab.signet(route(h.port, "must-verify", ca_file=pair[0]))
    hand_over(s)
    check(h.wait(1)[0].tls, "over TLS")


def test_implicit_tls(lab):
    h = lab.peer("smarthost", implicit=True)
    s = lab.signet(route(h.port, "implicit"))
    hand_over(s)
    h.wait(1)
    s.wait_empty()


def test_deferred_then_taken(lab):
    h = lab.peer("smarthost", replies={"DATA": ["451 4.3.0 later", "421 4.3.2 going down"]})
    s = lab.signet(route(h.port))
    hand_over(s)
    h.wait(1, 30)
    s.wait_empty()
    said = [(e["outcome"], e["code"], e["reply"]) for e in s.events("outcome")]
    equal([(o, c) for o, c, _ in said], [("deferred", 451), ("deferred", 421), ("delivered", 250)],
          "outcomes")
    check("4.3.0 later" in said[0][2], "the remote's reply is in the log", said)


def test_domains_in_any_spelling(lab):
    """A route's domains are compared as destinations are: A-labels, lower case, no final dot."""
    h, other = lab.peer("smarthost"), lab.peer("smarthost")
    s = lab.signet({**route(other.port),
                    ("route", "first"): {"domains": ["B\u00dcCHER.Example.", "INVALID"],
                                         "type": "smarthost", "host": "127.0.0.1",
                                         "port": h.port, "tls": "none"}})
    hand_over(s, "a@xn--bcher-kva.example")
    hand_over(s, "b@mail.xn--bcher-kva.example")
    hand_over(s, "c@shop.invalid")
    hand_over(s, "d@example.com")
    s.wait_empty()
    equal(sorted(r for m in h.messages for r in m.rcpts),
          ["a@xn--bcher-kva.example", "b@mail.xn--bcher-kva.example", "c@shop.invalid"], "first")
    equal([r for m in other.messages for r in m.rcpts], ["d@example.com"], "the others")


def test_refused_for_good_is_kept_and_shown(lab):
    h = lab.peer("smarthost", replies={"bad@example.com": "550 5.1.1 nobody \x1b[31mhere"})
    s = lab.signet({**route(h.port), "bounce": {"enabled": False}})
    mid = hand_over(s, ["good@example.com", "bad@example.com"])
    h.wait(1)
    equal(h.messages[0].rcpts, ["good@example.com"], "the good one is taken")
    wait_for("the failure in the queue", 10, lambda: s.count()["failed_recipients"] == 1)
    time.sleep(1.5)
    equal(len([a for a in h.attempts if a[1] == "bad@example.com"]), 1, "it is not tried again")
    shown = {r["to"]: r for r in s.ctl("queue", "show", mid)["recipients"]}
    equal({to: r["state"] for to, r in shown.items()},
          {"good@example.com": "delivered", "bad@example.com": "failed"}, "states")
    check("5.1.1 nobody" in shown["bad@example.com"]["reply"], "the reply is shown", shown)
    rows = s.ctl("queue", "list", "--state", "failed")["messages"]
    equal([r["id"] for r in rows], [mid], "listed")
    text = s.run("queue", "show", mid)
    check("\x1b" not in text, "no escapes reach the terminal", text)


def test_a_dead_host_does_not_hold_up_a_live_one(lab):
    live = lab.peer("smarthost")
    dead = lab.peer("scripted", lambda line: line.hang())
    s = lab.signet({("route", "capture"): None,
                    ("route", "dead"): {"domains": ["dead.example"], "type": "smarthost",
                                        "host": "127.0.0.1", "port": dead.port, "tls": "none"},
                    ("route", "live"): {"domains": ["*"], "type": "smarthost", "host": "127.0.0.1",
                                        "port": live.port, "tls": "none"},
                    "retry": dict(QUICK)})
    with s.login() as c:
        for i in range(300):
            reply(c.message(s.sender, f"r{i}@dead.example", message(s)), "250 *")
        reply(c.message(s.sender, "r@live.example", message(s)), "250 *")
    live.wait(1, 30)
    wait_for("the dead site's backlog alone", 20, lambda: s.count()["messages"] == 300)


def test_connection_refused_then_back(lab):
    from lab.peers import free_ports
    port = free_ports(1)[0]
    s = lab.signet(route(port))
    hand_over(s)
    s.wait_event("attempt", count=1, seconds=15)
    got = []
    h = lab.peer("scripted", lambda line: line.serve(got=got))
    # A scripted host picks its own port: the route is changed to it, the message is still there.
    s.options[("route", "onward")]["port"] = h.port
    s.write_conf()
    s.restart()
    wait_for("delivery after the restart", 15, lambda: got)


def endless(line):
    line.say("220 x ESMTP")
    line.read()
    while True:
        line.sock.sendall(b"250-" + b"x" * 200 + b"\r\n")


def long_line(line):
    line.sock.sendall(b"220 " + b"x" * 1000000)
    line.hang()


def nonsense(line):
    line.sock.sendall(b"\x00\xff\xfe HTTP/1.1 200 OK\r\n\r\n" * 3)
    line.hang()


def twice_354(line):
    line.say("220 x ESMTP")
    while True:
        got = line.read().upper()
        if got == "DATA":
            line.say("354 go")
            line.say("354 go")
            line.hang()
        line.say("250 ok")


def close_after_dot(line):
    line.say("220 x ESMTP")
    while True:
        if line.read().upper() == "DATA":
            line.say("354 go")
            line.read_data()
            return
        line.say("250 ok")


def inject_before_tls(line):
    line.say("220 x ESMTP")
    line.read()
    line.say("250-x\r\n250 STARTTLS")
    line.read()
    line.sock.sendall(b"220 go\r\n250 injected\r\n")
    line.hang()


def hostile(lab, talk, tls="none"):
    """The message is kept, the server lives, its memory does not grow."""
    h = lab.peer("scripted", talk)
    s = lab.signet(route(h.port, tls))
    hand_over(s)
    wait_for("an attempt in the log", 20, lambda: s.events("attempt") or s.events("outcome"))
    rss = int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{s.pid()}/status", encoding="utf-8").read())
              .group(1))
    check(rss < 200000, "resident KiB", rss)
    equal(s.count()["messages"], 1, "it is kept")
    with s.login() as c:
        reply(c.cmd("NOOP"), "250 *")


def tests():
    for talk in (endless, long_line, nonsense, twice_354, close_after_dot):
        yield f"test_hostile_{talk.__name__}", lambda lab, t=talk: hostile(lab, t)
    yield "test_hostile_inject_before_tls", lambda lab: hostile(lab, inject_before_tls, "must")


def test_real_postfix(lab):
    p = lab.peer("postfix", tls=True)
    s = lab.signet(route(p.port, "must"))
    body = "line\r\n.dot\r\n" + "x" * 900 + "\r\n\r\nend\r\n"
    hand_over(s, ["a@example.com", "b@example.com"], body=body)
    hand_over(s, "c@example.org", body="second\r\n")
    got = p.wait(3)
    s.wait_empty()
    equal(sorted(re.search(rb"X-Original-To: (\S+)", m).group(1) for m in got),
          [b"a@example.com", b"b@example.com", b"c@example.org"], "recipients")
    first = next(m for m in got if b"X-Original-To: a@" in m)
    equal(first.partition(b"\n\n")[2], body.replace("\r\n", "\n").encode(), "the body")
    check("TLS connection established" in p.log(), "over TLS", p.log())


def test_real_postfix_with_login(lab):
    p = lab.peer("postfix", tls=True, user="signet", password="postfix-password", require_tls=True)
    pw = password_file(lab, "postfix-password")
    s = lab.signet(route(p.port, "must", user="signet", password_file=pw))
    s.secrets += ["postfix-password"]
    for i in range(5):
        hand_over(s, f"r{i}@example.com")
    p.wait(5)
    s.wait_empty()
    check("sasl_username=signet" in p.log(), "authenticated", p.log())


def test_real_postfix_refuses(lab):
    p = lab.peer("postfix", settings={"virtual_mailbox_maps": "inline:{known@example.com=inbox/}",
                                      "virtual_mailbox_domains": "example.com"})
    s = lab.signet({**route(p.port, "may"), "bounce": {"enabled": False}})
    mid = hand_over(s, ["known@example.com", "unknown@example.com"])
    p.wait(1)
    wait_for("the failure in the queue", 10, lambda: s.count()["failed_recipients"] == 1)
    check("5.1.1" in str(s.ctl("queue", "show", mid)), "Postfix's reply is kept")


def test_hostile_drip(lab):
    """A byte now and then is no reply: the time of the phase is counted from its beginning."""
    def talk(line):
        line.sock.sendall(b"220-")
        while True:
            time.sleep(0.3)
            line.sock.sendall(b"x")

    h = lab.peer("scripted", talk)
    s = lab.signet({**route(h.port), "delivery": {"greeting": "2s"}})
    hand_over(s)
    e = s.wait_event("attempt", seconds=8)
    check("time" in str(e[0]).lower(), "it says why", e)
    equal(s.count()["messages"], 1, "it is kept")

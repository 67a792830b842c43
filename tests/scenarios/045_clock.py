"""Somebody sets the clock: an hour back, thirty days on. No timeout moves, sessions live on."""
import time

from lab.lab import check, equal, reply
from lab.raw import wait_for


def shifted(lab, options=None, **more):
    env, shift = lab.clock()
    s = lab.signet(options, env=env, **more)
    return s, shift


def step(lab, seconds):
    s, shift = shifted(lab)
    with s.login() as idle, s.login() as begun:
        reply(begun.cmd(f"MAIL FROM:<{s.sender}>"), "250 *")
        reply(begun.cmd("RCPT TO:<you@example.com>"), "250 *")
        reply(begun.cmd("DATA"), "354 *")
        begun.send(f"From: {s.sender}\r\nSubject: begun\r\n\r\n")
        shift(seconds)
        time.sleep(2)
        begun.send("hi\r\n.\r\n")
        reply(begun.reply(), "250 2.0.0 *", "a transaction that had begun")
        reply(idle.message(s.sender, "you@example.com",
                           f"From: {s.sender}\r\nSubject: idle\r\n\r\nhi\r\n"), "250 2.0.0 *")
        with s.login() as c:
            reply(c.message(s.sender, "you@example.com",
                            f"From: {s.sender}\r\nSubject: new\r\n\r\nhi\r\n"), "250 2.0.0 *")
    s.wait_captured(3)
    s.wait_empty(10)
    cpu = sum(int(x) for x in open(f"/proc/{s.pid()}/stat", encoding="utf-8").read()
              .rsplit(")", 1)[1].split()[11:13])
    time.sleep(1)
    more = sum(int(x) for x in open(f"/proc/{s.pid()}/stat", encoding="utf-8").read()
               .rsplit(")", 1)[1].split()[11:13]) - cpu
    check(more < 30, "an idle server turns round and round: CPU ticks in a second", more)


def test_an_hour_back(lab):
    step(lab, -3600)


def test_thirty_days_on(lab):
    step(lab, 30 * 86400)


def test_timeouts_keep_their_length(lab):
    """Three seconds for a command are three seconds, whatever the clock is set to meanwhile."""
    s, shift = shifted(lab, {"limits": {"time_command": "3s"}})
    with s.login() as c:
        at = time.monotonic()
        shift(-3600)
        reply(c.reply(), "421 4.4.2 Timeout, closing connection")
        check(2.5 < time.monotonic() - at < 12, "took", time.monotonic() - at)
    with s.login() as c:
        at = time.monotonic()
        shift(30 * 86400)
        check(c.quiet(1.5), "nothing for 1.5 s")
        c.sock.settimeout(10)
        reply(c.reply(), "421 4.4.2 Timeout, closing connection")
        check(2.5 < time.monotonic() - at < 12, "took", time.monotonic() - at)


def test_retries_do_not_storm(lab):
    """Thirty days on, everything is due at once: each message is tried once, not in a loop."""
    h = lab.peer("smarthost", replies={"DATA": lambda e: "451 4.3.0 later"})
    s, shift = shifted(lab, {("route", "capture"): None,
                             ("route", "onward"): {"domains": ["*"], "type": "smarthost",
                                                   "host": "127.0.0.1", "port": h.port,
                                                   "tls": "none"},
                             "retry": {"first": "1h", "max": "1h"}})
    with s.login() as c:
        for i in range(10):
            reply(c.message(s.sender, f"r{i}@example.com", f"From: {s.sender}\r\n\r\nhi\r\n"), "250 *")
    wait_for("the first attempts", 10, lambda: len(h.attempts) >= 10)
    shift(30 * 86400)
    time.sleep(4)
    check(len(h.attempts) <= 20, "attempts", len(h.attempts))
    count = s.count()
    equal((count["messages"], count["failed_recipients"]), (10, 0), "kept, none out of time")

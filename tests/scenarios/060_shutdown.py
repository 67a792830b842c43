"""SIGTERM: no new connections, open transactions end, deliveries settle, exit 0."""
import socket
import threading
import time

from lab.lab import check, equal, reply
from lab.raw import Closed, wait_for


def refused(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as c:
            c.settimeout(2)
            return c.recv(100) == b""
    except OSError:
        return True


def test_idle_exits_at_once(lab):
    s = lab.signet()
    with s.login():
        at = time.monotonic()
        s.stop()
        check(time.monotonic() - at < 25, "took", time.monotonic() - at)
    s.process = None


def test_idle_sessions_are_told(lab):
    s = lab.signet()
    with s.login() as c:
        s.terminate()
        reply(c.reply(), "421 4.3.2 Service shutting down, closing connection")
        check(c.closed(), "closed after 421")
        s.stop()


def test_open_transaction_ends(lab):
    s = lab.signet()
    with s.login() as c:
        reply(c.cmd(f"MAIL FROM:<{s.sender}>"), "250 *")
        reply(c.cmd("RCPT TO:<you@example.com>"), "250 *")
        reply(c.cmd("DATA"), "354 *")
        c.send(f"From: {s.sender}\r\nSubject: begun\r\n\r\nfirst half\r\n")
        s.terminate()
        wait_for("the listeners to close", 5, lambda: refused(s.ports["submission"]))
        c.send("second half\r\n.\r\n")
        r = c.reply()
        reply(r, "250 2.0.0 Ok: queued as *")
        try:
            reply(c.reply(), "421 4.3.2 Service shutting down, closing connection")
        except Closed:
            pass
    s.stop(seconds=20)
    s.start()
    m = s.wait_captured(1)[0]
    check(b"first half" in m and b"second half" in m, "whole", m)


def test_a_transaction_that_does_not_end(lab):
    """Thirty seconds at most, then 421 4.3.2 (here: two)."""
    s = lab.signet({"limits": {"shutdown_grace": "2s"}})
    with s.login() as c:
        reply(c.cmd(f"MAIL FROM:<{s.sender}>"), "250 *")
        reply(c.cmd("RCPT TO:<you@example.com>"), "250 *")
        reply(c.cmd("DATA"), "354 *")
        c.send(f"From: {s.sender}\r\n\r\nhalf\r\n")
        at = time.monotonic()
        s.terminate()
        reply(c.reply(), "421 4.3.2 Service shutting down, closing connection")
        check(1.5 < time.monotonic() - at < 6, "after", time.monotonic() - at)
        s.stop(seconds=10)
    equal(s.captured(), [], "half a message is no message")


def test_delivery_in_flight_settles(lab):
    h = lab.peer("smarthost", delay=1.5)
    s = lab.signet({("route", "capture"): None,
                    ("route", "onward"): {"domains": ["*"], "type": "smarthost",
                                          "host": "127.0.0.1", "port": h.port, "tls": "none"}})
    with s.login() as c:
        reply(c.message(s.sender, "you@example.com", f"From: {s.sender}\r\n\r\nhi\r\n"), "250 *")
        c.cmd("QUIT")
    wait_for("it to be handed on", 30, lambda: h.attempts)
    s.stop(seconds=40)
    equal(len(h.messages), 1, "taken")
    s.start()
    time.sleep(1)
    s.wait_empty()
    equal(len(h.messages), 1, "and not once more")


def test_under_load(lab):
    """Everything acknowledged before the end is there after the next start."""
    from lab.load import Load
    s = lab.signet()
    load = Load(s, n=3, run="term")
    try:
        load.until(200, 30)
        s.terminate()
        load.finish(40)
    finally:
        load.stop()
    s.stop(seconds=40)
    s.start()
    s.wait_empty(60)
    have = b"".join(m[:3000] for m in s.captured())
    lost = [a for a in load.acked if a.encode() not in have]
    check(not lost, "lost", lost[:5])


def test_sigint_is_the_same(lab):
    import os
    import signal
    s = lab.signet()
    os.kill(s.pid(), signal.SIGINT)
    s.stop(seconds=10)


def test_second_sigterm_is_harmless(lab):
    s = lab.signet()
    with s.login() as c:
        reply(c.cmd(f"MAIL FROM:<{s.sender}>"), "250 *")
        s.terminate()
        time.sleep(0.2)
        threading.Thread(target=s.terminate, daemon=True).start()
        time.sleep(0.2)
    s.stop(seconds=15)


def test_every_connection_at_rest_hears_the_reply_to_its_quit(lab):
    """QUIT, and its reply is waited for (RFC 5321 4.1.1.10), by each of several connections."""
    quits, all_here = [], threading.Event()

    def talk(line):
        say = line.say
        if h.sessions == 3:
            all_here.set()

        def slow(text):
            if text == "221 bye":
                time.sleep(0.4)
                line.sock.setblocking(False)
                try:
                    quits.append("early" if line.sock.recv(1, socket.MSG_PEEK) == b"" else "more")
                except BlockingIOError:
                    quits.append("waits")
                line.sock.setblocking(True)
            if text == "250 taken":   # none is free for a second message before all are there
                all_here.wait(20)
            say(text)

        line.say = slow
        line.serve(data_reply="250 taken")

    h = lab.peer("scripted", talk)
    s = lab.signet({("route", "capture"): None,
                    ("route", "onward"): {"domains": ["*"], "type": "smarthost", "connections": 3,
                                          "host": "127.0.0.1", "port": h.port, "tls": "none"}})
    with s.login() as c:
        for _ in range(9):
            reply(c.message(s.sender, "you@example.com", f"From: {s.sender}\r\n\r\nhi\r\n"),
                  "250 2.0.0 *")
    s.wait_empty()
    equal(h.sessions, 3, "connections")
    s.stop(seconds=10)
    wait_for("three QUITs", 5, lambda: len(quits) == 3)
    equal(quits, ["waits"] * 3)

"""Clients that keep a connection by a byte now and then: each state's time is counted from what
the client completed, not from what it sent last."""
import os
import ssl
import struct
import time

from lab import raw
from lab.lab import check, reply

LATE = "421 4.4.2 Timeout, closing connection"


def drip(c, pieces, seconds=12):
    """Sends the pieces one by one, each 0.2 s after the last; the first reply ends it."""
    c.sock.settimeout(0.2)
    end = time.monotonic() + seconds
    for piece in pieces:
        check(time.monotonic() < end, "still there after", seconds)
        try:
            c.send(piece)
        except (OSError, ssl.SSLError) as e:
            if isinstance(e, TimeoutError):
                raise
            raise AssertionError(f"closed without a word: {e!r}") from e
        try:
            return c.reply()
        except (TimeoutError, ssl.SSLWantReadError):
            pass
    raise AssertionError("no end")


def for_ever(piece):
    while True:
        yield piece


def test_drip_before_the_login(lab):
    s = lab.signet({"limits": {"time_login": "2s"}})
    for door in ("starttls", "tls"):
        with s.raw(door) as c:
            c.ehlo()
            reply(drip(c, for_ever("N")), LATE)
            check(c.closed(), "closed")


def test_drip_in_a_login(lab):
    s = lab.signet({"limits": {"time_login": "2s"}})
    with s.raw() as c:
        c.ehlo()
        reply(c.cmd("AUTH PLAIN"), "334 ")
        reply(drip(c, for_ever("A")), LATE)


def test_drip_in_a_command(lab):
    s = lab.signet({"limits": {"time_command": "2s"}})
    with s.login() as c:
        reply(drip(c, for_ever("N")), LATE)


def test_drip_in_a_line_that_is_too_long(lab):
    """What is skipped is no progress, either."""
    s = lab.signet({"limits": {"time_command": "2s"}})
    with s.login() as c:
        c.send("NOOP " + "x" * 3000)
        reply(drip(c, for_ever("x")), LATE)


def test_commands_and_chunks_have_their_time(lab):
    """A client that does something before each deadline is not late, however long it stays."""
    s = lab.signet({"limits": {"time_command": "6s", "time_body": "3s", "time_login": "6s",
                               "body_min_rate": 0}})
    with s.raw() as c:
        for _ in range(3):
            time.sleep(2.5)
            c.ehlo()
        reply(c.auth(s.key), "235 *")
        time.sleep(2.5)
        reply(c.cmd(f"MAIL FROM:<{s.sender}>"), "250 *")
        time.sleep(2.5)
        reply(c.cmd("RCPT TO:<you@example.com>"), "250 *")
        for chunk in (f"From: {s.sender}\r\n\r\n", "one\r\n", "two\r\n"):
            # Longer than time_body since the last command: a chunk has its own time.
            time.sleep(4)
            c.send(f"BDAT {len(chunk)}\r\n")
            time.sleep(1)
            c.send(chunk)
            reply(c.reply(), "250 2.0.0 Ok")
        reply(c.cmd("BDAT 0 LAST"), "250 2.0.0 Ok: queued as *")


def test_drip_in_chunks(lab):
    """The minimum rate is over the whole message: pauses between chunks are part of it."""
    s = lab.signet({"limits": {"body_grace": "2s", "body_min_rate": "1K", "time_command": "20s"}})
    with s.login() as c:
        reply(c.cmd(f"MAIL FROM:<{s.sender}>"), "250 *")
        reply(c.cmd("RCPT TO:<you@example.com>"), "250 *")
        began = time.monotonic()
        while True:
            c.send("BDAT 1\r\nx")
            r = c.reply()
            if r.code != 250:
                break
            check(time.monotonic() - began < 12, "twelve seconds of chunks of one byte and no end")
            time.sleep(0.3)
        reply(r, LATE)
    with s.login() as c:
        # A message that ended leaves nothing of its time to the next one.
        reply(c.message(s.sender, "you@example.com", f"From: {s.sender}\r\n\r\nhi\r\n"), "250 *")
        time.sleep(2.5)
        reply(c.cmd("NOOP"), "250 *")
        reply(c.cmd(f"MAIL FROM:<{s.sender}>"), "250 *")
        time.sleep(2.5)
        reply(c.cmd("RSET"), "250 *")


def test_a_refused_body_keeps_its_reply(lab):
    """What is thrown away came all the same: a slow client of a message that is refused is told
    why, and not that it was late, which would make it send all of it again."""
    s = lab.signet({"limits": {"body_grace": "1s", "body_min_rate": "1K"}})
    for data in (True, False):
        with s.login() as c:
            reply(c.cmd(f"MAIL FROM:<{s.sender}>"), "250 *")
            reply(c.cmd("RCPT TO:<you@example.com>"), "250 *")
            if data:
                reply(c.cmd("DATA"), "354 *")
            else:
                c.send("BDAT 24001\r\n")
            c.send("\n")
            for _ in range(12):
                c.send(("x" * 498 + "\r\n") * 4)
                time.sleep(0.25)
            if data:
                c.send(".\r\n")
            reply(c.reply(), "554 5.6.0 *")


def test_drip_in_a_chunk_that_nobody_wants(lab):
    """Before the login, too, a chunk has its minimum rate."""
    s = lab.signet({"limits": {"time_login": "2s", "body_grace": "2s", "body_min_rate": "1K"}})
    with s.raw() as c:
        c.ehlo()
        c.send("BDAT 100000\r\n")
        reply(drip(c, for_ever("x")), LATE)


def ticks(s):
    with open(f"/proc/{s.pid()}/stat", encoding="utf-8") as f:
        return sum(int(x) for x in f.read().rsplit(")", 1)[1].split()[11:13])


def slow_disk(lab, options):
    path = os.path.join(lab.make_dir("slow"), "ms")

    def set_ms(ms):
        with open(path, "r+b" if os.path.exists(path) else "wb") as f:
            f.write(struct.pack("q", ms))

    set_ms(0)
    return lab.signet(options, env={"LD_PRELOAD": lab.build_shim("slow_disk"),
                                    "SLOW_DISK_FILE": path}), set_ms


def test_while_we_are_slow_the_client_is_not_late(lab):
    """The verdict on a message is waited for, however long the connection has been there."""
    s, set_ms = slow_disk(lab, {"limits": {"time_session": "2s"}})
    with s.login() as c:
        reply(c.cmd(f"MAIL FROM:<{s.sender}>"), "250 *")
        reply(c.cmd("RCPT TO:<you@example.com>"), "250 *")
        reply(c.cmd("DATA"), "354 *")
        set_ms(4000)
        before = ticks(s)
        c.send(f"From: {s.sender}\r\n\r\nhi\r\n.\r\n")
        reply(c.reply(), "250 2.0.0 *")
        check(ticks(s) - before < 100, "turned round and round", ticks(s) - before)
        set_ms(0)
        reply(c.reply(), LATE)


def test_while_a_body_is_written_the_client_is_not_late(lab):
    s, set_ms = slow_disk(lab, {"limits": {"time_body": "1s", "header_size": "32K"},
                                "spool": {"body_memory": "64K"}})
    with s.login() as c:
        reply(c.cmd(f"MAIL FROM:<{s.sender}>"), "250 *")
        reply(c.cmd("RCPT TO:<you@example.com>"), "250 *")
        reply(c.cmd("DATA"), "354 *")
        set_ms(3000)
        before = ticks(s)
        c.send(f"From: {s.sender}\r\n\r\n" + ("x" * 70 + "\r\n") * 1400)
        time.sleep(3.5)
        check(ticks(s) - before < 100, "turned round and round", ticks(s) - before)
        set_ms(0)
        c.send("the end\r\n.\r\n")
        reply(c.reply(), "250 2.0.0 *")


def test_the_grace_ends_during_a_commit(lab):
    """A message that may be durable already is not refused: it would come a second time."""
    s, set_ms = slow_disk(lab, {"limits": {"shutdown_grace": "1s"}})
    with s.login() as c:
        reply(c.cmd(f"MAIL FROM:<{s.sender}>"), "250 *")
        reply(c.cmd("RCPT TO:<you@example.com>"), "250 *")
        reply(c.cmd("DATA"), "354 *")
        set_ms(3000)
        c.send(f"From: {s.sender}\r\n\r\nhi\r\n.\r\n")
        time.sleep(0.3)
        s.terminate()
        reply(c.reply(), "250 2.0.0 *")
        set_ms(0)
        reply(c.reply(), "421 4.3.2 *")
        check(c.closed(), "closed")
    s.stop(seconds=10)

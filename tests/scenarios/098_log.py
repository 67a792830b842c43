"""The log: one JSON object a line whatever is put into it, no secrets, and nobody waits for it."""
import json
import os
import time

from lab import raw
from lab.lab import check, reply
from lab.raw import wait_for


def test_no_line_injection(lab):
    s = lab.signet()
    with s.raw() as c:
        c.cmd('EHLO x"}\\n{"event":"forged"}')
        c.cmd("EHLO \x1b[31mred\x1b[0m")
        c.cmd("EHLO x\x07\x0b\x85\u2028y")
        c.ehlo()
        c.auth("x\n{\"event\":\"forged\"}\n", "y\r\n{\"event\":\"forged\"}\r\n")
        c.auth(s.key)
        r = c.message(s.sender, "you@example.com",
                      f'From: {s.sender}\r\nMessage-ID: <"a\\\\n{{}}"@x>\r\nSubject: x\r\n\r\nhi\r\n')
        reply(r, "250 *")
        c.cmd("QUIT")
    s.wait_event("outcome")
    s.stop()
    check(not s.events("forged"), "a forged event")
    for line in s.log_lines:
        check(isinstance(json.loads(line), dict), line)
        check(all(ord(ch) >= 0x20 and ord(ch) != 0x7f for ch in line), "control bytes", line)


def test_every_fact_has_its_line(lab):
    s = lab.signet()
    with s.login() as c:
        r = c.message(s.sender, ["a@example.com", "b@example.net"],
                      f"From: {s.sender}\r\nSubject: x\r\n\r\nhi\r\n")
        reply(r, "250 2.0.0 Ok: queued as *")
        mid = r.split()[-1]
        c.cmd("QUIT")
    with s.raw() as c:
        c.ehlo()
        c.auth(s.key[:-3] + "xxx")
    auth = s.wait_event("authentication", count=2)
    good, bad = auth[0], auth[-1]
    check(good.get("mechanism") == "PLAIN" and s.key_id in json.dumps(good), "key id, mechanism", good)
    check("TLSv1.3" in json.dumps(good) and "TLS_" in json.dumps(good), "TLS version, cipher", good)
    check(good != bad and bad.get("reason"), "the true reason of a failure", bad)
    check(s.wait_event("message_accepted")[0]["id"] == mid, "the id of the reply is that of the log")
    s.wait_event("outcome", count=2)
    s.wait_event("attempt")
    s.wait_event("connection")


def test_blocked_stderr_stops_nothing(lab):
    """Nobody reads the pipe: the server goes on, and later says how many lines it dropped."""
    r, w = os.pipe()
    s = lab.signet(start=False, stderr=w)
    s.start()
    os.close(w)
    s.furnish()
    end = time.monotonic() + 60
    n = 0
    while n < 400:
        check(time.monotonic() < end, f"only {n} sessions in a minute")
        with s.raw("starttls") as c:
            c.cmd("EHLO " + "x" * 200)
            c.cmd("QUIT")
        n += 1
    with s.login() as c:
        reply(c.message(s.sender, "you@example.com", f"From: {s.sender}\r\n\r\nhi\r\n"), "250 *")
    s.wait_captured(1)
    os.set_blocking(r, False)
    text = b""

    def drained():
        nonlocal text
        try:
            while more := os.read(r, 65536):
                text += more
        except BlockingIOError:
            pass
        return b"dropped" in text

    drained()
    for _ in range(3):
        raw.Raw(s.ports["submission"]).close()
    wait_for("a line that counts the dropped ones", 10, drained)
    lab.at_end(lambda: os.close(r))
    os.set_blocking(r, True)

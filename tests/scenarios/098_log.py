"""The log: one JSON object a line whatever is put into it, no secrets, and nobody waits for it."""
import json
import os

from lab import raw
from lab.lab import check, equal, reply
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
        reply(c.message("a@bank.example", "a@example.com", "From: a@bank.example\r\n\r\n"), "550 *")
        c.cmd("QUIT")
    with s.raw() as c:
        c.ehlo()
        c.auth(s.key[:-3] + "xxx")
        c.auth("hunter2", "joe@shop.example")
    auth = s.wait_event("authentication", count=3)
    equal([(e["result"], e["reason"]) for e in auth],
          [("ok", "ok"), ("failed", "wrong_secret"), ("failed", "basic_auth")], "logins")
    for e in auth:
        equal((e["mechanism"], e["tls"], e["client"]), ("PLAIN", "TLSv1.3", "127.0.0.1"), str(e))
        check(e["cipher"].startswith("TLS_"), "cipher", e)
    equal(auth[0]["key"], s.key_id, "key id")
    one = s.wait_event("message_accepted")[0]
    equal((one["id"], one["recipients"], one["key"]), (mid, 2, s.key_id), str(one))
    outcomes = s.wait_event("outcome", count=2)
    equal(sorted((e["id"], e["to"], e["outcome"]) for e in outcomes),
          [(mid, "a@example.com", "delivered"), (mid, "b@example.net", "delivered")], "outcomes")
    equal(s.wait_event("message_refused")[0]["reason"], "foreign_sender", "the reason")
    s.wait_event("connection", count=2)
    s.wait_event("connection_closed", count=2)
    acts = s.wait_event("control")
    check(all(f"{os.geteuid()}" in json.dumps(e) for e in acts), "who acted", acts)
    s.stop()
    names = [e["event"] for e in s.events()]
    check("listening" in names and names.index("started") < names.index("stopping"), "order", names)
    equal(names[-1], "stopped", "the last line")


def test_blocked_stderr_stops_nothing(lab):
    """Nobody reads the pipe: the server goes on, and later says how many lines it dropped."""
    r, w = os.pipe()
    s = lab.signet({"limits": {"auth_failures": 0, "errors": 0, "commands": 0}}, start=False, stderr=w)
    lab.at_end(lambda: os.close(r))
    s.start()
    os.close(w)
    s.furnish()
    # Each failed login is one line; more than pipe and ring hold together.
    group = b"".join(b"AUTH PLAIN " + raw.plain("apikey", "x" * 60).encode() + b"\r\n"
                     for _ in range(100))
    with s.raw() as c:
        c.ehlo()
        for _ in range(80):
            c.send(group)
            for _ in range(100):
                reply(c.reply(), "535 5.7.8 *")
    with s.login() as c:
        reply(c.message(s.sender, "you@example.com", f"From: {s.sender}\r\n\r\nhi\r\n"), "250 *")
    s.wait_captured(1)
    os.set_blocking(r, False)
    text = b""

    def told():
        nonlocal text
        try:
            while more := os.read(r, 65536):
                text += more
        except BlockingIOError:
            pass
        with s.raw("starttls"):
            pass
        return b"log_lines_dropped" in text

    wait_for("a line that counts the dropped ones", 10, told, 0.1)
    lines = text.decode().splitlines()
    for line in lines[:-1]:
        json.loads(line)
    # The pipe is full again when nobody reads; the server must end all the same.
    s.stop(seconds=20)


def test_the_reader_of_the_log_is_gone(lab):
    """A closed pipe is no reason to stop, nor to go on for ever after SIGTERM."""
    r, w = os.pipe()
    s = lab.signet(start=False, stderr=w)
    s.start()
    os.close(w)
    os.close(r)
    s.furnish()
    with s.login() as c:
        reply(c.message(s.sender, "you@example.com", f"From: {s.sender}\r\n\r\nhi\r\n"), "250 *")
    s.wait_captured(1)
    s.stop(seconds=15)

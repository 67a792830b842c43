"""What of an envelope goes on to the next hop: what it can take, and nothing that was only claimed."""
import re

from lab.lab import check, equal, reply
from lab.raw import wait_for

QUICK = {"first": "200ms", "max": "1s", "jitter": 0}
ALL = ("PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "SIZE 1000000")


def onward(lab, extensions, **more):
    got = []
    h = lab.peer("scripted", lambda line: line.serve(extensions, got=got))
    s = lab.signet({("route", "capture"): None, "retry": dict(QUICK),
                    ("route", "onward"): {"domains": ["*"], "type": "smarthost", "host": "127.0.0.1",
                                          "port": h.port, "tls": "none"}, **more})
    return s, got


def hand_over(s, mail, rcpts, data=None):
    with s.login() as c:
        reply(c.cmd(f"MAIL FROM:{mail}"), "250 *")
        for r in rcpts:
            reply(c.cmd(f"RCPT TO:{r}"), "250 *")
        reply(c.cmd("DATA"), "354 *")
        r = c.data(data or f"From: {s.sender}\r\n\r\nhi\r\n")
        reply(r, "250 2.0.0 Ok: queued as *")
        return r.split()[-1]


def words(line):
    path, _, params = line.partition(">")
    return path + ">", sorted(params.split())


def test_dsn_parameters_go_to_a_hop_that_knows_them(lab):
    s, got = onward(lab, ALL)
    hand_over(s, "<Hello.World@shop.example> RET=HDRS ENVID=Q+2BCase1 AUTH=<>",
              ["<You@example.com> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Old+40Example.com",
               "<two@example.com> NOTIFY=NEVER", "<three@example.com>"])
    wait_for("the message", 15, lambda: got)
    mail, rcpts, _ = got[0]
    path, params = words(mail)
    equal(path, "MAIL FROM:<Hello.World@shop.example>", "the sender, its case kept")
    equal([p for p in params if not p.startswith("SIZE=")], ["ENVID=Q+2BCase1", "RET=HDRS"],
          "no AUTH=, no BODY= that nobody needs")
    equal([words(r) for r in rcpts],
          [("RCPT TO:<You@example.com>", ["NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;Old+40Example.com"]),
           ("RCPT TO:<two@example.com>", ["NOTIFY=NEVER"]), ("RCPT TO:<three@example.com>", [])],
          "the recipients")


def test_dsn_parameters_do_not_go_to_a_hop_that_does_not(lab):
    s, got = onward(lab, ("PIPELINING", "8BITMIME"))
    hand_over(s, f"<{s.sender}> RET=HDRS ENVID=Q1", ["<You@example.com> NOTIFY=DELAY ORCPT=rfc822;a"])
    wait_for("the message", 15, lambda: got)
    equal((words(got[0][0]), [words(r) for r in got[0][1]]),
          ((f"MAIL FROM:<{s.sender}>", []), [("RCPT TO:<You@example.com>", [])]), "nothing of them")


def test_a_source_route_is_dropped(lab):
    s, got = onward(lab, ALL)
    hand_over(s, f"<@one.example:{s.sender}>", ["<@one.example,@two.example:You@example.com>"])
    wait_for("the message", 15, lambda: got)
    equal(words(got[0][0])[0], f"MAIL FROM:<{s.sender}>", "the sender")
    equal(words(got[0][1][0])[0], "RCPT TO:<You@example.com>", "the recipient")


def test_eight_bits_and_utf8(lab):
    s, got = onward(lab, ALL)
    hand_over(s, f"<{s.sender}> BODY=8BITMIME", ["<you@example.com>"],
              f"From: {s.sender}\r\n\r\n\xfc\r\n".encode("latin-1"))
    hand_over(s, f"<{s.sender}> SMTPUTF8", ["<j\u00fcrgen@example.com>"],
              f"From: {s.sender}\r\nSubject: gr\u00fcn\r\n\r\nhi\r\n")
    wait_for("both messages", 15, lambda: len(got) == 2)
    seen = {words(r[0])[0]: words(m)[1] for m, r, _ in got}
    check("BODY=8BITMIME" in seen["RCPT TO:<you@example.com>"], "8 bits", seen)
    check("SMTPUTF8" in seen["RCPT TO:<j\u00fcrgen@example.com>"], "UTF-8", seen)


def cannot(lab, extensions, mail, rcpt, data, code):
    s, got = onward(lab, extensions, bounce={"enabled": False})
    mid = hand_over(s, mail.format(s.sender), [rcpt], data)
    wait_for("the failure", 15, lambda: s.count()["failed_recipients"] == 1)
    equal(got, [], "nothing was sent")
    shown = s.ctl("queue", "show", mid)["recipients"][0]
    check(code in shown["reply"], "the reason", shown)


def test_eight_bits_to_a_hop_of_seven(lab):
    cannot(lab, ("PIPELINING",), "<{}> BODY=8BITMIME", "<you@example.com>",
           b"From: hello@shop.example\r\n\r\n\xfc\r\n", "5.6.3")


def test_utf8_address_to_a_hop_without(lab):
    cannot(lab, ("PIPELINING", "8BITMIME"), "<{}> SMTPUTF8", "<j\u00fcrgen@example.com>",
           b"From: hello@shop.example\r\n\r\nhi\r\n", "5.6.7")


def test_chunks_without_a_last_line_end(lab):
    """BDAT may end in the middle of a line; DATA may not: one CRLF is added, and nothing else."""
    s, got = onward(lab, ALL)
    with s.login() as c:
        reply(c.cmd(f"MAIL FROM:<{s.sender}>"), "250 *")
        reply(c.cmd("RCPT TO:<you@example.com>"), "250 *")
        data = f"From: {s.sender}\r\n\r\n.one\r\n\r\nlast"
        c.send(f"BDAT {len(data)} LAST\r\n{data}")
        reply(c.reply(), "250 2.0.0 Ok: queued as *")
    wait_for("the message", 15, lambda: got)
    head, _, body = got[0][2].partition(b"\r\n\r\n")
    check(re.search(rb"(?m)^From: ", head), "its head", head)
    equal(body, b"..one\r\n\r\nlast\r\n", "the body on the wire")

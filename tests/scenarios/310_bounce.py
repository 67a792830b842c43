"""Senders are told what became of their mail, once, as they asked; and nobody is told of a notice."""
import os
import signal
import time

from lab import paths
from lab.dsn import Notice
from lab.lab import check, equal, reply, small_disk
from lab.raw import wait_for

PLAIN = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 1000000")
QUICK = {"first": "100ms", "factor": 1000, "max": "200ms", "jitter": 0}


class Hop:
    """A next hop that answers by the words in an address: no.., later.., long..; what is in `down`
    says so of every recipient. It remembers what it took."""

    replies = {"no": "550 5.1.1 <{}>: no such user", "later": "451 4.2.0 {} is busy",
               "old": "550 go away", "long": "550-5.7.1 one\r\n550-5.7.1 Action: delivered\r\n"
               "550 5.7.1 " + "x" * 400}

    def __init__(self, lab, extensions=PLAIN, capture=("shop.example",), options=None, **more):
        self.extensions, self.got, self.tries, self.down = extensions, [], [], None
        self.peer = lab.peer("scripted", self.talk)
        self.s = lab.signet({("route", "capture"): {"domains": list(capture)}, "retry": dict(QUICK),
                             ("route", "onward"): {"domains": ["*"], "type": "smarthost",
                                                   "host": "127.0.0.1", "port": self.peer.port,
                                                   "tls": "none"}, **(options or {})}, **more)

    def talk(self, line):
        line.say("220 hop.example ESMTP")
        mail, rcpts = None, []
        while True:
            said = line.read()
            verb = said.split(" ")[0].split(":")[0].upper()
            if verb == "EHLO":
                ext = ["hop.example", *self.extensions]
                line.say("\r\n".join(f"250{'- '[i == len(ext) - 1]}{e}" for i, e in enumerate(ext)))
            elif verb == "MAIL":
                mail, rcpts = said, []
                line.say("250 2.1.0 ok")
            elif verb == "RCPT":
                to = said[said.index("<") + 1:said.index(">")]
                self.tries.append(to)
                why = self.down or next((v for k, v in self.replies.items() if to.startswith(k)), None)
                if not why:
                    rcpts.append(said)
                line.say(why.format(to) if why else "250 2.1.5 ok")
            elif verb == "DATA":
                line.say("354 go on" if rcpts else "554 5.5.1 no recipients")
                if rcpts:
                    self.got.append((mail, rcpts, line.read_data()))
                    line.say("250 2.6.0 taken")
            elif verb == "QUIT":
                line.say("221 bye")
                return
            else:
                line.say("250 ok")

    def send(self, rcpts, mail="", data=None, sender=None):
        with self.s.login() as c:
            sender = self.s.sender if sender is None else sender
            reply(c.cmd(f"MAIL FROM:<{sender}>{mail}"), "250 *")
            for r in rcpts:
                reply(c.cmd(f"RCPT TO:{r}"), "250 *")
            reply(c.cmd("DATA"), "354 *")
            r = c.data(data or f"From: {self.s.sender}\r\nSubject: the one\r\n\r\nhi\r\n")
            reply(r, "250 2.0.0 Ok: queued as *")
            return r.split()[-1]

    def notices(self, n):
        """The n notices there are when the queue is empty."""
        self.s.wait_empty()
        out = [Notice(m) for m in self.s.captured()]
        equal(len(out), n, "notices")
        return out

    def no_notice(self, why, **fields):
        self.s.wait_empty()
        event = self.s.wait_event("notice", result="none", reason=why, **fields)
        equal(self.s.captured(), [], "no notice")
        return event


def test_one_of_two_recipients(lab):
    h = Hop(lab)
    mid = h.send(["<no.body@example.com> ORCPT=rfc822;No+2BBody@example.com", "<yes@example.com>"],
                 " RET=HDRS ENVID=Q+2BCase1")
    n, = h.notices(1)
    equal(n.message["To"], h.s.sender)
    equal(n.message["From"], "Mail Delivery System <mailer-daemon@signet.test>")
    equal((n.about["Reporting-MTA"], n.about["Original-Envelope-Id"]), ("dns; signet.test", "Q+Case1"))
    check("Arrival-Date" in n.about, "when it came", n.about)
    g, = n.groups
    equal((g["Original-Recipient"], g["Final-Recipient"], g["Action"], g["Status"], g["Remote-MTA"],
           g["Diagnostic-Code"], g["Final-Log-ID"]),
          ("rfc822; No+Body@example.com", "rfc822; no.body@example.com", "failed", "5.1.1",
           "dns; [127.0.0.1]", "smtp; 550 5.1.1 <no.body@example.com>: no such user", mid))
    check("yes@example.com" not in n.text() and "Check the address" in n.text(), "the words", n.text())
    equal(n.returned.get_content_type(), "text/rfc822-headers")
    check("Subject: the one" in n.returned.get_content() and b"\r\nhi" not in n.raw, "the header only")
    equal(len(h.got), 1, "the other got it")
    # It prefers what the sender called them.
    equal(n.bounce_parser(), {"is_bounce": 1, "to": ["No+Body@example.com"], "reports": [
        {"to": "No+Body@example.com", "reason": "user_unknown"}]})
    equal(n.sisimai(os.path.join(lab.dir, "notice")), [
        {"to": "no.body@example.com", "from": h.s.sender, "status": "5.1.1", "action": "failed",
         "reason": "userunknown"}])
    event, = h.s.events("notice")
    equal((event["id"], event["kind"], event["result"], event["recipients"], event["to"]),
          (mid, "failed", "queued", 1, h.s.sender))
    outcome, = h.s.events("outcome", to="no.body@example.com")
    equal((outcome["outcome"], outcome["code"]), ("failed", 550))


def test_those_that_failed_together_share_one(lab):
    h = Hop(lab)
    h.send(["<no1@example.com>", "<old@example.com>", "<long@example.com> NOTIFY=FAILURE"])
    n, = h.notices(1)
    equal([(g["Final-Recipient"], g["Status"]) for g in n.groups],
          [("rfc822; no1@example.com", "5.1.1"), ("rfc822; old@example.com", "5.0.0"),
           ("rfc822; long@example.com", "5.7.1")])
    said = n.group("long@example.com")["Diagnostic-Code"]
    check(said.startswith("smtp; 550 5.7.1 one 5.7.1 Action: delivered"), "as it was said, in one line", said)
    equal({x["to"] for x in n.bounce_parser()["reports"]},
          {"no1@example.com", "old@example.com", "long@example.com"})


def test_all_of_it_goes_back_when_asked_for(lab):
    h = Hop(lab, options={"bounce": {"full_size": "64K"}})
    body = f"From: {h.s.sender}\r\n\r\n\xfc--=_\r\n".encode("latin-1")
    h.send(["<no@example.com>"], " RET=FULL BODY=8BITMIME", body)
    n, = h.notices(1)
    equal(n.returned.get_content_type(), "message/rfc822")
    check(b"\r\n\r\n\xfc--=_\r\n" in n.raw, "as it was", n.raw)
    equal(n.message["Content-Transfer-Encoding"], "8bit")
    h.send(["<no@example.com>"], " RET=FULL", body[:-2] + b"x" * 900 + (b"\r\n" + b"y" * 990) * 70 + b"\r\n")
    first, second = sorted(h.notices(2), key=lambda x: "rfc822-headers" in x.returned.get_content_type())
    equal((first.returned.get_content_type(), second.returned.get_content_type()),
          ("message/rfc822", "text/rfc822-headers"), "too large for all of it")


def test_a_large_body_in_a_file_goes_back(lab):
    h = Hop(lab, options={"bounce": {"full_size": "4M"}, "limits": {"header_size": "16K"},
                          "spool": {"body_memory": "16K"}})
    data = f"From: {h.s.sender}\r\n\r\n" + "".join(f"line {i}\r\n" for i in range(20000))
    h.send(["<no@example.com>"], " RET=FULL", data)
    n, = h.notices(1)
    check(data.partition("\r\n\r\n")[2].encode() in n.raw, "every line of it", len(n.raw))


def test_no_notice_of_a_notice(lab):
    h = Hop(lab)
    h.send(["<no@example.com>"], sender="")
    h.no_notice("null_sender", kind="failed", recipients=1)


def test_a_notice_that_is_refused_ends(lab):
    h = Hop(lab, capture=("nowhere.example",))
    h.down = "550 5.1.1 nobody is here"
    h.send(["<no@example.com>"])
    h.no_notice("null_sender")
    equal([e["result"] for e in h.s.events("notice")], ["queued", "none"], "one, and its end")
    equal(h.tries, ["no@example.com", h.s.sender], "attempts")


def test_where_no_route_leads(lab):
    h = Hop(lab, options={("route", "capture"): None})
    h.s.options[("route", "onward")]["domains"] = ["example.com"]
    h.s.write_conf()
    h.s.restart()
    h.send(["<no@example.com>"])
    h.no_notice("no_route")


def test_not_when_nobody_wants_to_know(lab):
    h = Hop(lab)
    h.send(["<no1@example.com> NOTIFY=NEVER", "<no2@example.com> NOTIFY=SUCCESS,DELAY",
            "<yes@example.com> NOTIFY=FAILURE"])
    h.no_notice("not_wanted", recipients=2)


def test_success(lab):
    h = Hop(lab, capture=("shop.example", "here.example"))
    h.send(["<a@example.com> NOTIFY=SUCCESS ORCPT=rfc822;A@example.com", "<b@example.com>",
            "<no@example.com> NOTIFY=SUCCESS,FAILURE"], " ENVID=S1")
    failed, relayed = sorted(h.notices(2), key=lambda n: n.groups[0]["Action"])
    equal([(g["Final-Recipient"], g["Action"], g["Status"], g["Original-Recipient"])
           for g in relayed.groups], [("rfc822; a@example.com", "relayed", "2.6.0", "rfc822; A@example.com")])
    equal([g["Final-Recipient"] for g in failed.groups], ["rfc822; no@example.com"])
    equal(relayed.about["Original-Envelope-Id"], "S1")
    check("will not confirm" in relayed.text(), "no promise", relayed.text())
    equal(relayed.bounce_parser()["reports"], [], "no failure")
    h.send(["<c@here.example> NOTIFY=SUCCESS"])
    h.s.wait_empty()
    said = [Notice(m) for m in h.s.captured() if b"Action: delivered" in m]
    equal([[(g["Final-Recipient"], g["Status"]) for g in n.groups] for n in said],
          [[("rfc822; c@here.example", "2.0.0")]], "in a mailbox here")


def test_success_is_said_by_a_hop_that_can(lab):
    h = Hop(lab, extensions=PLAIN + ("DSN",))
    h.send(["<a@example.com> NOTIFY=SUCCESS,FAILURE", "<no@example.com> NOTIFY=SUCCESS,FAILURE"])
    n, = h.notices(1)
    equal([g["Action"] for g in n.groups], ["failed"], "its own refusal is ours to tell")
    check("NOTIFY=SUCCESS,FAILURE" in h.got[0][1][0], "passed on", h.got)


def test_a_delay_is_told_once(lab):
    h = Hop(lab, options={"bounce": {"delay_notice": "400ms"}})
    h.down = "451 4.3.2 not now"
    h.send(["<a@example.com> NOTIFY=DELAY,FAILURE", "<b@example.com>", "<c@example.com> NOTIFY=FAILURE"])
    h.s.wait_captured(1)
    h.s.wait_event("notice", kind="delayed", result="queued")
    tried = len(h.tries)
    wait_for("more attempts", 10, lambda: len(h.tries) > tried + 6)
    h.s.kill()
    h.s.start()
    tried = len(h.tries)
    wait_for("more attempts", 10, lambda: len(h.tries) > tried + 6)
    h.down = None
    n, = h.notices(1)
    g, = n.groups
    equal((g["Final-Recipient"], g["Action"], g["Status"]), ("rfc822; a@example.com", "delayed", "4.3.2"))
    check("Will-Retry-Until" in g and "Diagnostic-Code" in g, "until when", g)
    check("need not send it again" in n.text(), "what to do", n.text())
    equal(len(h.got), 1, "delivered in the end")


def test_a_warning_for_everybody(lab):
    h = Hop(lab, options={"bounce": {"delay_notice": "200ms", "delay_warning": "yes"}})
    h.down = "451 4.3.2 not now"
    h.send(["<a@example.com>", "<b@example.com> NOTIFY=NEVER"])
    h.s.wait_captured(1)
    h.down = None
    n, = h.notices(1)
    equal([g["Final-Recipient"] for g in n.groups], ["rfc822; a@example.com"])


def test_a_life_has_an_end(lab):
    h = Hop(lab, options={"retry": {**QUICK, "lifetime": "5s"}})
    mid = h.send(["<later@example.com>"])
    n, = h.notices(1)
    g, = n.groups
    equal((g["Action"], g["Status"], g["Diagnostic-Code"]),
          ("failed", "4.4.7", "smtp; 451 4.2.0 later@example.com is busy"))
    check("within 5 seconds. The last attempt ended with: 451 4.2.0" in n.text(), "the words", n.text())
    last = h.s.events("outcome", id=mid)[-1]
    equal((last["outcome"], last["reply"]),
          ("failed", "expired after 5 seconds; last answer: 451 4.2.0 later@example.com is busy"))
    equal(n.bounce_parser()["to"], ["later@example.com"])


def test_a_dead_site_ends_lives_too(lab):
    h = Hop(lab, options={"retry": {**QUICK, "lifetime": "1s"}})
    h.peer.stop()
    h.send(["<a@example.com>"])
    n, = h.notices(1)
    g, = n.groups
    equal((g["Action"], g["Status"]), ("failed", "4.4.7"))
    check(g["Diagnostic-Code"].startswith("X-Signet; expired after 1 second; last answer: "), "why", g)
    check("Remote-MTA" not in g, "nobody was reached", g)


def test_what_no_route_leads_to_ends_too(lab):
    """A reload took the route away: the mail waits, and says why, until its life is over."""
    h = Hop(lab, options={"retry": {**QUICK, "lifetime": "10s"}})
    h.down = "451 4.3.2 not now"
    mid = h.send(["<a@example.com>"])
    h.s.wait_event("outcome", id=mid)
    del h.s.options["route", "onward"]
    h.s.write_conf()
    h.s.run("reload")
    wait_for("the reason", 10, lambda: "no route leads to its domain" in
             h.s.ctl("queue", "why", mid)["deliveries"][0]["why"])
    n, = h.notices(1)
    g, = n.groups
    equal((g["Action"], g["Status"]), ("failed", "4.4.7"))
    equal(g["Diagnostic-Code"], "X-Signet; expired after 10 seconds; last answer: no route leads to its domain")


def test_a_dead_site_ends_many_lives_at_once(lab):
    """However many wait there, and however rarely the site is tried."""
    h = Hop(lab, options={"retry": {**QUICK, "first": "1500ms", "max": "1500ms", "lifetime": "1s"}})
    h.peer.stop()
    began = time.monotonic()
    with h.s.login() as c:
        for i in range(60):
            reply(c.message(h.s.sender, f"a{i}@example.com", f"From: {h.s.sender}\r\n\r\nhi\r\n"), "250 *")
    told = [g["Final-Recipient"] for n in h.notices(60) for g in n.groups]
    equal(len(set(told)), 60, "each")
    tries = len(h.s.events("attempt", result="failed"))
    check(tries <= 2 + (time.monotonic() - began) / 1.5, "the site was tried a few times only", tries, h.s.events("attempt"))


def test_a_dead_site_and_a_delay(lab):
    """Those who asked are told; nothing is attempted for it, and all is due when the site is back."""
    h = Hop(lab, options={"retry": {**QUICK, "first": "1500ms", "max": "1500ms"},
                          "bounce": {"delay_notice": "100ms"}})
    port = h.peer.port
    h.peer.stop()
    ids = [h.send([f"<a{i}@example.com> NOTIFY=DELAY,FAILURE", f"<b{i}@example.com>"]) for i in range(8)]
    h.s.wait_event("notice", kind="delayed", result="queued", count=8)
    h.s.wait_captured(8)
    tries = [max(r["attempts"] for r in h.s.ctl("queue", "show", i)["recipients"]) for i in ids]
    check(sum(t == 0 for t in tries) >= 4, "most were never attempted", tries)
    seen = len(h.s.events("attempt"))
    wait_for("more failures", 30, lambda: len(h.s.events("attempt")) > seen + 1)
    h.peer = lab.peer("scripted", h.talk, port)
    told = [g["Final-Recipient"].split("; ")[1] for n in h.notices(8) for g in n.groups]
    equal(sorted(told), [f"a{i}@example.com" for i in range(8)], "each once, and nobody else")
    equal(len(h.got), 8, "delivered")


def test_addresses_in_utf8(lab):
    h = Hop(lab, capture=("shop.example",))
    h.send(["<no-j\u00fcrgen@example.com> ORCPT=utf-8;no-j\\x{FC}@example.com"], " SMTPUTF8",
           f"From: {h.s.sender}\r\nSubject: gr\u00fcn\r\n\r\nhi\r\n")
    n, = h.notices(1)
    equal(n.type, "message/global-delivery-status")
    equal(n.returned.get_content_type(), "message/global-headers")
    g, = n.groups
    equal((g["Original-Recipient"], g["Final-Recipient"]),
          ("utf-8; no-j\u00fc@example.com", "utf-8; no-j\u00fcrgen@example.com"))
    check("<no-j\u00fcrgen@example.com>" in n.text(), "the words", n.text())
    check("Subject: gr\u00fcn".encode() in n.raw, "the header", n.raw)


def test_a_sender_in_utf8_is_told(lab):
    """The notice itself needs SMTPUTF8 then, and says so to the next hop."""
    h = Hop(lab, capture=("nowhere.example",))
    h.send(["<no@example.com>"], " SMTPUTF8", sender="j\u00fcrgen@shop.example")
    wait_for("the notice at the hop", 15, lambda: h.got)
    mail, rcpts, data = h.got[0]
    check(mail.startswith("MAIL FROM:<> ") and "SMTPUTF8" in mail, "as what", mail)
    equal(rcpts, ["RCPT TO:<j\u00fcrgen@shop.example>"])
    check("To: j\u00fcrgen@shop.example\r\n".encode() in data, "to whom", data)


def test_no_more_than_the_rate(lab):
    h = Hop(lab, options={"bounce": {"per_hour": 2}})
    for _ in range(4):
        h.send(["<no@example.com>"])
    h.s.wait_event("notice", result="none", reason="rate", count=2)
    h.notices(2)


def test_switched_off_the_operator_decides(lab):
    h = Hop(lab, options={"bounce": {"enabled": False}})
    h.send(["<no@example.com>", "<yes@example.com> NOTIFY=SUCCESS"])
    wait_for("the failure", 15, lambda: h.s.count()["failed_recipients"] == 1)
    equal((h.s.captured(), h.s.events("notice")), ([], []), "nothing is said")


def test_the_queue_shows_it_under_the_account(lab):
    h = Hop(lab, capture=("nowhere.example",))
    h.replies = {**h.replies, "hello": "451 4.3.2 not now"}
    h.send(["<no@example.com>"])
    h.s.wait_event("notice", result="queued")
    rows = wait_for("the notice in the queue", 10,
                    lambda: h.s.ctl("queue", "list", "--account", "shop")["messages"])
    shown = h.s.ctl("queue", "show", rows[0]["id"])
    equal((shown["reverse_path"], [r["to"] for r in shown["recipients"]], shown["key"]),
          ("", [h.s.sender], ""))
    del h.replies["hello"]
    h.s.wait_empty()


def killed(lab, fault, least, most):
    h = Hop(lab, binary=paths.SIGNET_FAULTS)
    mid = h.send(["<yes@example.com>"])
    h.s.wait_empty()
    h.s.stop()
    h.s.env["SIGNET_FAULT"] = fault
    h.s.killed = True
    h.s.start()
    mid = h.send(["<no@example.com>"])
    wait_for("its death", 20, lambda: not h.s.running())
    equal(h.s.process.returncode, -signal.SIGKILL, "killed")
    h.s.process = None
    del h.s.env["SIGNET_FAULT"]
    h.s.start()
    h.s.wait_empty()
    notices = [Notice(m) for m in h.s.captured()]
    check(least <= len(notices) <= most, "notices", len(notices))
    equal({n.groups[0]["Final-Log-ID"] for n in notices}, {mid}, "about the one")


def test_killed_before_anything_is_durable(lab):
    killed(lab, "before_outcome", 1, 1)


def test_killed_between_notice_and_outcome(lab):
    """Told twice, which is the price of never not at all."""
    killed(lab, "before_settle", 2, 2)


def test_killed_while_the_notice_is_written(lab):
    killed(lab, "spool_written@2", 1, 2)


def test_killed_at_any_time(lab):
    """Ten deaths under load: everybody refused was told of, and hardly anybody twice."""
    h = Hop(lab)
    sent = set()
    for death in range(10):
        before = len(h.s.events("notice"))
        with h.s.login() as c:
            for i in range(12):
                reply(c.message(h.s.sender, f"no{death}-{i}@example.com",
                                f"From: {h.s.sender}\r\n\r\nhi\r\n"), "250 *")
                sent.add(f"no{death}-{i}@example.com")
        # Some notices of this round are under way now, and some are not begun.
        h.s.wait_event("notice", count=before + 1 + death % 5)
        h.s.kill()
        h.s.start()
    h.s.wait_empty()
    told = [g["Final-Recipient"].split("; ")[1] for m in h.s.captured() for g in Notice(m).groups]
    equal(set(told), sent, "everybody")
    check(len(told) <= len(sent) + 10 * 12, "twice at most", len(told))
    twice = len(told) - len(set(told))
    print(f"note: 10 kills, {len(sent)} refused, all told, {twice} of them twice", flush=True)
    check(max(told.count(x) for x in set(told)) <= 2, "nobody three times")


def test_a_full_disk(lab):
    """Without room for notices the rest goes on; they are told when there is room, and nobody gets
    a message twice."""
    disk = small_disk(lab)
    h = Hop(lab, options={"spool": {"path": os.path.join(disk, "spool"), "reserve": "8M",
                                    "segment": "1M"}})
    h.down = "451 4.3.2 not now"
    failed = h.send(["<no@example.com>"])
    success = h.send(["<yes@example.com> NOTIFY=SUCCESS"])
    h.send(["<both@example.com> NOTIFY=SUCCESS", "<no2@example.com>"])
    h.send(["<plain@example.com>"])
    filler = os.path.join(disk, "filler")
    with open(filler, "wb") as f:
        free = os.statvfs(disk)
        os.posix_fallocate(f.fileno(), 0, free.f_bavail * free.f_bsize - (4 << 20))
    with h.s.login() as c:
        wait_for("452 4.3.1", 10, lambda: c.message(
            h.s.sender, "x@example.com", f"From: {h.s.sender}\r\n\r\nhi\r\n").code == 452)
    before = len(h.tries)
    h.down = None
    h.s.wait_event("outcome", to="plain@example.com", outcome="delivered")
    wait_for("the failure again and again", 10, lambda: h.tries[before:].count("no@example.com") > 2)
    equal(h.s.events("notice"), [], "no notice yet")
    equal(h.s.ctl("queue", "show", failed)["recipients"][0]["state"], "pending", "nothing is settled")
    check(h.s.events("outcome", id=success, outcome="delivered") == [], "not recorded before it is told")
    os.unlink(filler)
    notices = h.notices(4)
    equal(sorted((g["Action"], g["Final-Recipient"].split("; ")[1]) for n in notices for g in n.groups),
          [("failed", "no2@example.com"), ("failed", "no@example.com"), ("relayed", "both@example.com"),
           ("relayed", "yes@example.com")], "told")
    taken = [r for _, rcpts, _ in h.got for r in rcpts]
    for to in ("yes", "both", "plain"):
        equal(len([r for r in taken if f"<{to}@" in r]), 1, f"{to} got it once")

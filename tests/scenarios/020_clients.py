"""Clients that nobody here wrote, through both doors, and what they are told when it goes wrong."""
import re

from lab import clients
from lab.lab import check

TIMEOUT = 240
GRANT = "535 5.7.8 Authentication failed: The provided authorization grant is invalid, expired, or revoked"
FOREIGN = "550 5.7.1 The from address does not match a verified Sender Identity"


def setup(lab):
    s = lab.signet({"limits": {"message": "1M"}})
    s.revoked_id, s.revoked = s.new_key()
    s.ctl("key", "revoke", s.revoked_id)
    return s


LISTENER = {"starttls": "submission", "tls": "tls"}


def delivered(s, client, door):
    subject = f"from {client} by {door}"
    before = len(s.events("authentication"))
    r = clients.send(client, s, door, subject=subject)
    check(r.ok, f"{client} on {door}", r.output)
    login = s.wait_event("authentication", count=before + 1)[before:]
    check([(e["listener"], e["result"]) for e in login] == [(LISTENER[door], "ok")],
          "one login, through this door", login)
    m = s.find_captured(subject)
    head = m.partition(b"\r\n\r\n")[0] if b"\r\n\r\n" in m else m.partition(b"\n\n")[0]
    check(re.search(rb"(?i)^Received: ", head, re.M) and b"ESMTPSA" in head, "Received", head)
    check(re.search(rb"(?im)^Date: ", head) and re.search(rb"(?im)^Message-ID: ", head),
          "Date and Message-ID are there", head)


def refused(s, client, door, want, **more):
    before = len(s.captured())
    r = clients.send(client, s, door, **more)
    check(not r.ok, f"{client} was to be refused", r.output)
    check(want in re.sub(r"\s+", " ", r.output), f"{client} shows {want!r}", r.output)
    check(len(s.captured()) == before, "nothing is delivered")


def big(s):
    return (f"From: {s.sender}\r\nTo: you@example.com\r\nSubject: big\r\n\r\n"
            + ("x" * 70 + "\r\n") * 20000).encode()


def tests():
    for client in clients.ALL:
        for door in ("starttls", "tls"):
            yield (f"test_{client}_{door}",
                   lambda lab, s, c=client, d=door: delivered(s, c, d))
    for client in ("swaks", "nodemailer", "curl"):
        for door in ("starttls", "tls"):
            for what, want, how in (
                    ("wrong_key", GRANT, lambda s: {"key": s.key[:-4] + "AAAA"}),
                    ("revoked_key", GRANT, lambda s: {"key": s.revoked}),
                    ("foreign_from", FOREIGN, lambda s: {"from_header": "ceo@bank.example"}),
                    ("oversized", "552 5.3.4", lambda s: {"data": big(s)})):
                yield (f"test_{client}_{what}_{door}",
                       lambda lab, s, c=client, d=door, w=want, h=how: refused(s, c, d, w, **h(s)))

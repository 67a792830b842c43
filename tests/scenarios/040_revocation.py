"""What an operator takes away is gone within a second, in sessions that are already open."""
import base64
import time

from lab import raw
from lab.lab import check, reply

GRANT = ("535 5.7.8 Authentication failed: The provided authorization grant is invalid, expired, "
         "or revoked")


def one(c, s, tag):
    return c.message(s.sender, "you@example.com",
                     f"From: {s.sender}\r\nTo: you@example.com\r\nSubject: {tag}\r\n\r\nhi\r\n")


def refused_within(c, s, seconds, want):
    """The first MAIL that is refused comes no later than so many seconds from now."""
    end = time.monotonic() + seconds
    while True:
        r = c.cmd(f"MAIL FROM:<{s.sender}>")
        if r.code // 100 != 2:
            reply(r, want, "MAIL")
            reply(c.reply(), "421 4.7.0 Closing connection", "and then")
            check(c.closed(), "closed")
            return
        c.cmd("RSET")
        check(time.monotonic() < end, f"MAIL is still accepted after {seconds} s")
        time.sleep(0.02)


def test_revoked_key_is_refused_at_the_next_mail(lab):
    s = lab.signet()
    kid, key = s.new_key()
    with s.login(key=key) as c, s.login(key=s.key) as other:
        reply(one(c, s, "before"), "250 2.0.0 Ok: queued as *")
        s.ctl("key", "revoke", kid)
        refused_within(c, s, 1.0, GRANT)
        reply(one(other, s, "another key goes on"), "250 2.0.0 Ok: queued as *")
    with s.raw() as c:
        c.ehlo()
        reply(c.auth(key), GRANT)


def test_transaction_begun_before_the_revocation(lab):
    """It bites at the next MAIL: what had begun may end."""
    s = lab.signet()
    kid, key = s.new_key()
    with s.login(key=key) as c:
        reply(c.cmd(f"MAIL FROM:<{s.sender}>"), "250 *")
        reply(c.cmd("RCPT TO:<you@example.com>"), "250 *")
        s.ctl("key", "revoke", kid)
        time.sleep(1)
        reply(c.cmd("DATA"), "354 *")
        reply(c.data(f"From: {s.sender}\r\n\r\nhi\r\n"), "250 2.0.0 *")
        refused_within(c, s, 0.1, GRANT)


def test_held_account_and_its_return(lab):
    s = lab.signet()
    with s.login() as c:
        s.ctl("account", "hold", "shop")
        refused_within(c, s, 1.0, GRANT)
        with s.raw() as d:
            d.ehlo()
            reply(d.auth(s.key), GRANT)
        s.ctl("account", "release", "shop")
        with s.login() as d:
            reply(one(d, s, "back"), "250 2.0.0 *")


def test_domain_taken_away(lab):
    s = lab.signet()
    with s.login() as c:
        reply(one(c, s, "before"), "250 2.0.0 *")
        s.ctl("domain", "remove", "shop.example", "--account", "shop")
        time.sleep(1)
        reply(one(c, s, "after"), "550 5.7.1 The from address does not match a verified Sender "
                                  "Identity*")


def test_key_without_mail_send(lab):
    s = lab.signet()
    _, key = s.new_key("shop", "--scope", "api_keys.read")
    with s.raw() as c:
        c.ehlo()
        reply(c.auth(key), GRANT)


def test_imported_key_works(lab):
    """A migration is a change of host name: a key that applications already hold."""
    s = lab.signet()
    key = "SG.abcdefghijklmnopqrstuv." + "Q" * 43
    s.ctl("key", "create", "--account", "shop", "--import", stdin=key + "\n")
    s.know_secret(key)
    with s.login(key=key) as c:
        reply(one(c, s, "imported"), "250 2.0.0 *")
    with s.login(key=key, user="abcdefghijklmnopqrstuv") as c:
        reply(c.cmd("NOOP"), "250 2.0.0 *")


def test_key_acts_for_itself_only(lab):
    """RFC 4616 2: who names another identity is refused, not let in as himself."""
    s = lab.signet()
    for name, want in ((s.key.split(".")[1], "235 *"), ("shop", GRANT), ("boss@shop.example", GRANT)):
        with s.raw() as c:
            c.ehlo()
            token = base64.b64encode(f"{name}\0apikey\0{s.key}".encode()).decode()
            reply(c.cmd("AUTH PLAIN " + token), want, name)


def test_same_answer_for_every_reason(lab):
    s = lab.signet()
    kid, revoked = s.new_key()
    s.ctl("key", "revoke", kid)
    bad = "535 5.7.8 Authentication failed: Bad username / password"
    cases = [
        ("apikey", revoked, GRANT), ("apikey", s.key[:-1] + ("A" if s.key[-1] != "A" else "B"), GRANT),
        ("apikey", "SG." + "A" * 22 + "." + "B" * 43, GRANT),
        (s.key.split(".")[1], s.key, "235 2.7.0 Authentication successful"),
        (revoked.split(".")[1], s.key, GRANT),
        ("somebody", s.key, bad), ("apikey", "hunter2", bad), ("apikey", s.key + "x", bad),
        ("joe@shop.example", "hunter2", "535 5.7.8 Authentication failed: Basic authentication is "
                                        "not allowed with 2FA enabled. To fix, see *"),
        ("joe@nowhere.example", s.key, "535 5.7.8 Authentication failed: Basic authentication is "
                                       "not allowed with 2FA enabled. To fix, see *"),
    ]
    for user, password, want in cases:
        with s.raw() as c:
            c.ehlo()
            reply(c.auth(password, user), want, f"{user} / {password[:6]}...")


def test_nobody_acts_as_another(lab):
    """RFC 4616: an authorization identity that is not the key's own is refused, and the log says why."""
    s = lab.signet()
    kid = s.key.split(".")[1]
    for authzid, user, want in (("apikey", "apikey", "235 2.7.0 *"), (kid, "apikey", "235 2.7.0 *"),
                                (kid, kid, "235 2.7.0 *"), ("admin", "apikey", GRANT),
                                ("hello@shop.example", "apikey", GRANT), ("apikey", kid, "235 2.7.0 *")):
        with s.raw() as c:
            c.ehlo()
            reply(c.cmd("AUTH PLAIN " + raw.plain(user, s.key, authzid)), want, authzid)
            if want == GRANT:
                reply(c.cmd(f"MAIL FROM:<{s.sender}>"), "530 5.7.0 *")
    s.wait_event("authentication", count=2, reason="other_identity")

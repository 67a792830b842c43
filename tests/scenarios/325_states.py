"""Each row of the table of states (src/account/state.c, docs/operations.md): who may log in, who may
send in a session that is open, and what becomes of the mail that is queued."""
from lab.lab import check, equal, reply
from lab.raw import wait_for

GRANT = "535 5.7.8 *invalid, expired, or revoked"
QUICK = {"first": "200ms", "max": "400ms", "jitter": 0}


class Mail:
    """A server whose next hop refuses everything for now until told otherwise: so mail is queued.
    Keys: the account's own, and the one that the row is about."""

    def __init__(self, lab, options=None):
        self.open = False
        self.hop = lab.peer("smarthost", replies={
            "DATA": lambda _: None if self.open else "451 4.7.1 not now"})
        self.s = lab.signet({
            ("route", "capture"): None, "retry": dict(QUICK), **(options or {}),
            ("route", "onward"): {"domains": ["*"], "type": "smarthost", "host": "127.0.0.1",
                                  "port": self.hop.port, "tls": "none"}})
        self.id, self.key = self.s.new_key("shop")
        self.session = self.s.login(key=self.key)
        self.session.__enter__()
        reply(self.send(self.session, "first"), "250 2.0.0 *")
        lab.at_end(lambda: self.session.__exit__(None, None, None))
        wait_for("an attempt", 15, lambda: len(self.hop.attempts) > 0)

    def send(self, c, subject):
        reply(c.cmd(f"MAIL FROM:<{self.s.sender}>"), "250 *")
        reply(c.cmd("RCPT TO:<you@example.com>"), "250 *")
        reply(c.cmd("DATA"), "354 *")
        return c.data(f"From: {self.s.sender}\r\nSubject: {subject}\r\n\r\nhi\r\n")

    def may(self, login, mail):
        """What of the rule is seen from outside."""
        with self.s.raw() as c:
            c.ehlo()
            reply(c.auth(self.key), "235 *" if login else GRANT)
        if mail:
            reply(self.send(self.session, "new"), "250 2.0.0 *")
            return
        # Within a second, at the next MAIL of the session that is open.
        seen = []
        wait_for("the refusal", 5, lambda: seen.append(
            self.session.cmd(f"MAIL FROM:<{self.s.sender}>")) or not seen[-1].startswith("250")
            or not self.session.cmd("RSET"))
        check(seen[-1].startswith("5") or seen[-1].startswith("4"), "refused", seen[-1])

    def goes_out(self, n=1):
        self.open = True
        wait_for("the queued mail", 15, lambda: len(self.hop.messages) >= n)

    def waits(self):
        """Nothing of it is tried any more: other mail, sent later, overtakes it."""
        self.settle()
        before = len(self.hop.messages)
        self.open = True
        other = self.s.furnish("other", "other.example")
        with self.s.login(key=other) as c:
            reply(c.cmd("MAIL FROM:<a@other.example>"), "250 *")
            reply(c.cmd("RCPT TO:<you@example.com>"), "250 *")
            reply(c.cmd("DATA"), "354 *")
            reply(c.data("From: a@other.example\r\nSubject: overtakes\r\n\r\nhi\r\n"), "250 *")
        wait_for("the other mail", 15, lambda: len(self.hop.messages) > before)
        equal([b"overtakes" in m.data for m in self.hop.messages[before:]], [True], "what went out")
        self.count(1)

    def settle(self):
        """Attempts under way end."""
        wait_for("attempts to end", 10,
                 lambda: self.s.ctl("queue", "count")["under_way"] == 0)

    def count(self, n):
        equal(self.s.ctl("queue", "count", "--account", "shop")["messages"], n, "queued messages")

    def why(self):
        row = self.s.ctl("queue", "list", "--account", "shop")["messages"][0]
        return self.s.ctl("queue", "why", row["id"])["deliveries"][0]["why"]


def test_account_active_and_key_active(lab):
    m = Mail(lab)
    m.may(True, True)
    m.goes_out(2)


def test_account_held_and_released(lab):
    m = Mail(lab)
    equal(m.s.ctl("account", "hold", "shop")["state"], "held", "state")
    m.may(False, False)
    m.waits()
    check(m.why().startswith("held: account shop is held since "), "why", m.why())
    m.s.stop()
    m.s.start()  # it is so after a restart, too
    m.count(1)
    equal(m.s.ctl("queue", "count", "--state", "held")["messages"], 1, "held after a restart")
    equal(m.s.ctl("account", "release", "shop")["state"], "active", "state")
    m.goes_out(2)
    with m.s.login(key=m.key) as c:
        reply(m.send(c, "again"), "250 2.0.0 *")


def test_account_held_and_its_queue_released(lab):
    m = Mail(lab)
    m.s.ctl("account", "hold", "shop")
    m.settle()
    m.s.ctl("queue", "release", "--account", "shop")
    m.goes_out()
    m.may(False, False)


def test_account_held_that_keeps_its_queue(lab):
    m = Mail(lab)
    equal(m.s.ctl("account", "hold", "shop", "--queued", "keep")["queued"], "keep", "queued")
    m.may(False, False)
    m.goes_out()


def test_account_closed(lab):
    m = Mail(lab, {"queue": {"closed_keep": "1s"}})
    m.s.ctl("account", "close", "shop", "--queued", "hold")
    m.may(False, False)
    m.waits()
    check(m.why().startswith("held: account shop was closed at "), "why", m.why())
    # Told nothing about it, what it has queued is cancelled after queue.closed_keep.
    m.s.ctl("account", "close", "shop")
    wait_for("the end", 90, lambda: m.s.ctl("queue", "count")["messages"] == 0)
    equal(len(m.hop.messages), 1, "messages that went out: the other account's")


def test_account_closed_and_released(lab):
    m = Mail(lab)
    m.s.ctl("account", "close", "shop")
    m.settle()
    m.s.ctl("account", "release", "shop")
    m.goes_out()


def test_key_revoked(lab):
    m = Mail(lab)
    equal(m.s.ctl("key", "revoke", m.id)["queued"], "hold", "queued")
    m.may(False, False)
    m.waits()
    check(m.why().startswith(f"held: key {m.id} was revoked at "), "why", m.why())
    m.s.kill()
    m.s.start()
    equal(m.s.ctl("queue", "count", "--state", "held")["messages"], 1, "held after a crash")
    m.s.ctl("queue", "release", "--key", m.id)
    m.goes_out(2)


def test_key_revoked_and_its_mail_kept(lab):
    m = Mail(lab)
    m.s.ctl("key", "revoke", m.id, "--queued", "keep")
    m.may(False, False)
    m.goes_out()


def test_key_revoked_and_its_mail_cancelled(lab):
    m = Mail(lab)
    m.s.ctl("key", "revoke", m.id, "--queued", "cancel")
    wait_for("the end", 30, lambda: m.s.ctl("queue", "count")["messages"] == 0)
    equal(len(m.hop.messages), 0, "messages that went out")


def test_key_expired(lab):
    m = Mail(lab)
    id, key = m.s.new_key("shop", "--expires", "5")
    with m.s.login(key=key) as c:
        reply(m.send(c, "before"), "250 2.0.0 *")
        wait_for("its end", 15, lambda: m.s.ctl("key", "show", id)["state"] == "expired")
        m.key, m.session = key, c
        m.may(False, False)
        equal(m.s.ctl("key", "show", id)["queued"], "keep", "queued")
    m.goes_out(2)

"""No way to guess: late answers, bans, and the authentication log that tells of them."""
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import time

from lab import paths, raw
from lab.lab import check, equal, reply
from lab.raw import wait_for

BAD = ("535 5.7.8 Authentication failed: The provided authorization grant is invalid, expired, "
       "or revoked")
BANNED = "421 4.7.0 Too many failed logins from your address, try again later"
GUARD = {"guard": {"allow": [], "free": 2, "delay": "20ms", "delay_max": "100ms", "ban_after": 6,
                   "ban": "1h", "per_minute": 0}}


def wrong(key, i):
    """The key with another secret, of the same shape."""
    return key[:-4] + f"{i:04d}"


def guess(s, key, source, door="tls"):
    with s.raw(door, source=source) as c:
        c.ehlo("guesser.example")
        if door != "tls":
            c.starttls()
            c.ehlo("guesser.example")
        r = c.auth(key)
        reply(r, BAD, "a guess")
        return r


def ban_by_guessing(s, source, first=0):
    """Guesses until it is told to go away; how many that took."""
    for i in range(first, first + 50):
        try:
            guess(s, wrong(s.key, i), source)
        except (raw.Closed, OSError):
            return i - first
    raise AssertionError("fifty guesses, and no ban")


def rows(s, *args):
    out = []
    for line in s.run("authlog", "--json", *args).splitlines():
        out += json.loads(line)["entries"]
    return out


def test_a_guesser_is_banned_and_the_owner_is_not(lab):
    s = lab.signet(GUARD)
    with s.login(source="127.0.0.2"):
        pass
    equal(ban_by_guessing(s, "127.0.0.3"), 6, "guesses before the ban")
    with raw.Raw(s.port("submission"), source="127.0.0.3", greet=False) as c:
        reply(c.reply(), BANNED, "where it can be said")
        check(c.closed(), "and closed")
    # Its neighbours log in, and so does the owner, whatever was guessed about the key.
    with s.login(source="127.0.0.4"), s.login(source="127.0.0.2"):
        pass
    s.wait_event("banned", client="127.0.0.3")
    s.wait_event("connection_refused", client="127.0.0.3", reason="banned")
    bans = s.ctl("ban", "list")["bans"]
    equal([b["network"] for b in bans], ["127.0.0.3"], "the list")
    equal(bans[0]["by"], "limiter", "by")
    # Who authenticated well may be mistaken as often as he likes.
    for i in range(12):
        guess(s, wrong(s.key, 100 + i), "127.0.0.2")
    with s.login(source="127.0.0.2"):
        pass
    # It survives a restart, and kill -9; a lifted one does not come back.
    wait_for("the ban is written", 10, lambda: rows(s, "--result", "banned"))
    s.kill()
    s.restart()
    with raw.Raw(s.port("submission"), source="127.0.0.3", greet=False) as c:
        reply(c.reply(), BANNED, "after a restart")
    s.ctl("ban", "lift", "127.0.0.3")
    with s.login(source="127.0.0.3"):
        pass
    s.restart()
    with s.login(source="127.0.0.3"):
        pass
    code, _, err = s.run("ban", "lift", "127.0.0.3", check=False)
    equal(code, 66, err)


def test_the_same_wrong_secret_counts_once(lab):
    s = lab.signet(GUARD)
    for _ in range(20):
        guess(s, wrong(s.key, 1), "127.0.0.3")
    with s.login(source="127.0.0.3"):
        pass
    equal(s.ctl("ban", "list")["bans"], [], "bans")


def test_answers_come_late_and_hold_up_nobody(lab):
    s = lab.signet({"guard": {**GUARD["guard"], "delay": "4s", "delay_max": "4s",
                              "ban_after": 0}})
    with s.login(source="127.0.0.4"):
        pass
    for i in range(3):
        guess(s, wrong(s.key, i), "127.0.0.3")
    at = time.monotonic()
    with s.raw(source="127.0.0.3") as c:
        c.ehlo()
        c.line("AUTH PLAIN " + raw.plain("apikey", wrong(s.key, 3)))
        c.line("NOOP")      # waits its turn behind the answer
        with s.login(source="127.0.0.4") as other:
            reply(other.message(s.sender, "you@example.com", f"From: {s.sender}\r\n\r\nhi\r\n"),
                  "250 2.0.0 Ok: queued as *")
            check(time.monotonic() - at < 3.9, "others are served meanwhile")
        reply(c.reply(), BAD, "late")
        check(time.monotonic() - at >= 3.9, "it was late")
        reply(c.reply(), "250 2.0.0 *", "NOOP")
    # A right one waits as well: from here a guess and a login are told apart by nothing sooner.
    at = time.monotonic()
    with s.login(source="127.0.0.3"):
        check(time.monotonic() - at >= 3.9, "late, too")
    # Who does not wait for the answer leaves nothing behind; nor does the end of the server.
    with s.raw(source="127.0.0.3") as c:
        c.ehlo()
        c.line("AUTH PLAIN " + raw.plain("apikey", wrong(s.key, 4)))
    with s.raw(source="127.0.0.3") as c:
        c.ehlo()
        c.line("AUTH PLAIN " + raw.plain("apikey", wrong(s.key, 5)))
        s.wait_event("authentication", count=8)
        s.stop()


def test_bans_by_hand(lab):
    s = lab.signet({"guard": {**GUARD["guard"], "allow": ["127.0.0.9"]}})
    with s.login(source="127.0.0.5"):
        pass
    s.ctl("ban", "add", "127.0.0.4/30", "--for", "1h", "--reason", "a stolen key")
    ban = s.ctl("ban", "list")["bans"][0]
    equal((ban["network"], ban["reason"]), ("127.0.0.4/30", "a stolen key"), "the ban")
    check(ban["by"].startswith(f"uid:{os.getuid()} "), "who did it", ban)
    with raw.Raw(s.port("submission"), source="127.0.0.5", greet=False) as c:
        reply(c.reply(), BANNED, "also who logged in well")
    with s.login(source="127.0.0.3"), s.login(source="127.0.0.8"):
        pass
    # What the configuration allows stays reachable: the way back in.
    s.ctl("ban", "add", "127.0.0.0/8")
    with s.login(source="127.0.0.9"):
        pass
    with raw.Raw(s.port("submission"), source="127.0.0.8", greet=False) as c:
        reply(c.reply(), BANNED, "everybody else")
    s.ctl("ban", "lift", "127.0.0.0/8")
    for bad in ("127.0.0.1/8", "127.0.0", "mail.example", "::/129", ""):
        code, _, err = s.run("ban", "add", bad, check=False)
        check(code == 65 and "ADDRESS" in err, bad, code, err)
    code, _, err = s.run("ban", "add", "127.0.0.1", "--for", "soon", check=False)
    check(code == 64 and "--for" in err, "--for", code, err)


def test_authlog_tells_who_failed_and_why(lab):
    s = lab.signet({"guard": {**GUARD["guard"], "ban_after": 0}})
    kid, revoked = s.new_key()
    s.ctl("key", "revoke", kid)
    with s.login(source="127.0.0.2"):
        pass
    guess(s, wrong(s.key, 1), "127.0.0.3", door="starttls")
    guess(s, revoked, "127.0.0.3")
    for _ in range(5):
        guess(s, wrong(s.key, 2), "127.0.0.4")
    with s.raw(source="127.0.0.6") as c:
        c.ehlo()
        reply(c.auth("x" * 69, "root\r\n2026 result=ok address=192.0.2.1"), "535 5.7.8 *", "injection")
    got = rows(s)
    by = {(r["address"], r["reason"]): r for r in got}
    one = by["127.0.0.3", "wrong_secret"]
    equal((one["result"], one["key"], one["door"], one["mechanism"], one["name"], one["identity"]),
          ("failed", s.key_id, "submission", "PLAIN", "guesser.example", "apikey"), "a wrong secret")
    check(one["tls"].startswith("TLSv1.") and one["cipher"] and one["account"], "TLS, account", one)
    equal(by["127.0.0.3", "revoked"]["key"], kid, "revoked")
    equal(by["127.0.0.2", "ok"]["result"], "ok", "a good one")
    equal(by["127.0.0.6", "bad_username"]["identity"],
          "root\\x0d\\x0a2026 result=ok address=192.0.2.1", "escaped")
    equal({r["reason"] for r in rows(s, "--result", "ok")}, {"ok"}, "filter")
    equal({r["address"] for r in rows(s, "--address", "127.0.0.4")}, {"127.0.0.4"}, "by address")
    equal({r["key"] for r in rows(s, "--key", kid)}, {kid}, "by key")
    equal(rows(s, "--account", "shop", "--reason", "wrong_secret")[0]["key"], s.key_id, "by account")
    text = s.run("authlog", "--address", "127.0.0.6")
    equal(len(text.splitlines()), 1, "one line")
    for secret in s.secrets + [wrong(s.key, 1).rsplit(".", 1)[-1]]:
        check(secret[-20:] not in json.dumps(got), "no secret, nor part of one")
    # On a clean stop nothing is lost, the sum of what was alike included.
    s.restart()
    alike = rows(s, "--address", "127.0.0.4")
    equal(sum(r["count"] for r in alike), 5, "all five")
    equal(len(alike), 2, "in two rows")


def test_authlog_follows(lab):
    s = lab.signet({"guard": GUARD["guard"]})
    p = subprocess.Popen([s.binary, "authlog", "--follow", "--config", s.conf], text=True,
                         stdout=subprocess.PIPE, env=s.environment())
    try:
        with s.login(source="127.0.0.2"):
            pass
        line = p.stdout.readline()
        check("result=ok" in line and "address=127.0.0.2" in line, "live", line)
        guess(s, wrong(s.key, 1), "127.0.0.7")
        line = p.stdout.readline()
        check("reason=wrong_secret" in line and "address=127.0.0.7" in line, "and on", line)
    finally:
        p.terminate()
        p.wait(10)


def test_a_log_that_cannot_be_opened_stops_no_mail(lab):
    s = lab.signet(GUARD)
    s.stop()
    with open(os.path.join(s.data, "authlog.db"), "wb") as f:
        f.write(b"no database" * 1000)
    for more in ("authlog.db-wal", "authlog.db-shm"):
        if os.path.exists(os.path.join(s.data, more)):
            os.unlink(os.path.join(s.data, more))
    s.start()
    s.wait_event("warning")
    with s.login(source="127.0.0.2") as c:
        reply(c.message(s.sender, "you@example.com", f"From: {s.sender}\r\n\r\nhi\r\n"),
              "250 2.0.0 Ok: queued as *")
    equal(ban_by_guessing(s, "127.0.0.3"), 6, "the guard stands all the same")


def test_a_key_in_the_place_of_the_name_is_logged_nowhere(lab):
    s = lab.signet({**GUARD, "limits": {"auth_failures": 0}})
    with s.raw("tls") as c:
        c.ehlo(s.key.replace("_", "x"))
        reply(c.auth("apikey", s.key), "5*", "swapped")
        reply(c.auth(s.key.rsplit(".", 1)[1], s.key.rsplit(".", 1)[1]), "5*", "without its beginning")
    wait_for("both", 10, lambda: "looks like a secret" in s.run("authlog", "--json"))
    s.stop()
    for d, _, files in os.walk(s.data):
        for name in files:
            with open(os.path.join(d, name), "rb") as f:
                text = f.read()
            check(s.key[-20:].encode() not in text, "the secret is in", name)
    check(not any(s.key[-20:] in x for x in s.log_lines), "or in the log")


@contextlib.contextmanager
def held(s):
    """The server sleeps: what is sent meanwhile it finds all at once."""
    os.kill(s.pid(), signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(s.pid(), signal.SIGCONT)


def test_many_who_begin_scram_at_once_are_all_answered(lab):
    """Its first step asks a worker, too: strangers take turns at it, the first time already; those who
    leave while they wait are nobody's, and who is known does not wait."""
    s = lab.signet({"guard": {"allow": [], "delay": "0s", "ban_after": 0}, "threads": 1,
                    "limits": {"auth_failures": 0, "errors": 0, "commands": 0},
                    ("listener", "tls"): {"mechanisms": ["PLAIN", "SCRAM-SHA-256"]}})
    first = "AUTH SCRAM-SHA-256 " + raw.b64("n,,n=Anobodysid0123456789ab,r=clientnonce")
    many = [s.raw("tls", source=f"127.0.2.{k + 1}", timeout=60) for k in range(80)]
    for c in many:
        c.ehlo()
    for _ in range(3):
        with held(s):
            for c in many:
                c.line(first)
        with s.login(source="127.0.3.1"):
            pass
        for c in many:
            reply(c.reply(), "334 *", "each is asked, once")
            reply(c.cmd("*"), "501 *", "and may let it be")
    with held(s):
        for k, c in enumerate(many):
            c.line(first)
            if k % 2:   # reset: it is gone while its job waits
                c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                c.close()
    for c in many[::2]:
        reply(c.reply(), "334 *", "whoever has stayed")
        reply(c.cmd("*"), "501 *", "cancelled")
        reply(c.auth(s.key), "235 *", "and with the right one in")
        c.close()
    # The end, while some wait.
    late = [s.raw("tls", source=f"127.0.4.{k + 1}") for k in range(40)]
    for c in late:
        c.ehlo()
    with held(s):
        for c in late:
            c.line(first)
        s.terminate()
    s.stop()
    for c in late:
        c.close()


def test_many_who_guess_at_once_are_all_answered(lab):
    """More than are asked about at a time: they wait in order, none is forgotten, those who leave are
    skipped, and who logs in meanwhile does not wait with them."""
    s = lab.signet({"guard": {"allow": [], "delay": "0s", "ban_after": 0}, "threads": 1,
                    "limits": {"auth_failures": 0, "errors": 0, "commands": 0}})
    many = [s.raw("tls", source=f"127.0.2.{k + 1}", timeout=60) for k in range(80)]
    for k, c in enumerate(many):
        c.ehlo()
        reply(c.auth(wrong(s.key, k)), BAD, "the first one")
    for _ in range(3):
        for k, c in enumerate(many):
            c.line("AUTH PLAIN " + raw.plain("apikey", wrong(s.key, 100 + k)))
        # A good login, of a stranger and of one that has failed before.
        with s.login(source="127.0.3.1"):
            pass
        for c in many:
            reply(c.reply(), BAD, "each is answered, once")
    for k, c in enumerate(many):
        c.line("AUTH PLAIN " + raw.plain("apikey", wrong(s.key, 200 + k)))
        if k % 2:
            c.close()
    for c in many[::2]:
        reply(c.reply(), BAD, "whoever has stayed")
        reply(c.auth(s.key), "235 *", "and with the right one in")
        c.close()
    # The end, while some wait.
    late = [s.raw("tls", source=f"127.0.4.{k + 1}") for k in range(40)]
    for k, c in enumerate(late):
        c.ehlo()
        reply(c.auth(wrong(s.key, k)), BAD, "the first one")
    for k, c in enumerate(late):
        c.line("AUTH PLAIN " + raw.plain("apikey", wrong(s.key, 300 + k)))
    s.stop()
    for c in late:
        c.close()


def test_who_is_put_out_while_they_wait(lab):
    """All places are taken, and most who have one wait for a worker: newcomers take theirs. Nobody's job
    is done for a connection that is no more (under sanitizers), and the newcomers are let in."""
    s = lab.signet({"guard": {"allow": [], "delay": "0s", "ban_after": 0}, "threads": 1,
                    "limits": {"connections": 60}}, binary=paths.SIGNET_ASAN,
                   env={"SIGNET_FAULT": "slow_login", "ASAN_OPTIONS": "detect_leaks=0"})
    many = [s.raw("tls", source=f"127.0.2.{k + 1}", timeout=60) for k in range(60)]
    for k, c in enumerate(many):
        c.ehlo()
        c.line("AUTH PLAIN " + raw.plain("apikey", wrong(s.key, k)))
    late = []
    for k in range(30):
        late.append(s.raw("tls", source=f"127.0.3.{k + 1}", timeout=60))
        late[-1].ehlo()
    equal(len(s.wait_event("connection_refused", reason="connections_oldest", count=30)), 30)
    failed = len(s.events("authentication", result="failed"))
    check(failed < 40, "most had waited", failed)
    for c in late[:8]:
        reply(c.auth(s.key), "235 *", "a newcomer")
    for c in late:
        c.close()
    for c in many:
        c.close()
    with s.login(source="127.0.4.1"):
        pass

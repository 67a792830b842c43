"""Tokens of an issuer: oidc-provider gives them, clients that nobody here wrote bring them, and
everything that is wrong with one is refused alike. The issuer rotates its keys, goes away, hangs."""
import base64
import contextlib
import hashlib
import hmac
import json
import os
import smtplib
import socket
import struct
import threading
import time

from lab import clients, paths, raw
from lab.issuer import Issuer, node
from lab.lab import check, equal
from lab.raw import wait_for

TIMEOUT = 240
GRANT = "535 5.7.8 Authentication failed: The provided authorization grant is invalid, expired, or revoked"
LATER = "454 4.7.0 Temporary authentication failure"
YES = "235 2.7.0 Authentication successful"
WRONG = {"XOAUTH2": {"status": "401", "schemes": "bearer", "scope": "mail.send"},
         "OAUTHBEARER": {"status": "invalid_token", "scope": "mail.send"}}


def server(lab, i, *, opaque=False, env=None, start=True, binary=None, limits=None, **more):
    issuer = {"url": i.url, "audience": "mail", "claims": ["sub", "client_id"], "timeout": "10s", **more}
    if opaque:
        secret = os.path.join(lab.make_dir("secret"), "s")
        with open(os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as f:
            f.write("mailrelay:secret\n")
        issuer.update({"kind": "opaque", "client_id": "mailrelay", "client_secret_file": secret,
                       "claims": ["client_id"]})
    return lab.signet({("issuer", "sso"): issuer, ("listener", "relay"): {"mechanisms": ["XOAUTH2"]},
                       "limits": {"auth_failures": 0, "errors": 0, **(limits or {})},
                       "guard": {"delay": "0s", "ban_after": 0}}, env=env, start=start, binary=binary)


def robot_key(s, *more, claim="sub"):
    s.robot_id, s.robot = s.new_key("shop", "--token", f"sso:{claim}=robot", *more)
    return s.robot_id


def known(s, token):
    """It is a secret, and must not be in the log; nor parts of it that one could use."""
    if not token.endswith("."):    # nothing behind it is a secret
        s.know_secret(token)
    return token


def setup(lab):
    i = Issuer(lab)
    s = server(lab, i, algorithms=["ES256", "PS256"])
    robot_key(s)
    s.issuer = i
    return s


# -- by hand --------------------------------------------------------------------------------------


def words(mechanism, token, user="", more=""):
    if mechanism == "XOAUTH2":
        return raw.b64(f"user={user}\x01auth=Bearer {token}\x01\x01")
    gs2 = f"n,a={user}," if user else "n,,"
    return raw.b64(f"{gs2}\x01{more}auth=Bearer {token}\x01\x01")


def bearer(c, mechanism, token, user="", more="", last=""):
    """All replies, the last one last; after an error, `last` is what the client says."""
    r = c.cmd(f"AUTH {mechanism} {words(mechanism, token, user, more)}")
    if r.code != 334:
        return [str(r)]
    equal(json.loads(base64.b64decode(r[4:])), WRONG[mechanism], mechanism)
    return ["error", str(c.cmd(last))]


def login(s, token, user="", mechanism="OAUTHBEARER", **more):
    known(s, token)
    with s.raw("tls") as c:
        c.ehlo()
        return bearer(c, mechanism, token, user, **more)


def refused(s, token, reason, user="", mechanism="OAUTHBEARER", **more):
    before = len(s.events("authentication", reason=reason))
    equal(login(s, token, user, mechanism, **more), ["error", GRANT], reason)
    s.wait_event("authentication", reason=reason, count=before + 1)


def test_both_mechanisms(lab, s):
    token = s.issuer.token()
    for mechanism in "XOAUTH2", "OAUTHBEARER":
        for user in "", "robot", "shop", s.robot_id:
            equal(login(s, token, user, mechanism), [YES], f"{mechanism} as {user!r}")
        e = s.wait_event("authentication", mechanism=mechanism, result="ok")[-1]
        equal(e["key"], s.robot_id)
    equal(login(s, s.issuer.token(resource="urn:mail:rsa")), [YES], "PS256")
    with s.raw("starttls") as c:
        c.ehlo()
        check("AUTH" not in c.cmd("EHLO x"), "nothing outside TLS")
        equal(c.cmd("AUTH XOAUTH2 " + words("XOAUTH2", token)).code, 538)
        c.starttls()
        check("250-AUTH OAUTHBEARER XOAUTH2 PLAIN LOGIN" in c.ehlo().lines, "offered")
    with s.raw("tls") as c:
        c.ehlo()
        equal(bearer(c, "OAUTHBEARER", token), [YES])
        equal(c.message(s.sender, "you@example.com", f"From: {s.sender}\r\n\r\nby token\r\n").code, 250)
    s.find_captured(b"by token")


def test_every_refusal_is_the_same(lab, s):
    """The wire tells nothing, the log the reason."""
    i = s.issuer
    head, body, sig = i.token().split(".")
    b64 = lambda x: base64.urlsafe_b64encode(json.dumps(x).encode()).rstrip(b"=").decode()
    now = int(time.time())
    rows = [
        ("token_signature", f"{head}.{body}.{sig[:-6]}AAAAAA"),
        ("token_signature", f"{head}.{b64({'iss': i.url, 'sub': 'robot', 'aud': 'mail', 'exp': now + 60})}.{sig}"),
        ("token_algorithm", f"{b64({'alg': 'none', 'typ': 'at+jwt'})}.{body}."),
        ("token_header", i.sign({"jku": "https://evil.example/keys"})),
        ("token_header", i.sign({"jwk": {"kty": "EC"}})),
        ("token_header", i.sign({"crit": ["x"], "x": 1})),
        ("token_unknown_key", i.sign({"kid": "../../etc/passwd"})),
        ("token_type", i.sign({"typ": "JWT"})),
        ("token_type", i.sign({"typ": None})),
        ("token_issuer", i.sign(iss="https://another.example")),
        ("token_issuer", i.sign(iss=i.url + "/")),
        ("token_audience", i.sign(aud="another")),
        ("token_audience", i.sign(aud=None)),
        ("token_audience", i.token(resource="urn:other")),
        ("token_expired", i.sign(exp=now - 61)),
        ("token_claims", i.sign(exp=None)),
        ("token_not_yet", i.sign(nbf=now + 300)),
        ("token_scope", i.token(scope="mail.read")),
        ("unknown_subject", i.token("stranger")),
        ("token_malformed", "2YotnFZFEjr1zCsicMWpAA"),
    ]
    # Its public key as the secret of an HMAC.
    h = b64({"alg": "HS256", "typ": "at+jwt"})
    mac = hmac.digest(b"the public key", f"{h}.{body}".encode(), "sha256")
    rows.append(("token_algorithm", f"{h}.{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"))
    for mechanism in "XOAUTH2", "OAUTHBEARER":
        for reason, token in rows:
            refused(s, token, reason, mechanism=mechanism)
    token = i.token()
    for user, reason in (("bob", "other_identity"), ("apikey", "other_identity")):
        refused(s, token, reason, user)
    # What the owner reads names the stranger.
    s.ctl("ban", "list")
    rows = s.ctl("authlog", "--reason", "unknown_subject")["entries"]
    check(rows and "sso:sub=stranger" in rows[0]["identity"], "authlog names whose token it was", rows[:1])


def test_the_end_of_a_refusal(lab, s):
    """RFC 7628 3.2.3: the client answers the error with AQ==; Google's has nothing, or gives up."""
    bad = known(s, s.issuer.sign(aud="another"))
    good = s.issuer.token()
    for mechanism in "XOAUTH2", "OAUTHBEARER":
        for last, want in (("", GRANT), ("AQ==", GRANT), (words(mechanism, good), GRANT)):
            equal(login(s, bad, mechanism=mechanism, last=last), ["error", want], mechanism)
        with s.raw("tls") as c:
            c.ehlo()
            r = c.cmd(f"AUTH {mechanism} {words(mechanism, bad)}")
            equal(r.code, 334)
            check(c.cmd("*").code in (501, 535), "given up")
            equal(bearer(c, mechanism, known(s, good)), [YES], "and again")


def test_whom_the_client_talks_to(lab, s):
    token = s.issuer.token()
    port = s.ports["tls"]
    for more in ("host=signet.test\x01port=587\x01", f"host=127.0.0.1\x01port={port}\x01", "host=[::1]\x01",
                 "x=y\x01"):
        equal(login(s, token, more=more), [YES], more)
    for more in ("host=mail.evil.example\x01", "host=signet.test\x01port=1\x01"):
        refused(s, token, "other_host", more=more)


# -- clients ----------------------------------------------------------------------------------------


def curl(s, mechanism, token):
    # It takes OAUTHBEARER where that is offered, whatever it is told.
    door = "relay" if mechanism == "XOAUTH2" else "submission"
    return clients.run(["curl", "--silent", "--show-error", "--verbose", "--insecure", "--ssl-reqd",
                        "--url", f"smtp://127.0.0.1:{s.ports[door]}/c.example", "--user", "robot",
                        "--oauth2-bearer", token, "--login-options", f"AUTH={mechanism}",
                        "--request", "NOOP", "--max-time", "40"])


def msmtp(s, mechanism, token):
    conf = clients.private_file(s, f"msmtp-{os.urandom(4).hex()}", "\n".join([
        "account test", "host 127.0.0.1", f"port {s.ports['submission']}", f"from {s.sender}",
        f"auth {mechanism.lower()}", "user robot", f"password {token}", "tls on", "tls_starttls on",
        "tls_certcheck off", "account default : test", ""]))
    data = raw.compose(s.sender, "you@example.com", f"by {mechanism}", "x\n").replace(b"\r\n", b"\n")
    return clients.run(["msmtp", "--debug", f"--file={conf}", "--", "you@example.com"], stdin=data)


def nodemailer(s, mechanism, token):
    message = clients.private_file(s, f"node-{os.urandom(4).hex()}",
                                   raw.compose(s.sender, "you@example.com", "by nodemailer").decode())
    return clients.run([node(), f"{paths.TESTS}/node/send.cjs", str(s.ports["submission"]), "starttls",
                        "robot", s.sender, "you@example.com", message],
                       env={"SIGNET_TOKEN": token, "NODE_PATH": f"{paths.BUILD}/node/node_modules"})


def python(s, mechanism, token):
    try:
        with smtplib.SMTP("127.0.0.1", s.ports["submission"], "c.example", timeout=40) as c:
            c.starttls(context=raw.client_context())
            c.ehlo()
            first = base64.b64decode(words(mechanism, token, "robot")).decode()
            code, text = c.auth(mechanism, lambda challenge=None: first if challenge is None else "",
                                initial_response_ok=True)
            return clients.Result(code == 235, f"{code} {text!r}")
    except smtplib.SMTPException as e:
        return clients.Result(False, str(e))


CLIENTS = (("XOAUTH2", "curl", curl), ("OAUTHBEARER", "curl", curl), ("XOAUTH2", "msmtp", msmtp),
           ("OAUTHBEARER", "msmtp", msmtp), ("XOAUTH2", "nodemailer", nodemailer),
           ("XOAUTH2", "smtplib", python), ("OAUTHBEARER", "smtplib", python))


def by_client(s, mechanism, name, client):
    for token, want in ((s.issuer.token(), "ok"), (s.issuer.sign(aud="another"), "token_audience")):
        known(s, token)
        before = len(s.events("authentication", mechanism=mechanism, reason=want))
        r = client(s, mechanism, token)
        check(r.ok == (want == "ok"), f"{name} by {mechanism}: {want}", r.output)
        s.wait_event("authentication", mechanism=mechanism, reason=want, count=before + 1)


def tests():
    for mechanism, name, client in CLIENTS:
        yield (f"test_{mechanism.lower()}_{name}", lambda lab, s, a=(mechanism, name, client): by_client(s, *a))


# -- the issuer's life --------------------------------------------------------------------------------


def test_keys_are_rotated(lab):
    i = Issuer(lab)
    s = server(lab, i)
    robot_key(s)
    old = i.token()
    equal(login(s, old), [YES])
    i.rotate()
    equal(login(s, i.token()), [YES], "nobody had to do anything")
    refused(s, old, "token_unknown_key")
    # Names that are made up do not make us ask again and again.
    before = i.token()
    for k in range(10):
        refused(s, i.sign({"kid": f"made-up-{k}"}), "token_unknown_key")
    equal(login(s, before), [YES])


def test_a_session_ends_with_its_token(lab):
    env, turn = lab.clock()
    i = Issuer(lab)
    s = server(lab, i, env=env)
    robot_key(s)
    token = known(s, i.token())
    with s.raw("tls") as c:
        c.ehlo()
        equal(bearer(c, "XOAUTH2", token), [YES])
        equal(c.message(s.sender, "a@example.com", f"From: {s.sender}\r\n\r\nin time\r\n").code, 250)
        turn(600 + 30)     # within the minute that clocks may differ
        equal(c.message(s.sender, "b@example.com", f"From: {s.sender}\r\n\r\nin time\r\n").code, 250)
        turn(600 + 61)
        c.expect(f"MAIL FROM:<{s.sender}>", GRANT)
        c.closed()
    s.wait_event("authentication", result="withdrawn", reason="token_expired")
    refused(s, token, "token_expired")


def test_revoking_the_key_ends_it(lab):
    i = Issuer(lab)
    s = server(lab, i)
    robot_key(s)
    token = known(s, i.token())
    with s.raw("tls") as c:
        c.ehlo()
        equal(bearer(c, "XOAUTH2", token), [YES])
        s.ctl("key", "revoke", s.robot_id)
        c.expect(f"MAIL FROM:<{s.sender}>", GRANT)
    refused(s, token, "revoked")


def test_an_issuer_that_is_gone(lab):
    i = Issuer(lab)
    s = server(lab, i)
    robot_key(s)
    token = i.token()
    new_kid = i.sign({"kid": "not-published-yet"})
    equal(login(s, token), [YES])
    i.stop()
    equal(login(s, token), [YES], "its keys are known")
    equal(login(s, new_kid), [LATER], "what cannot be known is no verdict")
    e = s.wait_event("issuer", state="down")[-1]
    check("does not answer" in e["reason"] or "refused" in e["reason"], "says why", e)
    s.restart()
    for mechanism in "XOAUTH2", "OAUTHBEARER":
        equal(login(s, token, mechanism=mechanism), [LATER], "no keys")
    s.wait_event("authentication", reason="issuer_down", count=2)
    with s.raw("tls") as c:
        c.ehlo()
        c.expect("AUTH PLAIN " + raw.plain("apikey", s.key), YES)
    i.start()
    wait_for("the issuer to be up again", 30, lambda: login(s, i.token()) == [YES], 0.5)
    s.wait_event("issuer", state="up")


@contextlib.contextmanager
def asking(s, issuer, tokens):
    """Eight who log in with these tokens again and again; what they are answered is in the list. At the
    end the issuer goes on."""
    over, got = threading.Event(), []

    def ask(mine):
        while not over.is_set():
            for t in mine:
                with s.raw("tls", timeout=60) as c:
                    c.ehlo()
                    got.append(tuple(bearer(c, "OAUTHBEARER", t)))

    threads = [threading.Thread(target=ask, args=(tokens[k::8],)) for k in range(8)]
    for t in threads:
        t.start()
    try:
        yield got
    finally:
        over.set()
        issuer.go_on()
        for t in threads:
            t.join(60)


def test_one_that_hangs_costs_the_others_nothing(lab):
    """200 logins with mail by PLAIN while an issuer takes connections and says nothing."""
    i = Issuer(lab)
    s = server(lab, i, opaque=True, timeout="2s")
    robot_key(s, claim="client_id")
    tokens = [known(s, i.token(resource="urn:mail:opaque")) for _ in range(24)]
    equal(login(s, tokens[0]), [YES])
    i.hang()
    times, began = [], time.monotonic()
    with asking(s, i, tokens[1:]) as got:
        for n in range(200):
            at = time.monotonic()
            with s.raw("tls") as c:
                c.ehlo()
                c.expect("AUTH PLAIN " + raw.plain("apikey", s.key), YES)
                equal(c.message(s.sender, f"n{n}@example.com", f"From: {s.sender}\r\n\r\n{n}\r\n").code, 250)
            times.append(time.monotonic() - at)
        # What is remembered of a token is good meanwhile.
        equal(login(s, tokens[0]), [YES])
        while time.monotonic() - began < 30:
            time.sleep(0.2)
    check(len(got) > 20 and set(got) <= {(LATER,), (YES,)}, "454 or, at the very end, 235", set(got))
    check((LATER,) in got, "it hung", got[:3])
    times.sort()
    print(f"note: 200 logins with mail beside it: median {times[100] * 1000:.0f} ms, p99 "
          f"{times[198] * 1000:.0f} ms; {len(got)} tokens were answered", flush=True)
    wait_for("the issuer to be asked again", 30, lambda: login(s, tokens[5]) == [YES], 0.5)


def test_opaque_tokens(lab):
    i = Issuer(lab)
    s = server(lab, i, opaque=True)
    robot_key(s, claim="client_id")
    token = i.token(resource="urn:mail:opaque")
    for user in "", "robot", "shop":
        equal(login(s, token, user), [YES])
    refused(s, i.token("stranger", resource="urn:mail:opaque"), "unknown_subject")
    refused(s, i.token(resource="urn:mail:opaque", scope="mail.read"), "token_scope")
    refused(s, "never-given-out", "token_inactive")
    gone = i.token(resource="urn:mail:opaque")
    i.revoke(gone)
    refused(s, gone, "token_inactive")
    # A signed one of the same issuer is asked about, too; oidc-provider knows none of those.
    refused(s, i.token(), "token_inactive")
    refused(s, i.sign(iss="https://another.example"), "token_issuer")


def test_one_that_does_not_know_us(lab):
    i = Issuer(lab)
    s = server(lab, i, opaque=True)
    robot_key(s, claim="client_id")
    with open(s.options[("issuer", "sso")]["client_secret_file"], "w", encoding="ascii") as f:
        f.write("wrong\n")
    s.restart()
    equal(login(s, i.token(resource="urn:mail:opaque")), [LATER])
    check("client_id or its secret is wrong" in s.wait_event("issuer", state="down")[-1]["reason"],
          "says whose fault it is")


def test_trouble_with_a_token_is_nobody_elses(lab):
    """Whoever can send a token that the issuer chokes on must not make it "down" for everybody."""
    i = Issuer(lab)
    s = server(lab, i, opaque=True)
    robot_key(s, claim="client_id")
    for n, how in enumerate(({"status": 403}, {"status": 429}, {"status": 503},
                             {"status": 200, "body": "x" * 100000})):
        i.trouble("choke", **how)
        equal(login(s, f"choke-{n}"), [LATER], how)
        equal(login(s, f"choke-{n}"), [LATER], "and is not asked about again at once")
        equal(login(s, i.token(resource="urn:mail:opaque")), [YES], how)
    check("status 403" in s.wait_event("issuer", state="trouble")[-1]["reason"], "the operator is told")
    equal(s.events("issuer", state="down"), [])
    i.trouble("choke", status=400, body='{"error":"invalid_client"}')
    equal(login(s, "choke-last"), [LATER], "it does not know us: no verdict on a token")
    check("client_id or its secret" in s.wait_event("issuer", state="down")[-1]["reason"], "says whose fault it is")


def test_one_address_with_many_tokens(lab):
    """60 tokens of one address, each of which takes the issuer a second and a half, and others come."""
    i = Issuer(lab)
    s = server(lab, i, opaque=True)
    robot_key(s, claim="client_id")
    i.trouble("slow", ms=1500)
    good = [known(s, i.token(resource="urn:mail:opaque")) for _ in range(4)]
    answered, many = [], []

    def one(n):
        with s.raw("tls", timeout=60, source="127.0.0.7") as c:
            c.ehlo()
            answered.append(tuple(bearer(c, "OAUTHBEARER", f"slow-{n}")))

    for n in range(60):
        many.append(threading.Thread(target=one, args=(n,)))
        many[-1].start()
    wait_for("some to wait", 30, lambda: len(s.events("connection", client="127.0.0.7")) == 60)
    wait_for("the first to be answered", 30, lambda: answered)
    for n in range(4):
        before = len(answered)
        with s.raw("tls", timeout=60, source=f"127.0.0.{20 + n}") as c:
            c.ehlo()
            equal(bearer(c, "OAUTHBEARER", good[n]), [YES])
        check(len(answered) - before <= 6, "others have their turn", (before, len(answered)))
    check(len(answered) < 50, "it was while many waited", len(answered))
    i.trouble("slow", ms=0)
    for t in many:
        t.join(60)
    equal(set(answered), {("error", GRANT)}, "and all are answered in the end")
    equal(len(answered), 60)


def test_who_leaves_while_the_issuer_is_asked(lab):
    """Connections end while their tokens wait for a turn, while they are asked about, and when there
    is no room for them; whoever stays is answered."""
    i = Issuer(lab)
    s = server(lab, i, opaque=True, timeout="20s")
    robot_key(s, claim="client_id")
    good = known(s, i.token(resource="urn:mail:opaque"))
    equal(login(s, good), [YES])
    i.hang()
    # More of one address than may wait, and one each of many others: some are turned away at once.
    sources = ["127.0.0.7"] * 90 + [f"127.0.3.{n}" for n in range(1, 241)]
    many = []
    for n, source in enumerate(sources):
        c = s.raw("tls", timeout=60, source=source)
        c.ehlo()
        c.line("AUTH OAUTHBEARER " + words("OAUTHBEARER", f"slow-{n}", "", ""))
        many.append(c)
    s.wait_event("authentication", reason="issuer_busy", count=20)
    busy = s.events("authentication", reason="issuer_busy")
    check(len(busy) < 120, "the rest waits", len(busy))
    for c in many[::3]:
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.close()
    i.go_on()
    stay = [c for n, c in enumerate(many) if n % 3]
    said = [str(c.reply()) for c in stay]
    check({x[:3] for x in said} <= {"334", "454"} and "454 4.7.0 Temporary authentication failure" in said, set(said))
    check(sum(x.startswith("334") for x in said) > 100, "those who waited are judged", len(said))
    equal(login(s, known(s, i.token(resource="urn:mail:opaque"))), [YES])
    for c in stay:
        c.close()
    # And the server, while many wait: those under way end by the issuer's timeout.
    s.options[("issuer", "sso")]["timeout"] = "2s"
    s.write_conf()
    s.ctl("reload")
    i.hang()
    many = []
    for n in range(40):
        c = s.raw("tls", timeout=60, source=f"127.0.4.{n + 1}")
        c.ehlo()
        c.line("AUTH OAUTHBEARER " + words("OAUTHBEARER", f"last-{n}", "", ""))
        many.append(c)
    s.stop()
    for c in many:
        c.close()
    i.go_on()


def test_who_is_put_out_while_the_issuer_is_asked(lab):
    """Newcomers take the places of those whose tokens wait (under sanitizers)."""
    i = Issuer(lab)
    s = server(lab, i, opaque=True, timeout="20s", limits={"connections": 60}, binary=paths.SIGNET_ASAN,
               env={"ASAN_OPTIONS": "detect_leaks=0"})
    i.hang()
    many = []
    for n in range(60):
        c = s.raw("tls", timeout=60, source=f"127.0.5.{n + 1}")
        c.ehlo()
        c.line("AUTH OAUTHBEARER " + words("OAUTHBEARER", f"slow-{n}", "", ""))
        many.append(c)
    for n in range(50):
        c = s.raw("tls", timeout=60, source=f"127.0.6.{n + 1}")
        c.ehlo()
        c.expect("AUTH PLAIN " + raw.plain("apikey", s.key), YES)
        many.append(c)
    equal(len(s.wait_event("connection_refused", reason="connections_oldest", count=50)), 50)
    i.go_on()
    for c in many:
        c.close()
    with s.raw("tls") as c:
        c.ehlo()
        c.expect("AUTH PLAIN " + raw.plain("apikey", s.key), YES)


def test_one_that_hangs_beside_another(lab):
    """An issuer whose keys cannot be had keeps nobody from another one's."""
    one, other = Issuer(lab), Issuer(lab)
    s = server(lab, one, timeout="10s")
    s.options[("issuer", "other")] = {"url": other.url, "audience": "mail", "fresh": "1s"}
    s.write_conf()
    s.ctl("reload")
    robot_key(s, "--token", "other:sub=robot")
    stuck = [known(s, one.sign({"kid": f"new-{n}"})) for n in range(24)]
    tokens = [known(s, other.token()) for _ in range(3)]
    equal(login(s, tokens[0]), [YES])
    one.hang()
    with asking(s, one, stuck) as got:
        wait_for("all to ask", 30, lambda: len(s.events("connection")) > 8)
        time.sleep(1.1)    # the keys of the other one are too old then, and fetched again
        equal(login(s, tokens[0]), [YES])
        equal(got, [], "the one that hangs has not even been given up by then")
        for n in range(6):
            equal(login(s, tokens[n % 3]), [YES])
            time.sleep(0.5)
        check(set(got) <= {(LATER,)}, "the other one hangs", set(got))


def test_a_reload_brings_one(lab):
    i = Issuer(lab)
    s = lab.signet()
    with s.raw("tls") as c:
        check("XOAUTH2" not in c.ehlo(), "without an issuer")
        c.expect("AUTH XOAUTH2", "504 5.5.4 Unrecognized authentication mechanism")
    s.options[("issuer", "sso")] = {"url": i.url, "audience": "mail"}
    s.write_conf()
    s.ctl("reload")
    robot_key(s)
    equal(login(s, i.token()), [YES])
    with s.raw("tls") as before:
        check("XOAUTH2" in before.ehlo(), "while there is one")
        within = s.raw("tls")
        within.ehlo()
        equal(bearer(within, "XOAUTH2", known(s, i.token())), [YES])
        s.options[("issuer", "sso")]["timeout"] = "3s"
        s.write_conf()
        s.ctl("reload")
        equal(within.message(s.sender, "a@example.com", f"From: {s.sender}\r\n\r\nhi\r\n").code, 250,
              "it is the same one, asked in another way")
        s.options.pop(("issuer", "sso"))
        s.write_conf()
        s.ctl("reload")
        within.expect(f"MAIL FROM:<{s.sender}>", GRANT)
        within.closed()
        within.close()
        s.wait_event("authentication", result="withdrawn", reason="token_issuer")
        before.line("AUTH OAUTHBEARER " + raw.b64(f"n,,\1auth=Bearer {i.token()}\1\1"))
        equal(before.reply().code, 334, "the challenge that tells of an error")
        equal(before.cmd("AQ==").code, 535, "taken out, it counts no more for whoever is there already")
        s.wait_event("authentication", reason="no_issuer")
    with s.raw("tls") as c:
        check("XOAUTH2" not in c.ehlo(), "gone again")


def test_keys_and_their_tokens(lab, s):
    """The command line: what is told of a key, and what is refused."""
    kid, _ = s.new_key("shop", "--token", "sso:sub=a@b.example", "--token", "sso:client_id=app-7",
                       "--certificate", "dns:x.example")
    k = s.ctl("key", "show", kid)
    equal(k["tokens"], "sso:sub=a@b.example sso:client_id=app-7")
    equal(k["certificates"], "dns:x.example")
    for bad in "sso", "sso:sub", "sso:sub=", "SSO:sub=x", "sso:sub=a b":
        code, _, err = s.run("key", "create", "--account", "shop", "--token", bad, check=False)
        equal(code, 65, bad)
        check("ISSUER:CLAIM=VALUE" in err, "says how", err)
    code, _, err = s.run("key", "create", "--account", "shop", "--token", "sso:sub=a@b.example", check=False)
    equal(code, 73, f"it is another key's: {err}")
    code, _, err = s.run("key", "create", "--account", "shop", "--certificate", "token:sso:sub=x", check=False)
    equal(code, 65, err)

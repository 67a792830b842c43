"""Every way to log in: each mechanism with the right and with a wrong secret, by clients that nobody
here wrote; what is offered where; and that no refusal tells more than another."""
import base64
import hashlib
import hmac
import json
import os
import smtplib
import socket
import ssl
import subprocess

from lab import clients, paths, raw
from lab.issuer import node
from lab.lab import check
from lab.raw import wait_for

TIMEOUT = 240
GRANT = "535 5.7.8 Authentication failed: The provided authorization grant is invalid, expired, or revoked"
YES = "235 2.7.0 Authentication successful"
NO_MECHANISM = "504 5.5.4 Unrecognized authentication mechanism"
ALL = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "EXTERNAL", "PLAIN", "LOGIN", "CRAM-MD5"]


def check_eq(got, want, *what):
    check(got == want, f"got {got!r}, wanted {want!r}", *what)


# -- a server with all of it, and certificates for its clients --------------------------------


def openssl(*argv):
    subprocess.run(["openssl", *argv], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def make_ca(dir):
    ca = os.path.join(dir, "ca.pem"), os.path.join(dir, "ca.key")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", ca[1], "-out", ca[0], "-days", "30", "-subj", "/CN=clients")
    return ca


def client_cert(dir, stem, names, ca=None):
    """A certificate with these SubjectAltNames, of the CA or self-signed: (certificate, key)."""
    cert, key, csr, ext = (os.path.join(dir, f"{stem}.{x}") for x in ("pem", "key", "csr", "ext"))
    with open(ext, "w", encoding="ascii") as f:
        f.write(f"subjectAltName={names}\n")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
            "-out", csr, "-subj", f"/CN={stem}")
    by = ["-CA", ca[0], "-CAkey", ca[1], "-CAcreateserial"] if ca else ["-signkey", key]
    openssl("x509", "-req", "-in", csr, "-out", cert, "-days", "30", "-extfile", ext, *by)
    return cert, key


def spki_of(cert):
    pub = subprocess.run(["openssl", "x509", "-in", cert, "-pubkey", "-noout"], check=True,
                         stdout=subprocess.PIPE).stdout
    der = base64.b64decode(b"".join(pub.splitlines()[1:-1]))
    return "spki:" + hashlib.sha256(der).hexdigest()


def setup(lab):
    dir = lab.make_dir("clients")
    ca = make_ca(dir)
    s = lab.signet({
        ("listener", "submission"): {"mechanisms": ALL, "client_ca": ca[0]},
        ("listener", "tls"): {"mechanisms": ALL, "client_ca": ca[0], "bind_end_point": "yes"},
        "limits": {"auth_failures": 0, "errors": 0},
        "guard": {"delay": "0s", "ban_after": 0}})   # whoever fails here fails on purpose
    s.cert = s.options["tls"]["certificate"][0]
    s.all_id, s.all = s.new_key("shop", "--cram-md5")
    s.spiffe = client_cert(dir, "spiffe", "URI:spiffe://prod/mail,DNS:mail.shop.example", ca)
    s.own = client_cert(dir, "own", "DNS:mail.shop.example")  # nobody vouches for it
    s.nobody = client_cert(dir, "nobody", "DNS:nobody.example", ca)
    s.external_id, _ = s.new_key("shop", "--certificate", "uri:spiffe://prod/mail",
                                 "--certificate", spki_of(s.own[0]))
    return s


def wrong(key):
    return key[:-4] + ("AAAA" if key[-4:] != "AAAA" else "BBBB")


# -- clients: each logs in, or tells why not ----------------------------------------------------


def gsasl(s, mechanism, user, password, *more):
    argv = ["gsasl", "--smtp", "--mechanism", mechanism, "--x509-ca-file=", "--hostname", "localhost",
            "--connect", f"127.0.0.1:{s.ports['submission']}", "-a", user, "-p", password, *more]
    r = clients.run(argv)
    return clients.Result(r.ok and "Client authentication finished" in r.output, r.output)


def smtptest(s, mechanism, user, password):
    r = clients.run(["/usr/lib/cyrus/bin/smtptest", "-p", str(s.ports["submission"]), "-t", "", "-m",
                     mechanism, "-a", user, "-u", user, "-w", password, "-v", "127.0.0.1"],
                    stdin=b"QUIT\r\n")
    return clients.Result("Authenticated." in r.output, r.output)


def curl(s, mechanism, user, password, *more):
    return clients.run(["curl", "--silent", "--show-error", "--verbose", "--insecure", "--ssl-reqd",
                        "--url", f"smtp://127.0.0.1:{s.ports['submission']}/c.example", "--user",
                        f"{user}:{password}", "--login-options", f"AUTH={mechanism}",
                        "--request", "NOOP", "--max-time", "40", *more])


def swaks(s, mechanism, user, password):
    return clients.run(["swaks", "--server", f"127.0.0.1:{s.ports['submission']}", "--tls", "--auth",
                        mechanism, "--auth-user", user, "--auth-password", password,
                        "--quit-after", "AUTH", "--helo", "c.example"])


def msmtp(s, mechanism, user, password, *more):
    conf = clients.private_file(s, f"msmtp-{os.urandom(4).hex()}", "\n".join([
        "account test", "host 127.0.0.1", f"port {s.ports['submission']}", f"from {s.sender}",
        f"auth {mechanism.lower()}", f"user {user}", f"password {password}", "tls on",
        "tls_starttls on", "tls_certcheck off", *more, "account default : test", ""]))
    data = raw.compose(s.sender, "you@example.com", f"by {mechanism}", "x\n").replace(b"\r\n", b"\n")
    return clients.run(["msmtp", "--debug", f"--file={conf}", "--", "you@example.com"], stdin=data)


def python(s, mechanism, user, password):
    try:
        with smtplib.SMTP("127.0.0.1", s.ports["submission"], "c.example", timeout=40) as c:
            c.starttls(context=raw.client_context())
            c.ehlo()
            c.user, c.password = user, password
            auth = {"CRAM-MD5": c.auth_cram_md5, "PLAIN": c.auth_plain, "LOGIN": c.auth_login}
            code, text = c.auth(mechanism, auth[mechanism])
            return clients.Result(code == 235, f"{code} {text!r}")
    except smtplib.SMTPException as e:
        return clients.Result(False, str(e))


def nodemailer(s, mechanism, user, password):
    message = clients.private_file(s, f"node-{os.urandom(4).hex()}",
                                   raw.compose(s.sender, "you@example.com", f"by {mechanism}").decode())
    return clients.run([node(), f"{paths.TESTS}/node/send.cjs", str(s.ports["submission"]), "starttls", user,
                        s.sender, "you@example.com", message],
                       env={"SIGNET_KEY": password, "SIGNET_MECHANISM": mechanism,
                            "NODE_PATH": f"{paths.BUILD}/node/node_modules"})


CLIENTS = (
    ("PLAIN", "gsasl", gsasl), ("PLAIN", "smtptest", smtptest), ("PLAIN", "curl", curl),
    ("LOGIN", "gsasl", gsasl), ("LOGIN", "swaks", swaks), ("LOGIN", "curl", curl),
    ("CRAM-MD5", "gsasl", gsasl), ("CRAM-MD5", "swaks", swaks), ("CRAM-MD5", "curl", curl),
    ("PLAIN", "nodemailer", nodemailer), ("LOGIN", "nodemailer", nodemailer),
    ("CRAM-MD5", "nodemailer", nodemailer),
    ("CRAM-MD5", "smtplib", python), ("CRAM-MD5", "smtptest", smtptest),
    # Both by libgsasl, but as two programs use it; smtptest is Cyrus SASL's.
    ("SCRAM-SHA-256", "gsasl", lambda *a: gsasl(*a, "--no-cb")),
    ("SCRAM-SHA-256", "msmtp", msmtp), ("SCRAM-SHA-256", "smtptest", smtptest),
    ("SCRAM-SHA-256-PLUS", "gsasl", gsasl),
)


def by_client(s, mechanism, name, client):
    kid, key = s.new_key("shop", "--cram-md5")
    for password, want in ((key, "ok"), (wrong(key), "wrong_secret")):
        r = client(s, mechanism, kid, password)
        check(r.ok == (want == "ok"), f"{name} by {mechanism}: {want}", r.output)
        s.wait_event("authentication", key=kid, mechanism=mechanism, reason=want)
    check_eq(len(s.events("authentication", key=kid)), 2, name)


def tests():
    for mechanism, name, client in CLIENTS:
        yield (f"test_{mechanism.lower().replace('-', '_')}_{name}",
               lambda lab, s, a=(mechanism, name, client): by_client(s, *a))


# -- EXTERNAL -----------------------------------------------------------------------------------


def external(s, client, pair, want):
    what = {"listener": "submission", "mechanism": "EXTERNAL", "reason": want}
    before = len(s.events("authentication", **what))
    r = client(pair)
    check(r.ok == (want == "ok"), f"EXTERNAL with {os.path.basename(pair[0])}: {want}", r.output)
    e = s.wait_event("authentication", count=before + 1, **what)[-1]
    check_eq(e["key"], s.external_id if want == "ok" else "")


def test_external_clients(lab, s):
    by_curl = lambda p: curl(s, "EXTERNAL", s.external_id, "", "--cert", p[0], "--key", p[1])
    by_msmtp = lambda p: msmtp(s, "EXTERNAL", s.external_id, "", f"tls_cert_file {p[0]}",
                               f"tls_key_file {p[1]}")
    for client in by_curl, by_msmtp:
        external(s, client, s.spiffe, "ok")
        external(s, client, s.own, "ok")              # by its public key
        external(s, client, s.nobody, "unknown_certificate")


def with_certificate(pair):
    c = raw.client_context()
    if pair:
        c.load_cert_chain(*pair)
    return c


def test_external_raw(lab, s):
    """A name counts only when the CA vouches for it; no certificate, no EXTERNAL."""
    for pair, authzid, want in (
            (s.spiffe, "=", YES), (s.spiffe, raw.b64(s.external_id), YES),
            (s.spiffe, raw.b64(s.all_id), GRANT), (s.nobody, "=", GRANT), (None, "=", NO_MECHANISM)):
        with s.raw("tls", context=with_certificate(pair)) as c:
            check(("EXTERNAL" in c.ehlo()) == bool(pair), "offered to whom it is of use")
            c.expect(f"AUTH EXTERNAL {authzid}", want)
    # The self-signed one bears the name of a key below, and is known by its public key alone.
    other, _ = s.new_key("shop", "--certificate", "dns:mail.shop.example")
    with s.raw("tls", context=with_certificate(s.own)) as c:
        c.ehlo()
        c.expect("AUTH EXTERNAL =", YES)
    check_eq(s.wait_event("authentication", key=s.external_id)[-1]["reason"], "ok")
    # Two keys by one certificate: the client has to say which.
    with s.raw("tls", context=with_certificate(s.spiffe)) as c:
        c.ehlo()
        c.expect("AUTH EXTERNAL =", GRANT)
        c.expect(f"AUTH EXTERNAL {raw.b64(other)}", YES)
    s.wait_event("authentication", reason="ambiguous_certificate")
    # It was the key's, and ends with it.
    s.ctl("key", "revoke", other)
    with s.raw("tls", context=with_certificate(s.spiffe)) as c:
        c.ehlo()
        c.expect(f"AUTH EXTERNAL {raw.b64(other)}", GRANT)


def test_external_is_never_resumed(lab, s):
    for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
        context = raw.client_context(minimum=version, maximum=version)
        context.load_cert_chain(*s.spiffe)
        with s.raw("tls", context=context) as c:
            c.ehlo()
            session = c.sock.session
            check(session is None or not session.has_ticket, "no ticket", version)


# -- SCRAM, by hand -----------------------------------------------------------------------------


class Scram:
    """The client's side, with anything to be done wrong."""

    def __init__(self, c, user, password, gs2="n,,", binding=b"", mechanism="SCRAM-SHA-256"):
        self.c, self.user, self.password = c, user, password
        self.gs2, self.binding, self.mechanism = gs2, binding, mechanism

    def first(self):
        bare = f"n={self.user},r=clientnonce"
        r = self.c.cmd(f"AUTH {self.mechanism} {raw.b64(self.gs2 + bare)}")
        if r.code != 334:
            return r
        self.server = base64.b64decode(r[4:]).decode()
        self.bare = bare
        self.parts = dict(x.split("=", 1) for x in self.server.split(","))
        return r

    def login(self):
        """All replies, the last one last; our last word is nothing."""
        r = self.first()
        if r.code != 334:
            return [str(r)]
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(),
                                     base64.b64decode(self.parts["s"]), int(self.parts["i"]))
        key = hmac.digest(salted, b"Client Key", "sha256")
        stored = hashlib.sha256(key).digest()
        without = f"c={raw.b64(self.gs2.encode() + self.binding)},r={self.parts['r']}"
        message = f"{self.bare},{self.server},{without}".encode()
        proof = bytes(a ^ b for a, b in zip(key, hmac.digest(stored, message, "sha256")))
        r = self.c.cmd(raw.b64(f"{without},p={raw.b64(proof)}"))
        if r.code != 334:
            return [str(r)]
        last = base64.b64decode(r[4:]).decode()
        server = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")
        if last.startswith("v="):
            check_eq(last, f"v={raw.b64(server)}", "the server's signature")
            last = "v="
        return [last, str(self.c.cmd(""))]


def end_point(c):
    return hashlib.sha256(c.sock.getpeercert(binary_form=True)).digest()


def test_channel_binding_by_end_point(lab, s):
    """Where it is configured; on the other listener the type is none of ours."""
    plus = "SCRAM-SHA-256-PLUS"
    for door, gs2, right, want in (
            ("tls", "p=tls-server-end-point,,", True, ["v=", YES]),
            ("tls", "p=tls-server-end-point,,", False, ["e=channel-bindings-dont-match", GRANT]),
            ("tls", "p=tls-unique,,", True, ["e=unsupported-channel-binding-type", GRANT]),
            ("starttls", "p=tls-server-end-point,,", True, ["e=unsupported-channel-binding-type", GRANT])):
        with s.raw(door) as c:
            c.ehlo()
            if door == "starttls":
                c.starttls()
                check(plus in c.ehlo(), "offered")
            got = Scram(c, s.all_id, s.all, gs2, end_point(c) if right else b"x" * 32, plus).login()
            check_eq(got, want, f"{door} {gs2}")
    # A client that could bind was told that we cannot: somebody is between.
    with s.raw("tls") as c:
        c.ehlo()
        check_eq(Scram(c, s.all_id, s.all, "y,,").login(),
                 ["e=server-does-support-channel-binding", GRANT])
    for reason in "channel_binding", "channel_binding_type", "downgrade":
        s.wait_event("authentication", reason=reason)
    # Without exporter (TLS 1.2) and end point there is nothing to bind to, and "y" is the truth.
    with s.raw("starttls", context=raw.client_context(maximum=ssl.TLSVersion.TLSv1_2)) as c:
        c.ehlo()
        c.starttls()
        check(plus not in c.ehlo(), "not offered on TLS 1.2")
        check_eq(Scram(c, s.all_id, s.all, "y,,").login(), ["v=", YES])


def salt_of(s, door, name):
    with s.raw(door) as c:
        c.ehlo()
        if door == "starttls":
            c.starttls()
            c.ehlo()
        x = Scram(c, name, "")
        check_eq(x.first().code, 334, name)
        return x.parts["s"], x.parts["i"]


def test_unknown_names_have_salts(lab, s):
    """The same ones everywhere and for ever, and nothing tells them from real ones."""
    names = ["apikey", "bob", "bob@example.com", "A" * 22, s.all_id[:-1] + "~", s.all_id]
    before = [salt_of(s, "tls", n) for n in names]
    check_eq([salt_of(s, "starttls", n) for n in names], before, "on the other listener")
    check_eq(len({salt for salt, _ in before}), len(names), "one for each")
    check_eq({rounds for _, rounds in before}, {"4096"})
    check_eq({len(base64.b64decode(salt)) for salt, _ in before}, {16})
    s.restart()
    check_eq([salt_of(s, "tls", n) for n in names], before, "after a restart")


# -- refusals -----------------------------------------------------------------------------------


def cram(c, user, password):
    r = c.cmd("AUTH CRAM-MD5")
    check_eq(r.code, 334, "challenge")
    challenge = base64.b64decode(r[4:])
    check(challenge.startswith(b"<") and challenge.endswith(b"@signet.test>"), "a msg-id", challenge)
    digest = hmac.new(password.encode(), challenge, "md5").hexdigest()
    return [str(c.cmd(raw.b64(f"{user} {digest}")))], challenge


def plain_login(s, key):
    with s.raw("tls") as c:
        c.ehlo()
        return str(c.auth(key))


def test_every_refusal_is_the_same(lab, s):
    """Wire text equal, log reason distinct."""
    revoked_id, revoked = s.new_key("shop", "--cram-md5")
    s.ctl("key", "revoke", revoked_id)
    expired_id, expired = s.new_key("shop", "--cram-md5", "--expires", "1")
    limited_id, limited = s.new_key("shop", "--mechanisms", "EXTERNAL")
    scope_id, scope = s.new_key("shop", "--cram-md5", "--scope", "api_keys.read")
    s.ctl("account", "add", "gone")
    gone_id, gone = s.new_key("gone", "--cram-md5")
    s.ctl("account", "hold", "gone")
    plain_id, plain = s.new_key("shop")
    unknown_id = s.all_id[:8] + "AAAAAAAAAAAAAA"
    unknown = f"SG.{unknown_id}.{s.all.rsplit('.', 1)[1]}"
    wait_for("the key to expire", 20, lambda: plain_login(s, expired) == GRANT, 0.2)
    rows = [("wrong_secret", s.all_id, wrong(s.all)), ("mistyped_key", unknown_id, unknown),
            ("revoked", revoked_id, revoked), ("expired", expired_id, expired),
            ("mechanism_not_allowed", limited_id, limited), ("scope_missing", scope_id, scope),
            ("account_held", gone_id, gone)]
    for mechanism in "PLAIN", "LOGIN", "SCRAM-SHA-256", "CRAM-MD5":
        seen = {}
        more = [("not_a_key_id", "apikey", s.all)] if mechanism in ("SCRAM-SHA-256", "CRAM-MD5") else []
        if mechanism == "CRAM-MD5":
            more.append(("no_cram_md5", plain_id, plain))
        for reason, user, key in rows + more:
            if mechanism == "CRAM-MD5" and reason == "mechanism_not_allowed":
                continue    # such a key cannot be made for CRAM-MD5
            with s.raw("tls") as c:
                c.ehlo()
                if mechanism == "PLAIN":
                    got = [str(c.auth(key, user))]
                elif mechanism == "LOGIN":
                    c.cmd("AUTH LOGIN")
                    c.cmd(raw.b64(user))
                    got = [str(c.cmd(raw.b64(key)))]
                elif mechanism == "CRAM-MD5":
                    got, _ = cram(c, user, key)
                else:
                    got = Scram(c, user, key).login()
            s.wait_event("authentication", mechanism=mechanism, result="failed", reason=reason,
                         key="" if user == "apikey" else user)
            seen[reason] = got
        want = ["e=invalid-proof", GRANT] if mechanism == "SCRAM-SHA-256" else [GRANT]
        for reason, got in seen.items():
            check_eq(got, want, f"{mechanism}: {reason}")


def test_challenges_are_never_the_same(lab, s):
    seen = set()
    for _ in range(20):
        with s.raw("tls") as c:
            c.ehlo()
            got, challenge = cram(c, s.all_id, s.all)
            check_eq(got, [YES])
            seen.add(challenge)
    check_eq(len(seen), 20)


# -- what is offered, and to whom -----------------------------------------------------------------


def test_offers(lab, s):
    with s.raw("starttls") as c:
        clear = c.ehlo()
        check("AUTH" not in clear, "nothing outside TLS", clear)
        for m in ALL:
            check_eq(c.cmd(f"AUTH {m}").code, 538, m)
        c.starttls()
        check("250-AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN CRAM-MD5" in c.ehlo().lines, "best first")
    with s.raw("relay") as c:
        c.ehlo()
        c.starttls()
        lines = c.ehlo().lines
        check("250-AUTH PLAIN LOGIN" in lines and "250-AUTH=PLAIN LOGIN" in lines, "the default", lines)
        for m in ("SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "CRAM-MD5", "EXTERNAL", "XOAUTH2", "OAUTHBEARER"):
            c.expect(f"AUTH {m}", NO_MECHANISM)
        c.expect("AUTH PLAIN " + raw.plain("apikey", s.all), YES)


def test_limited_key(lab, s):
    """By the right secret, too."""
    kid, key = s.new_key("shop", "--mechanisms", "scram-sha-256,SCRAM-SHA-256-PLUS")
    check_eq(s.ctl("key", "show", kid)["mechanisms"], "SCRAM-SHA-256-PLUS SCRAM-SHA-256")
    with s.raw("tls") as c:
        c.ehlo()
        check_eq(str(c.auth(key)), GRANT)
        check_eq(Scram(c, kid, key).login(), ["v=", YES])
        check_eq(c.message(s.sender, "you@example.com", raw.compose(s.sender, "you@example.com", "x", "x\r\n")).code,
                 250, "and sends")
    code, _, err = s.run("key", "create", "--account", "shop", "--mechanisms", "PLAIN,NTLM", check=False)
    check(code == 65 and "NTLM" in err, "not one of ours", err)
    code, _, err = s.run("key", "create", "--account", "shop", "--mechanisms", "PLAIN", "--cram-md5", check=False)
    check(code == 65, "for CRAM-MD5, and not by it", err)


def test_a_key_and_its_addresses(lab):
    """By the right secret, too, and on an open session at its next MAIL; whom a balancer names counts."""
    s = lab.signet({("listener", "tls"): {"mechanisms": ALL, "proxy": ["127.0.0.3"]}})
    kid, key = s.new_key("shop", "--cram-md5", "--networks", "127.0.0.2,10.0.0.0/8,2001:db8::/32")
    check_eq(s.ctl("key", "show", kid)["networks"], "127.0.0.2 10.0.0.0/8 2001:db8::/32")

    def answers(source, by=None, header=b""):
        with raw.Raw(s.port("tls" if header else "starttls"), source=source, greet=False) as c:
            if header:
                c.send(header)
                c.start_tls_now()
            c.greeting = c.reply()
            c.ehlo()
            if not header:
                c.starttls()
                c.ehlo()
            return by(c) if by else str(c.auth(key))

    def scram(c):
        return Scram(c, kid, key).login()

    check_eq(answers("127.0.0.1"), GRANT)
    check_eq(answers("127.0.0.2"), YES)
    # By any mechanism, and as the same failure as any other.
    named = b"PROXY TCP4 %s 127.0.0.1 1 465\r\n"
    check_eq(answers("127.0.0.3", header=named % b"127.0.0.2"), YES)
    check_eq(answers("127.0.0.3", header=named % b"127.0.0.9"), GRANT)
    check_eq(answers("127.0.0.3", scram, named % b"10.9.8.7"), ["v=", YES])
    check_eq(answers("127.0.0.3", scram, named % b"11.9.8.7"), ["e=invalid-proof", GRANT])
    check_eq(answers("127.0.0.3", header=b"PROXY TCP6 2001:db8::5 ::1 1 465\r\n"), YES)
    check_eq(answers("127.0.0.3", header=b"PROXY UNKNOWN\r\n"), GRANT)
    s.wait_event("authentication", reason="wrong_address", key=kid, count=4)
    s.wait_event("authentication", reason="wrong_address", client="11.9.8.7")

    with s.login("starttls", key=key, source="127.0.0.2") as c:
        check_eq(c.message(s.sender, "a@example.com", f"From: {s.sender}\r\n\r\nhi\r\n").code, 250)
        check_eq(s.ctl("key", "limit", kid, "--networks", "192.0.2.0/24")["networks"], "192.0.2.0/24")
        c.expect(f"MAIL FROM:<{s.sender}>", GRANT)
        c.closed()
    s.wait_event("authentication", result="withdrawn", reason="wrong_address", key=kid)
    # A login that was remembered is of its address, and does not outlive the change.
    check_eq(answers("127.0.0.2"), GRANT)
    check_eq(s.ctl("key", "limit", kid, "--networks", "any", "--mechanisms", "LOGIN")["networks"], "")
    check_eq(answers("127.0.0.1"), GRANT)
    check_eq(s.ctl("key", "limit", kid, "--mechanisms", "any")["mechanisms"], "")
    check_eq(answers("127.0.0.1"), YES)
    for bad, why in (("192.0.2.1/24", "192.0.2.1/24"), ("mail.example", "no address"), ("", "is empty")):
        code, _, err = s.run("key", "limit", kid, f"--networks={bad}", check=False)
        check(code in (64, 65) and why in err, "says what is wrong", code, err)
    # A variable that was not set makes no key without a limit.
    for args in (["create", "--account", "shop", "--networks", ""], ["create", "--account", "shop", "--mechanisms="],
                 ["limit", kid, "--networks", "", "--mechanisms", "PLAIN"]):
        code, _, err = s.run("key", *args, check=False)
        check(code in (64, 65) and "any" in err, "is empty", code, err)
    many = ",".join(f"10.0.0.{n}" for n in range(17))
    code, _, err = s.run("key", "create", "--account", "shop", "--networks", many, check=False)
    check(code == 65 and "16" in err, "says how many", err)
    check_eq(s.run("key", "limit", "AAAAAAAAAAAAAAAAAAAAAA", "--networks", "any", check=False)[0], 66)
    check_eq(answers("127.0.0.1"), YES)


def test_what_is_no_list_lifts_no_limit(lab):
    """On the control socket: a text in place of a list of one is an error, not an empty list."""
    s = lab.signet()
    kid, key = s.new_key("shop", "--networks", "10.0.0.0/8", "--mechanisms", "PLAIN")

    def post(path, body):
        with socket.socket(socket.AF_UNIX) as c:
            c.settimeout(15)
            c.connect(s.options["control_socket"])
            text = json.dumps(body).encode()
            c.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
                      b"Content-Length: %d\r\n\r\n%s" % (path.encode(), len(text), text))
            got = b""
            while more := c.recv(65536):
                got += more
        return int(got.split()[1]), got.decode()

    for member in "networks", "mechanisms":
        for value in "192.0.2.1", "PLAIN", "", None, {"a": "192.0.2.1"}, 7, True, [1], [["192.0.2.1"]], [None]:
            status, got = post(f"/control/keys/{kid}/limit", {member: value})
            check(status == 400 and member in got, f"{member}: {value!r}", got)
            status, got = post("/control/keys", {"account": "shop", member: value})
            check(status == 400 and member in got, f"{member}: {value!r}", got)
    # Nor is what is misspelled passed over.
    for path in "/control/keys", f"/control/keys/{kid}/limit":
        status, got = post(path, {"account": "shop", "networks": ["10.0.0.0/8"], "mechanism": ["PLAIN"]})
        check(status == 400 and ("mechanism" in got or "account" in got), path, got)
    status, got = post("/control/keys", {"account": "shop", "scopes": "mail.send"})
    check(status == 400, "nor of scopes", got)
    k = s.ctl("key", "show", kid)
    check_eq((k["networks"], k["mechanisms"]), ("10.0.0.0/8", "PLAIN"))
    check_eq(len(s.ctl("key", "list", "--account", "shop")["keys"]), 2, "none was made")
    with s.raw("tls") as c:
        c.ehlo()
        check_eq(str(c.auth(key)), GRANT)
    check_eq(post(f"/control/keys/{kid}/limit", {"networks": [], "mechanisms": []})[0], 200, "an empty list lifts it")
    with s.raw("tls") as c:
        c.ehlo()
        check_eq(str(c.auth(key)), YES)


def test_cancel_and_begin_again(lab, s):
    """A fresh object for each AUTH: nothing of the last one is left."""
    aborted = "501 5.7.0 Authentication aborted"
    with s.raw("tls") as c:
        c.ehlo()
        Scram(c, s.all_id, s.all).first()
        c.expect("*", aborted)
        c.cmd("AUTH CRAM-MD5")
        c.expect("*", aborted)
        c.expect("AUTH CRAM-MD5 =", "501 5.7.0 This mechanism has no initial response")
        c.expect("AUTH SCRAM-SHA-256 =", "501 5.5.2 Malformed authentication response")
        # Success is heard only when its last word was taken.
        x = Scram(c, s.all_id, s.all)
        x.c = Sly(c)
        check_eq(x.login(), ["v=", aborted])
        check_eq(c.cmd(f"MAIL FROM:<{s.sender}>").code, 530, "not logged in")
        check_eq(Scram(c, s.all_id, s.all).login(), ["v=", YES])


class Sly:
    """Cancels where nothing is due."""

    def __init__(self, c):
        self.c = c

    def cmd(self, text):
        return self.c.cmd(text or "*")


def test_long_lines(lab, s):
    with s.raw("tls") as c:
        c.ehlo()
        c.cmd("AUTH LOGIN")
        c.expect("A" * 12286, "501 5.5.2 *")
        c.cmd("AUTH LOGIN")
        c.expect("A" * 12288, "500 5.5.6 *")
        check_eq(str(c.auth(s.all)), YES)


# -- the cache ------------------------------------------------------------------------------------


def test_twins_never_meet(lab, s):
    """Keys that are alike to the last character, remembered side by side; nobody is let in by
    another's login, whatever is crossed."""
    name = "a" * 60
    key = s.all
    body, secret = key[3:25], key[26:]
    twins = []
    for i, c in enumerate("XY"):
        s.ctl("account", "add", name + str(i))
        twin = f"SG.{body[:21]}{c}.{secret[:42]}{c}"
        s.ctl("key", "create", "--account", name + str(i), "--import", stdin=twin + "\n")
        s.know_secret(twin)
        twins.append(twin)
    accounts = {t[3:25]: s.ctl("key", "show", t[3:25])["account"] for t in twins}
    check_eq(len(set(accounts.values())), 2)
    crossed = [f"SG.{body[:21]}{a}.{secret[:42]}{b}" for a, b in ("XY", "YX")]
    for _ in range(3):
        for t in twins + crossed:
            check_eq(plain_login(s, t), YES if t in twins else GRANT)
    for kid, account in accounts.items():
        got = s.wait_event("authentication", count=3, key=kid, result="ok")
        check_eq({e["account"] for e in got}, {account}, "its own account")
    # The name is part of it, too.
    with s.raw("tls") as c:
        c.ehlo()
        check_eq(str(c.auth(twins[0], twins[1][3:25])), GRANT)
        check_eq(str(c.auth(twins[0], twins[0][3:25])), YES)

"""TLS at the doors of the running server, as openssl's own client and Python's see it."""
import os
import re
import socket
import ssl
import subprocess

from lab import raw
from lab.lab import check, equal, reply
from lab.peers import make_cert
from lab.raw import wait_for

V2, V3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
DOORS = ("starttls", "tls")


def setup(lab):
    """One server with an RSA and an ECDSA certificate side by side."""
    d = lab.make_dir("certs")
    rsa, ec = make_cert(d, "rsa.example", ec=False, stem="rsa"), make_cert(d, "ec.example", stem="ec")
    return lab.signet({"tls": {"certificate": [rsa[0], ec[0]], "key": [rsa[1], ec[1]]}})


def command(s, door, *args):
    argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{s.port(door)}", *args]
    return argv + (["-starttls", "smtp"] if door == "starttls" else [])


def openssl(s, door, *args, stdin=b"QUIT\n"):
    argv = command(s, door, "-ign_eof", "-crlf", *args)
    p = subprocess.run(argv, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30,
                       check=False)
    return p.returncode, p.stdout.decode("utf-8", "replace")


def test_rsa_and_ecdsa_side_by_side(lab, s):
    for door in DOORS:
        for args, name in ((("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"), "rsa.example"),
                           (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"), "ec.example"),
                           (("-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256"), "rsa.example"),
                           (("-tls1_3", "-sigalgs", "ecdsa_secp256r1_sha256"), "ec.example")):
            code, out = openssl(s, door, *args)
            equal(code, 0, f"{door} {args}: {out}")
            check(f"subject=CN = {name}" in out, f"{door} {args}: the certificate of {name}", out)
            check("221 2.0.0 See you later" in out, "SMTP inside", out)


def test_server_names(lab):
    """SNI: exact name, wildcard, both kinds of key for one name; strangers get the first."""
    d = lab.make_dir("certs")
    pairs = [make_cert(d, "mail.example", stem="ec"), make_cert(d, "mail.example", ec=False, stem="rsa"),
             make_cert(d, "*.shops.example", stem="wild"), make_cert(d, "other.example", stem="other")]
    s = lab.signet({"tls": {"certificate": [c for c, _ in pairs], "key": [k for _, k in pairs]}},
                   bare=True)
    rsa = ("-sigalgs", "rsa_pss_rsae_sha256")
    for door in DOORS:
        for asked, more, cn, kind in (
                ("mail.example", (), "mail.example", "ECDSA"),
                ("mail.example", rsa, "mail.example", "RSA-PSS"),
                ("one.shops.example", (), "*.shops.example", "ECDSA"),
                ("shops.example", (), "mail.example", "ECDSA"),
                ("a.one.shops.example", (), "mail.example", "ECDSA"),
                ("Other.Example", (), "other.example", "ECDSA"),
                ("other.example", rsa, "mail.example", "RSA-PSS"),
                ("nobody.example", (), "mail.example", "ECDSA"),
                (None, (), "mail.example", "ECDSA")):
            name = ("-servername", asked) if asked else ("-noservername",)
            code, out = openssl(s, door, "-tls1_3", *name, *more)
            check(code == 0 and f"subject=CN = {cn}\n" in out and
                  f"Peer signature type: {kind}\n" in out, f"{door} {asked} {more}: {cn}, {kind}", out)


def test_only_two_versions(lab, s):
    for door in DOORS:
        for args in (("-tls1_1",), ("-tls1",)):
            code, out = openssl(s, door, *args, "-cipher", "ALL:@SECLEVEL=0")
            check(code != 0 and "alert protocol version" in out, f"{door} {args}", out)
        for args, want in ((("-tls1_2",), "TLSv1.2"), (("-tls1_3",), "TLSv1.3"), ((), "TLSv1.3")):
            code, out = openssl(s, door, *args)
            check(code == 0 and f"New, {want}," in out, f"{door} {args}: {want}", out)


def test_weak_key_exchanges_are_refused(lab, s):
    """No RSA key exchange, no finite fields, no CBC, no NULL, no anonymous."""
    for cipher in ("AES128-GCM-SHA256", "DHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA",
                   "ECDHE-RSA-AES256-SHA384", "NULL-SHA256", "AECDH-AES128-SHA"):
        code, out = openssl(s, "tls", "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0")
        check(code != 0 and "handshake failure" in out, cipher, out)


def test_no_certificate_is_asked_for(lab, s):
    for door in DOORS:
        for version in ("-tls1_2", "-tls1_3"):
            code, out = openssl(s, door, version, "-msg")
            equal(code, 0, out)
            check("Certificate" in out and "CertificateRequest" not in out, f"{door} {version}", out)


def test_no_renegotiation(lab, s):
    for door in DOORS:
        p = subprocess.Popen(command(s, door, "-tls1_2"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT)
        out = b""

        def told():
            nonlocal out
            out += p.stdout.read() or b""
            return b"no renegotiation" in out or p.poll() is not None

        try:
            os.set_blocking(p.stdout.fileno(), False)
            p.stdin.write(b"R\n")  # a letter is a command of s_client's; read once it is connected
            p.stdin.flush()
            wait_for("its end", 20, told, 0.05)
        finally:
            p.kill()
            p.wait()
        out = out.decode("utf-8", "replace")
        check("RENEGOTIATING" in out and "no renegotiation" in out, "refused", out[-500:])


def test_no_early_data(lab, s):
    _, out = openssl(s, "tls", "-tls1_3")
    check("Max Early Data: 0" in out, "none is allowed in a ticket", out)
    check("Early data was not sent" in out, "and none goes", out)


def test_no_compression(lab, s):
    _, out = openssl(s, "tls", "-tls1_2", "-comp")
    check("Compression: NONE" in out, "none", out)


def test_alpn(lab, s):
    """RFC 7301: our name is taken, another's ends the handshake, none is fine."""
    for door in DOORS:
        code, out = openssl(s, door, "-alpn", "smtp")
        check(code == 0 and "ALPN protocol: smtp" in out, "smtp", out)
        code, out = openssl(s, door, "-alpn", "h2,smtp")
        check(code == 0 and "ALPN protocol: smtp" in out, "smtp among others", out)
        code, out = openssl(s, door, "-alpn", "h2,http/1.1")
        check(code != 0 and "no application protocol" in out, "a browser", out)
        code, out = openssl(s, door)
        check(code == 0 and "No ALPN negotiated" in out, "none", out)


def connect(s, door, context, session=None):
    """A socket inside TLS that has said EHLO; its session can be taken up again."""
    k = socket.create_connection(("127.0.0.1", s.ports[door]), timeout=10)
    if door != "tls":
        k.recv(4096)
        for line in (b"EHLO x\r\n", b"STARTTLS\r\n"):
            k.sendall(line)
            k.recv(4096)
    t = context.wrap_socket(k, session=session)
    t.sendall(b"EHLO x\r\n")
    got = b""
    while b"\r\n250 " not in got:      # in TLS 1.3 the ticket comes with the first bytes
        got += t.recv(4096)
    return t


def test_tickets_belong_to_their_listener(lab, s):
    """Each of three listeners knows its own, and no other's, in both versions."""
    for version in (V2, V3):
        context = raw.client_context(version, version)
        for own in ("relay", "submission", "tls"):
            with connect(s, own, context) as t:
                session = t.session
            check(session is not None and session.has_ticket, "a ticket", own, version)
            for door in ("relay", "submission", "tls"):
                with connect(s, door, context, session) as t:
                    equal(t.session_reused, door == own, f"{version.name}: {own}'s ticket at {door}")


def test_nothing_of_a_session_is_resumed(lab, s):
    """A ticket saves a handshake; who it was has to be proved again."""
    context = raw.client_context(V2, V2)
    with connect(s, "tls", context) as t:
        t.sendall(b"AUTH PLAIN " + raw.plain("apikey", s.key).encode() + b"\r\n")
        check(t.recv(4096).startswith(b"235 "), "logged in")
        session = t.session
    with connect(s, "tls", context, session) as t:
        check(t.session_reused, "resumed")
        t.sendall(f"MAIL FROM:<{s.sender}>\r\n".encode())
        check(b"530 5.7.0" in t.recv(4096), "and yet a stranger")


def test_clear_text_where_tls_is_meant(lab, s):
    """Not a word in clear text, and a line in the log."""
    with raw.Raw(s.ports["tls"], greet=False) as c:
        c.send("EHLO client.example\r\n")
        c.sock.settimeout(10)
        got = b""
        try:
            while more := c.sock.recv(4096):
                got += more
        except ConnectionResetError:
            pass
        check(b"220" not in got and b"ESMTP" not in got, "not a word of SMTP", got)
    with raw.Raw(s.ports["submission"]) as c:
        c.ehlo()
        equal(c.cmd("STARTTLS").code, 220, "STARTTLS")
        c.send("EHLO client.example\r\n")
        check(b"250" not in (c.sock.recv(4096) or b""), "not a word of SMTP")
    s.wait_event("tls_failed", count=2)


# Where a message may not end: by the close_notify of TLS, and by a cut without it.
HALVES = {
    "data": (["DATA"], "354 Continue", b"From: hello@shop.example\r\n\r\nhalf\r\n"),
    "data_at_the_dot": (["DATA"], "354 Continue", b"From: hello@shop.example\r\n\r\nhalf\r\n."),
    "bdat": ([], None, b"BDAT 100 LAST\r\nFrom: hello@shop.example\r\n\r\nhalf\r\n"),
    "bdat_all_but_one": ([], None, b"BDAT 35 LAST\r\nFrom: hello@shop.example\r\n\r\nhalf\r"),
    "between_chunks": ([], None, b"BDAT 34\r\nFrom: hello@shop.example\r\n\r\nhalf\r\n"),
}


def half(s, lines, want, data, notify):
    before, accepted = len(s.captured()), len(s.events("message_accepted"))
    with s.login() as c:
        reply(c.cmd(f"MAIL FROM:<{s.sender}>"), "250 *")
        reply(c.cmd("RCPT TO:<you@example.com>"), "250 *")
        for line in lines:
            reply(c.cmd(line), want)
        c.send(data)
        closed = len(s.events("connection_closed"))
        if notify:
            try:
                clear = c.sock.unwrap()
                # What would have ended the message, in clear text behind the end of TLS.
                clear.sendall(b"\r\n.\r\nBDAT 0 LAST\r\n" + b"x" * 100)
                clear.settimeout(5)
                left = b""
                while more := clear.recv(4096):
                    left += more
                check(b"queued" not in left, "an answer", left)
            except (OSError, ssl.SSLError):
                pass
        else:
            socket.socket(fileno=os.dup(c.sock.fileno())).shutdown(socket.SHUT_WR)
        s.wait_event("connection_closed", count=closed + 1)
    equal((len(s.captured()), len(s.events("message_accepted"))), (before, accepted), "messages")
    with s.login() as c:
        reply(c.cmd("NOOP"), "250 2.0.0 Ok")


def tests():
    for name, (lines, want, data) in HALVES.items():
        for notify in (True, False):
            yield (f"test_half_a_message_{name}_{'close_notify' if notify else 'cut'}",
                   lambda lab, s, a=(lines, want, data, notify): half(s, *a))

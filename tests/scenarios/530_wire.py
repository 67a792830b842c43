"""The wire, at every door: what stands behind STARTTLS in clear never counts inside TLS; nothing
that looks like an end of data is one; and what two scanners say of our TLS."""
import json
import os
import socket
import ssl
import subprocess
import xml.etree.ElementTree as xml

from lab import raw
from lab.lab import check, equal
from lab.raw import Closed

TIMEOUT = 400
CLEAR = ("mta", "submission", "extra")     # 25, 587 and 2525 of an installation
DOORS = (*CLEAR, "tls")                    # and 465


def openssl(*argv):
    subprocess.run(["openssl", *argv], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def authority(dir):
    """A test CA, and a certificate of it for localhost, good for longer than a scanner warns of."""
    ca, ca_key, cert, key, csr, ext = (os.path.join(dir, x) for x in (
        "ca.pem", "ca.key", "c.pem", "c.key", "c.csr", "c.ext"))
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *curve, "-keyout", ca_key, "-out", ca, "-days", "400", "-subj", "/CN=test CA")
    with open(ext, "w", encoding="ascii") as f:
        f.write("subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n"
                "crlDistributionPoints=URI:http://localhost/test.crl\n")
    openssl("req", *curve, "-keyout", key, "-out", csr, "-subj", "/CN=localhost")
    openssl("x509", "-req", "-in", csr, "-out", cert, "-days", "200", "-CA", ca, "-CAkey", ca_key,
            "-CAcreateserial", "-extfile", ext)
    return ca, cert, key


def setup(lab):
    dir = lab.make_dir("ca")
    ca, cert, key = authority(dir)
    s = lab.signet({"tls": {"certificate": [cert], "key": [key]}, "limits": {"errors": 0, "commands": 0},
                    ("listener", "extra"): {"address": ["127.0.0.1:0"], "tls": "starttls"}}, start=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        s.ports["extra"] = free.getsockname()[1]
    s.options[("listener", "extra")]["address"] = [f"127.0.0.1:{s.ports['extra']}"]
    s.ports["mta"] = s.ports["relay"]
    s.write_conf()
    s.start()
    s.furnish()
    s.ca = ca
    return s


def opened(s, door, **more):
    return raw.Raw(s.ports[door], implicit=door == "tls", **more)


def rest(sock, seconds=10):
    """Everything until the server closes."""
    sock.settimeout(seconds)
    got = b""
    try:
        while chunk := sock.recv(65536):
            got += chunk
    except (ConnectionResetError, ssl.SSLError):
        pass
    return got


# -- STARTTLS -----------------------------------------------------------------------------------------


def behind(s):
    login = "AUTH PLAIN " + raw.plain("apikey", s.key)
    return ("EHLO evil.example\r\n", login + "\r\n", f"EHLO evil.example\r\n{login}\r\n",
            f"EHLO x\r\n{login}\r\nMAIL FROM:<{s.sender}>\r\nRCPT TO:<evil@example.com>\r\nDATA\r\n"
            f"From: {s.sender}\r\n\r\nevil\r\n.\r\n", "RSET\r\n", "NOOP", "\r\n", "\n", "\0", "STARTTLS\r\n",
            "\x16\x03\x01", "A")


def test_nothing_behind_starttls_counts(lab, s):
    """In the same segment: refused, closed, none of it understood."""
    for door in CLEAR:
        for what in behind(s):
            with opened(s, door) as c:
                c.ehlo()
                c.send("STARTTLS\r\n" + what)
                got = rest(c.sock)
                # A ClientHello that is in a hurry is no better: RFC 3207 4 has it wait.
                equal(got, b"554 5.5.0 Bytes behind STARTTLS\r\n421 4.7.0 Closing connection\r\n",
                      f"{door}: {what[:30]!r}")
    equal(s.events("authentication", result="ok"), [], "nobody was logged in")
    equal(s.events("message_accepted"), [], "nothing was sent")


def test_clear_text_after_the_220_is_no_tls(lab, s):
    for door in CLEAR:
        for what in behind(s)[:4]:
            with opened(s, door) as c:
                c.ehlo()
                c.expect("STARTTLS", "220 2.0.0 *")
                c.send(what)
                got = rest(c.sock)
                check(b"235" not in got and b"250" not in got and b"334" not in got, door, got)
    equal(s.events("authentication", result="ok"), [], "nobody was logged in")


def test_the_session_begins_anew_inside(lab, s):
    """What was said in clear is forgotten: a name, a transaction; and TLS is not begun twice."""
    for door in CLEAR:
        with opened(s, door) as c:
            c.ehlo("in-clear.example")
            c.starttls()
            c.expect("AUTH PLAIN " + raw.plain("apikey", s.key), "503 5.5.1 Send EHLO first")
            c.ehlo("inside.example")
            c.expect("STARTTLS", "503 5.5.1 *")
            c.expect("AUTH PLAIN " + raw.plain("apikey", s.key), "235 2.7.0 *")
            c.message(s.sender, "you@example.com", f"From: {s.sender}\r\n\r\n{door}\r\n")
        text = s.find_captured(door.encode())
        check(b"inside.example" in text and b"in-clear.example" not in text, "the name inside", text[:300])


def test_smtp_where_tls_is_meant(lab, s):
    """Port 465 in clear: nothing is understood, and nothing is said but an alert."""
    for what in ("EHLO x\r\n", "AUTH PLAIN " + raw.plain("apikey", s.key) + "\r\n", "GET / HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", s.ports["tls"]), 10) as c:
            c.sendall(what.encode())
            got = rest(c)
            check(not got or got[0] == 0x15, "an alert or nothing", what, got)


def test_no_login_in_clear(lab, s):
    for door in CLEAR:
        with opened(s, door) as c:
            check("AUTH" not in c.ehlo(), door)
            c.expect("AUTH PLAIN " + raw.plain("apikey", s.key), "538 5.7.11 *")
            c.expect(f"MAIL FROM:<{s.sender}>", "530 5.7.0 *")


# -- ends of data that are none -------------------------------------------------------------------------

ENDS = ("\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\n.\r", "\r.\n", "\r\n\0.\r\n", "\r\n.\0\r\n",
        "\r\n.\r\r\n", "\n\n.\r\n", "\r\n.\n.\r\n", "\x0b\n.\x0b\n", "\x85.\x85", "\r\n\x00.\r\n",
        "\r\n\u2028.\u2028\r\n")
# These are content like any other.
HARMLESS = ("\r\n. \r\n", "\r\n..\r\n", "\r\n.. \r\n", "\r\n.x\r\n", " .\r\n", "\r\n .\r\n")


def smuggled(s, end):
    return (f"From: {s.sender}\r\n\r\nhi{end}MAIL FROM:<{s.sender}>\r\nRCPT TO:<evil@example.com>\r\nDATA\r\n"
            f"From: {s.sender}\r\n\r\nevil\r\n.\r\n").encode("utf-8", "surrogateescape")


def test_no_look_alike_ends_a_message(lab, s):
    """One reply for all of it, and at most one message, to its own recipient."""
    for door in DOORS:
        with opened(s, door) as c:
            c.ehlo()
            if door != "tls":
                c.starttls()
                c.ehlo()
            c.expect("AUTH PLAIN " + raw.plain("apikey", s.key), "235 *")
            for end in (*ENDS, *HARMLESS):
                before = len(s.events("message_accepted"))
                c.expect(f"MAIL FROM:<{s.sender}>", "250 *")
                c.expect("RCPT TO:<you@example.com>", "250 *")
                c.expect("DATA", "354 *")
                data = smuggled(s, end)
                # The true end is the last one: in front of it everything is content.
                c.send(data)
                got = c.reply()
                c.expect("NOOP", "250 2.0.0 *")
                if end in HARMLESS:
                    equal(got.code, 250, f"{door}: {end!r}: {got}")
                else:
                    check(got.code in (250, 554), f"{door}: {end!r}", got)
                if got.code == 250:
                    s.wait_event("message_accepted", count=before + 1)
                equal(len(s.events("message_accepted")) - before, got.code == 250, f"{door}: {end!r}")
    check(not [e for e in s.events("outcome") if "evil" in e.get("to", "")], "nothing went to the hidden one")


def test_bare_ends_are_refused(lab, s):
    for door in DOORS:
        with opened(s, door) as c:
            c.ehlo()
            if door != "tls":
                c.starttls()
                c.ehlo()
            c.expect("AUTH PLAIN " + raw.plain("apikey", s.key), "235 *")
            for end in ENDS[:8]:
                c.expect(f"MAIL FROM:<{s.sender}>", "250 *")
                c.expect("RCPT TO:<you@example.com>", "250 *")
                c.expect("DATA", "354 *")
                c.send(smuggled(s, end))
                equal(str(c.reply()), "554 5.6.0 Message has a bare CR, a bare LF or a NUL", f"{door}: {end!r}")


def test_bdat_hides_nothing(lab, s):
    """With BDAT the length decides; what looks like commands is content."""
    with opened(s, "tls") as c:
        c.ehlo()
        c.expect("AUTH PLAIN " + raw.plain("apikey", s.key), "235 *")
        c.expect(f"MAIL FROM:<{s.sender}>", "250 *")
        c.expect("RCPT TO:<you@example.com>", "250 *")
        data = smuggled(s, "\r\n.\r\n")
        before = len(s.events("message_accepted"))
        c.send(f"BDAT {len(data)} LAST\r\n".encode() + data)
        equal(c.reply().code, 250)
        c.expect("NOOP", "250 *")
        s.wait_event("message_accepted", count=before + 1)
        equal(len(s.events("message_accepted")), before + 1)
    check(not [e for e in s.events("outcome") if "evil" in e.get("to", "")], "nothing went to the hidden one")


def test_commands_end_with_crlf(lab, s):
    for door in DOORS:
        for what in ("NOOP\nNOOP\r\n", "NOOP\rNOOP\r\n", "EHLO a\nMAIL FROM:<x@y.example>\r\n"):
            with opened(s, door) as c:
                c.ehlo()
                c.send(what)
                got = rest(c.sock)
                check(got.startswith(b"500 5.5.2") and got.count(b"250") == 0, f"{door}: {what!r}", got)


# -- scanners ---------------------------------------------------------------------------------------------


def test_sslscan(lab, s):
    for door in DOORS:
        out = os.path.join(lab.make_dir("scan"), "xml")
        more = ["--starttls-smtp"] if door != "tls" else []
        p = subprocess.run(["sslscan", "--no-colour", "--sni-name=localhost", f"--xml={out}", *more,
                            f"127.0.0.1:{s.ports[door]}"], check=False, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=60)
        test = xml.parse(out).getroot().find("ssltest")
        check(test is not None, door, p.stdout[-800:])
        on = {f"{x.get('type')} {x.get('version')}" for x in test.findall("protocol") if x.get("enabled") == "1"}
        equal(on, {"tls 1.2", "tls 1.3"}, door)
        suites = {x.get("cipher") for x in test.findall("cipher")}
        check(len(suites) >= 5, "it saw them", suites)
        for suite in suites:
            check(suite.startswith(("TLS_", "ECDHE-")) and ("GCM" in suite or "POLY1305" in suite),
                  f"{door}: {suite}")
        check(all(x.get("strength") in ("strong", "acceptable") for x in test.findall("cipher")), door)
        equal([x.get("vulnerable") for x in test.findall("heartbleed") if x.get("vulnerable") != "0"], [], door)
        equal(test.find("renegotiation").get("supported"), "0", "no renegotiation")
        compression = test.find("compression")
        check(compression is None or compression.get("supported") == "0", "no compression")


# Not about us: what its own OpenSSL cannot do; the zone of "localhost".
NOT_OURS = {"engine_problem", "DNS_CAArecord", "service", "scanTime", "sessionresumption_ticket"}


def test_testssl(lab, s):
    """No finding above LOW."""
    jobs = []
    for door in "tls", "submission":
        out = os.path.join(lab.make_dir("testssl"), f"{door}.json")
        more = ["--starttls", "smtp"] if door != "tls" else []
        jobs.append((door, out, subprocess.Popen(
            ["testssl", "--quiet", "--color", "0", "--warnings", "batch", "--add-ca", s.ca, "--jsonfile", out,
             "--ip", "127.0.0.1", "--protocols", "--std", "--fs", "--server-defaults", "--server-preference",
             "--vulnerable", *more, f"localhost:{s.ports[door]}"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, cwd=os.path.dirname(out))))
    for door, out, p in jobs:
        text = p.communicate(timeout=900)[0]
        check(os.path.exists(out), f"{door}: it ran", text[-1500:])
        with open(out, encoding="utf-8") as f:
            found = json.load(f)
        seen = {x["id"] for x in found}
        for needed in ("SSLv2", "TLS1", "TLS1_2", "TLS1_3", "heartbleed", "ROBOT", "secure_renego", "cert_trust",
                       "PFS", "fallback_SCSV", "cert_chain_of_trust"):
            check(needed in seen, f"{door}: it looked at {needed}", sorted(seen))
        bad = [x for x in found if x["severity"] not in ("OK", "INFO", "LOW", "DEBUG") and x["id"] not in NOT_OURS]
        equal([f"{x['severity']} {x['id']}: {x['finding']}" for x in bad], [], door)

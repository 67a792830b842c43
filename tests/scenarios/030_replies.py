"""Every script of tests/scripts (the exact replies of each documented limit and refusal), and what
needs more than a script: time, several connections, header fields as they leave."""
import glob
import os
import re
import ssl
import time

from lab import paths, raw, script
from lab.lab import check, equal, reply
from lab.raw import wait_for

TIMEOUT = 280


class Servers:
    """One server for all scripts that change nothing, one more for each set of options."""

    def __init__(self, lab):
        self.lab, self.made = lab, {}

    def get(self, options):
        if options not in self.made:
            tree = {}
            for name, value in options:
                section, _, option = name.partition(".")
                tree.setdefault(section, {})[option] = value
            self.made[options] = self.lab.signet(tree)
        return self.made[options]


def setup(lab):
    return Servers(lab)


def play(servers, path):
    _, options, _ = script.parse(path)
    script.play(servers.get(tuple(options)), path)


def tests():
    for path in sorted(glob.glob(os.path.join(paths.TESTS, "scripts", "*.smtp"))):
        name = os.path.basename(path)[:-5]
        yield f"test_script_{name}", lambda lab, servers, p=path: play(servers, p)


def plain_server(servers):
    return servers.get(())


# -- the message as it leaves ------------------------------------------------------------------


def finished(s, head, body="hi\r\n", rcpts="you@example.com", door="tls"):
    tag = os.urandom(6).hex()
    with s.login(door) as c:
        reply(c.message(s.sender, rcpts, f"{head}\r\nX-Tag: {tag}\r\n\r\n{body}"), "250 2.0.0 *")
    m = s.find_captured(tag)
    return m.replace(b"\r\n", b"\n").decode("utf-8", "surrogateescape").partition("\n\n")


def test_finishing(lab, servers):
    s = plain_server(servers)
    head, _, body = finished(
        s, "Bcc: secret@example.com\r\nReturn-Path: <x@y>\r\nFrom: a@shop.example\r\n"
           f"Authentication-Results: {s.hostname}; dkim=pass\r\n"
           "Authentication-Results: other.example; dkim=pass\r\n"
           "X-SMTPAPI: {\"unique_args\": {\"a\": \"b\"}}\r\nResent-Bcc: secret@example.com")
    check("secret@example.com" not in head, "Bcc is removed", head)
    check("<x@y>" not in head, "Return-Path is removed", head)
    check(f"{s.hostname}; dkim=pass" not in head, "a forged Authentication-Results is removed", head)
    check("other.example; dkim=pass" in head, "another's is kept", head)
    check("X-SMTPAPI" not in head, "X-SMTPAPI is stripped", head)
    check(re.search(r"^Date: \w{3}, \d+ \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}$", head, re.M), "Date", head)
    check(re.search(r"^Message-ID: <[^<>@\s]+@[^<>@\s]+>$", head, re.M), "Message-ID", head)
    received = re.search(r"^Received: (.*(?:\n[ \t].*)*)", head, re.M).group(1)
    check(re.search(r"with ESMTPSA\b", received), "the protocol", received)
    check(re.search(r"tls TLS_", received, re.S), "the tls clause", received)
    check("for <you@example.com>" in received, "for, with one recipient", received)
    equal(body, "hi\n", "the body")


def test_for_is_left_out_with_two_recipients(lab, servers):
    head, _, _ = finished(plain_server(servers), "From: a@shop.example",
                          rcpts=["you@example.com", "other@example.com"])
    received = re.search(r"^Received: (.*(?:\n[ \t].*)*)", head, re.M).group(1)
    check("for <" not in received, "nobody is named", received)


def received_of(s, rcpts="you@example.com", params="", hello="EHLO client.example", door="tls", **tls):
    """The Received field of a message sent so, unfolded."""
    tag = os.urandom(6).hex()
    with s.login(door, **tls) as c:
        equal(c.cmd(hello).code, 250, hello)
        reply(c.message(s.sender, rcpts, f"From: {s.sender}\r\nX-Tag: {tag}\r\n\r\nhi\r\n", params),
              "250 2.0.0 *")
    head = s.find_captured(tag).replace(b"\r\n", b"\n").decode().partition("\n\n")[0]
    head = re.sub(r"\AReturn-Path: .*\n(Delivered-To: .*\n)+", "", head)     # the Maildir's own
    check(head.startswith("Received: "), "it is on top", head)
    return re.sub(r"\n[ \t]+", " ", re.match(r"Received: (.*(?:\n[ \t].*)*)", head).group(1))


def test_forms_of_received(lab, servers):
    """RFC 5321 4.4, 3848, 6531 4.3, 8314 4.3; nothing of a client's that means something there."""
    s = plain_server(servers)
    date = r"; \w{3}, \d\d? \w{3} \d{4} \d\d:\d\d:\d\d \+0000"
    by = rf" \(\[127\.0\.0\.1\]\) by {re.escape(s.hostname)} with "
    ident = r" id [A-Za-z0-9_-]{22}"
    tls = r" tls TLS_[A-Z0-9_]+"
    rows = [
        ({}, rf"from client\.example{by}ESMTPSA{ident} for <you@example\.com>{tls}{date}"),
        ({"door": "starttls"}, rf"from client\.example{by}ESMTPSA{ident} for <you@example\.com>{tls}{date}"),
        ({"params": " SMTPUTF8"}, rf"from client\.example{by}UTF8SMTPSA{ident} for <you@example\.com>{tls}{date}"),
        ({"params": " SMTPUTF8", "rcpts": "jürgen@example.com"},
         rf"from client\.example{by}UTF8SMTPSA{ident} for <jürgen@example\.com>{tls}{date}"),
        ({"hello": "HELO client.example"}, rf"from client\.example{by}SMTP{ident} for <you@example\.com>{tls}{date}"),
        ({"rcpts": ["a@example.com", "b@example.com"]}, rf"from client\.example{by}ESMTPSA{ident}{tls}{date}"),
        ({"rcpts": '"a b"@example.com'}, rf"from client\.example{by}ESMTPSA{ident}{tls}{date}"),
        ({"hello": "EHLO [127.0.0.1]"}, rf"from \[127\.0\.0\.1\]{by}ESMTPSA{ident} for <you@example\.com>{tls}{date}"),
        ({"hello": "EHLO a=b/c"}, rf"from unknown{by}ESMTPSA{ident} for <you@example\.com>{tls}{date}"),
    ]
    for how, want in rows:
        got = received_of(s, **how)
        check(re.fullmatch(want, got), f"{how}: {got}", want)
    old = raw.client_context(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256")
    check(" tls TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;" in received_of(s, context=old),
          "the cipher's name in the registry of TLS")


def test_what_is_there_is_kept(lab, servers):
    given = ("Received: from a by b; Mon, 23 Nov 2026 00:00:00 +0000\r\nsubject:  two  blanks \r\n"
             "From: \"A. Person\" <a@shop.example>\r\nDate: Tue, 01 Jan 2030 00:00:00 +0000\r\n"
             "Message-Id: <mine@shop.example>\r\nX-Folded: one\r\n\ttwo\r\nTO: you@example.com")
    head, _, _ = finished(plain_server(servers), given)
    check(given.replace("\r\n", "\n") in head, "the fields as they came, in their order", head)
    equal(len(re.findall(r"(?i)^(date|message-id):", head, re.M)), 2, "none is added")


def test_body_is_untouched(lab, servers):
    body = "\r\n .\r\n..\r\n\ttabs \r\n" + "".join(chr(i) for i in range(1, 127)
                                                     if i not in (10, 13)) + "\r\n\r\n\r\nend\r\n"
    s = plain_server(servers)
    _, _, got = finished(s, "From: a@shop.example", body=body)
    equal(got, body.replace("\r\n", "\n"), "the body")


def test_eight_bit_body(lab, servers):
    s = plain_server(servers)
    body = bytes(range(128, 256)) + b"\r\n"
    tag = os.urandom(6).hex()
    with s.login() as c:
        r = c.message(s.sender, "you@example.com",
                      f"From: {s.sender}\r\nX-Tag: {tag}\r\n\r\n".encode() + body, " BODY=8BITMIME")
        reply(r, "250 2.0.0 *")
    check(bytes(range(128, 256)) in s.find_captured(tag), "the bytes")


def test_large_message(lab, servers):
    """30 MiB, the limit itself; through a file, since it is beyond body_memory."""
    s = plain_server(servers)
    line = b"x" * 998 + b"\r\n"
    head = f"From: {s.sender}\r\nSubject: the large one\r\n\r\n".encode()
    n = (31457280 - len(head)) // 1000
    data = head + line * n
    data += b"y" * (31457280 - len(data) - 2) + b"\r\n"
    equal(len(data), 31457280, "the size of the test's own message")
    with s.login(timeout=60) as c:
        reply(c.message(s.sender, "you@example.com", data), "250 2.0.0 *")
        reply(c.message(s.sender, "you@example.com", data + b"z\r\n"), "552 5.3.4 *")
    m = s.find_captured("the large one", 30)
    check(m.replace(b"\r\n", b"\n").endswith((line * 2)[-20:].replace(b"\r\n", b"\n")[:0]
                                             + data[-2000:].replace(b"\r\n", b"\n")), "its end")


# -- TLS ---------------------------------------------------------------------------------------


def test_tls_versions(lab, servers):
    s = plain_server(servers)
    for v, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        with s.raw(context=raw.client_context(v, v)) as c:
            equal(c.sock.version(), name, "version")
    old = raw.client_context(ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1,
                             "DEFAULT:@SECLEVEL=0")
    try:
        s.raw(context=old).close()
    except (ssl.SSLError, OSError):
        pass
    else:
        raise AssertionError("TLS 1.1 is taken")


def test_forward_secrecy_only(lab, servers):
    s = plain_server(servers)
    weak = raw.client_context(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2,
                              "AES256-GCM-SHA384:AES128-GCM-SHA256:AES128-SHA")
    try:
        s.raw(context=weak).close()
    except (ssl.SSLError, OSError):
        return
    raise AssertionError("a key exchange without forward secrecy is taken")


def test_tickets_are_bound_to_their_listener(lab, servers):
    s = plain_server(servers)
    context = raw.client_context(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)

    def connect(door, session):
        import socket
        k = socket.create_connection(("127.0.0.1", s.port(door)), timeout=10)
        if door != "tls":
            k.recv(4096)
            k.sendall(b"EHLO x\r\n")
            k.recv(4096)
            k.sendall(b"STARTTLS\r\n")
            k.recv(4096)
        t = context.wrap_socket(k, session=session)
        return t

    with connect("tls", None) as t:
        session = t.session
    with connect("tls", session) as t:
        check(t.session_reused, "the listener knows its own ticket")
    with connect("starttls", session) as t:
        check(not t.session_reused, "another listener's ticket is taken")


def test_end_of_tls_inside_data_is_no_message(lab, servers):
    """close_notify in the middle of data, then clear bytes: the session ends at once."""
    s = plain_server(servers)
    before = len(s.captured())
    with s.login() as c:
        c.cmd(f"MAIL FROM:<{s.sender}>")
        c.cmd("RCPT TO:<you@example.com>")
        c.cmd("DATA")
        c.send(f"From: {s.sender}\r\n\r\nhalf\r\n")
        try:
            under = c.sock.unwrap()
            under.sendall(b".\r\n")
            under.settimeout(5)
            while under.recv(4096):
                pass
        except (OSError, ssl.SSLError):
            pass
    time.sleep(0.5)
    equal(len(s.captured()), before, "messages")


# -- time and numbers --------------------------------------------------------------------------


def test_command_timeout(lab):
    s = lab.signet({"limits": {"time_command": "1s"}})
    with s.login() as c:
        at = time.monotonic()
        reply(c.reply(), "421 4.4.2 Timeout, closing connection")
        check(0.8 < time.monotonic() - at < 10, "after", time.monotonic() - at)
        check(c.closed(), "closed")


def test_login_timeout(lab):
    s = lab.signet({"limits": {"time_login": "1s"}})
    with s.raw("starttls") as c:
        reply(c.reply(), "421 4.4.2 Timeout, closing connection")
        check(c.closed(), "closed")


def test_silence_in_a_body(lab):
    s = lab.signet({"limits": {"time_body": "1s"}})
    with s.login() as c:
        c.cmd(f"MAIL FROM:<{s.sender}>")
        c.cmd("RCPT TO:<you@example.com>")
        reply(c.cmd("DATA"), "354 *")
        c.send(f"From: {s.sender}\r\n\r\nhal")
        reply(c.reply(), "421 4.4.2 Timeout, closing connection")
        check(c.closed(), "closed")
    check(not s.events("message_accepted"), "half a message is none")


def test_length_of_a_session(lab):
    """However busy it is; a transaction that is open then is not acknowledged."""
    s = lab.signet({"limits": {"time_session": "2s"}})
    began = time.monotonic()
    with s.login() as c:
        while True:
            r = c.cmd("NOOP")
            if r.code != 250:
                break
            check(time.monotonic() - began < 20, "it ends")
            time.sleep(0.05)
        reply(r, "421 4.4.2 Timeout, closing connection")
        check(time.monotonic() - began > 1.9, "not before its time")
        check(c.closed(), "closed")


def test_replies_not_taken_in_time(lab):
    s = lab.signet({"limits": {"commands": 0, "time_write": "1s"}})
    with s.login(rcvbuf=4096) as c:
        c.sock.settimeout(20)
        try:
            while True:
                c.sock.sendall(b"NOOP\r\n" * 4096)
        except (OSError, ssl.SSLError) as e:
            check(not isinstance(e, TimeoutError), "it is closed, not only left waiting", e)
    s.wait_event("connection_closed", count=1)


def test_every_limit_has_a_test(lab):
    """Each option of the section `limits` is set by some test, and each reply that its row names
    stands in docs/limits.md."""
    rows, on = {}, False
    for line in lab.signet(start=False, bare=True).run("config", "table").splitlines():
        if line.startswith("### "):
            on = line == "### limits"
        m = on and re.match(r"\| `(\w+)` \|.*\|([^|]*)\|$", line)
        if m:
            rows[m.group(1)] = m.group(2)
    check(len(rows) > 20, "the table", rows)
    texts = [open(f, encoding="utf-8").read() for pattern in ("scripts/*.smtp", "scenarios/*.py")
             for f in glob.glob(os.path.join(paths.TESTS, pattern))]
    with open(os.path.join(paths.ROOT, "docs/limits.md"), encoding="utf-8") as f:
        doc = f.read()
    for name, about in rows.items():
        check(any(re.search(rf'limits\.{name}\b|"{name}"', t) for t in texts),
              "no test sets this limit", name)
        for code in re.findall(r"\b([245]\d\d) (\d\.\d\.\d)\b", about):
            check(" ".join(code) in doc, "docs/limits.md does not name this reply", name, code)


def test_silent_tls_handshake(lab):
    s = lab.signet({"limits": {"time_tls": "1s"}})
    with raw.Raw(s.ports["tls"], greet=False) as c:
        check(c.closed(5), "closed without a word")


def test_drip_in_data(lab):
    """A byte now and then is not enough: a minimum rate over the whole body."""
    s = lab.signet({"limits": {"body_grace": "2s", "body_min_rate": "1K"}})
    with s.login() as c:
        c.cmd(f"MAIL FROM:<{s.sender}>")
        c.cmd("RCPT TO:<you@example.com>")
        c.cmd("DATA")
        c.sock.settimeout(0.2)
        end = time.monotonic() + 15
        while time.monotonic() < end:
            c.send("x")
            try:
                r = c.reply()
                reply(r, "421 4.4.2 Timeout, closing connection")
                return
            except (TimeoutError, ssl.SSLWantReadError):
                pass
    raise AssertionError("fifteen seconds of dripping and no end")


def test_connections_per_address(lab):
    s = lab.signet({"limits": {"connections_per_address": 3}})
    held = [s.raw("starttls") for _ in range(3)]
    with raw.Raw(s.port("starttls")) as c:
        reply(c.greeting, "421 4.7.0 *")
        check(c.closed(), "closed")
    held.pop().close()
    wait_for("room again", 5, lambda: raw.Raw(s.port("starttls")).greeting.code == 220)
    for c in held:
        c.close()


def test_connections_per_account(lab):
    s = lab.signet({"limits": {"connections_per_account": 2}})
    held = [s.login() for _ in range(2)]
    with s.raw() as c:
        c.ehlo()
        reply(c.auth(s.key), "454 4.7.0 Too many connections of this account")
        reply(c.reply(), "421 4.7.0 Closing connection")
    for c in held:
        c.close()


def test_replies_that_nobody_reads(lab):
    """The server stops reading when its replies are not taken; its memory does not grow."""
    s = lab.signet({"limits": {"commands": 0}})
    with s.login(rcvbuf=4096) as c:
        c.sock.settimeout(3)
        sent = 0
        try:
            while sent < 64 << 20:
                c.sock.sendall(b"NOOP\r\n" * 4096)
                sent += 6 * 4096
        except (OSError, ssl.SSLError):
            pass
        check(sent < 64 << 20, "the server takes 64 MiB of commands without giving one reply back")
        rss = int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{s.pid()}/status", encoding="utf-8")
                            .read()).group(1))
        check(rss < 100000, "resident KiB", rss)
    with s.login() as c:
        reply(c.cmd("NOOP"), "250 2.0.0 *")


def test_memory_in_all(lab):
    """Bodies beyond limits.memory go to files at once, and all arrive."""
    s = lab.signet({"limits": {"memory": "1M"}})
    cs = [s.login() for _ in range(8)]
    body = ("x" * 70 + "\r\n") * 6000
    for c in cs:
        c.cmd(f"MAIL FROM:<{s.sender}>")
        c.cmd("RCPT TO:<you@example.com>")
        reply(c.cmd("DATA"), "354 *")
    for c in cs:
        c.send(f"From: {s.sender}\r\n\r\n{body}")
    for c in cs:
        c.send(".\r\n")
        reply(c.reply(), "250 2.0.0 *")
        c.close()
    s.wait_captured(8)


def test_one_bad_client_harms_nobody(lab):
    s = lab.signet()
    with s.login() as good:
        for junk in (b"\x00" * 5000, b"\xff\xfe" * 4000, b"AUTH PLAIN " + b"A" * 20000,
                     b"\r\n" * 3000, b"EHLO " + b"(" * 500 + b"\r\n", b"BDAT 999999999999999999999\r\n"):
            for door in ("starttls", "tls"):
                try:
                    with s.raw(door) as c:
                        c.send(junk)
                        c.sock.settimeout(0.3)
                        c.sock.recv(4096)
                except (OSError, ssl.SSLError, raw.Closed):
                    pass
        for i in range(50):
            with s.raw("starttls") as c:
                c.send("EHLO half")
        reply(good.cmd("NOOP"), "250 2.0.0 *")
        reply(good.message(s.sender, "you@example.com", f"From: {s.sender}\r\n\r\nhi\r\n"), "250 *")


def test_messages_per_connection(lab):
    s = lab.signet({"limits": {"messages_per_connection": 2}})
    with s.login() as c:
        for _ in range(2):
            reply(c.message(s.sender, "you@example.com", f"From: {s.sender}\r\n\r\nhi\r\n"), "250 *")
        reply(c.cmd(f"MAIL FROM:<{s.sender}>"), "421 4.7.0 *")


def test_subdomains_only_when_asked_for(lab):
    s = lab.signet()
    s.ctl("account", "add", "wide")
    s.ctl("domain", "add", "wide.example", "--account", "wide", "--verified", "--subdomains")
    s.ctl("account", "add", "inside")
    s.ctl("domain", "add", "own.wide.example", "--account", "inside", "--verified")
    _, wide = s.new_key("wide")
    _, inside = s.new_key("inside")

    def send(key, address):
        with s.login(key=key) as c:
            return c.message(address, "you@example.com", f"From: {address}\r\n\r\nhi\r\n").code

    equal(send(wide, "a@wide.example"), 250, "the name")
    equal(send(wide, "a@mail.wide.example"), 250, "a name below")
    equal(send(wide, "a@deep.mail.wide.example"), 250, "and below that")
    equal(send(wide, "a@own.wide.example"), 550, "a name that another account has verified")
    equal(send(inside, "a@own.wide.example"), 250, "which may send")
    equal(send(inside, "a@wide.example"), 550, "but not as its parent")
    equal(send(s.key, "a@wide.example"), 550, "a stranger may not")


def test_international_domain(lab):
    """U-label and A-label are the same name."""
    s = lab.signet()
    s.ctl("domain", "add", "bücher.example", "--account", "shop", "--verified")
    with s.login() as c:
        reply(c.message("a@xn--bcher-kva.example", "you@example.com",
                        "From: a@xn--bcher-kva.example\r\n\r\nhi\r\n"), "250 *")
        reply(c.message("a@bücher.example", "you@example.com",
                        "From: a@bücher.example\r\n\r\nhi\r\n", " SMTPUTF8"), "250 *")


def test_a_refusal_outlives_its_message(lab, servers):
    """What is said of a message is read while the message is there: what was freed is filled with junk here."""
    del servers
    s = lab.signet(env={"MALLOC_PERTURB_": "165", "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"})
    with s.login() as c:
        for _ in range(3):
            r = c.message(s.sender, "you@example.com", "From: me@elsewhere.example\r\n\r\nhello\r\n")
            reply(r, "550 * The from address does not match a verified Sender Identity*")

"""A raw SMTP client: exact bytes out, exact replies in, and a transcript for the report."""
import base64
import re
import socket
import ssl
import time


class Closed(Exception):
    """The server closed the connection where a reply was expected."""


class Reply(str):
    """The text of one reply: its lines joined by \\n, without their CRLF."""

    @property
    def code(self):
        return int(self[:3])

    @property
    def lines(self):
        return self.split("\n")


def plain(user, password, authzid=""):
    return base64.b64encode(f"{authzid}\0{user}\0{password}".encode()).decode()


def b64(text):
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def client_context(minimum=None, maximum=None, ciphers=None):
    """Any certificate: whether a client verifies is not what is tested here."""
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname = False
    c.verify_mode = ssl.CERT_NONE
    if minimum:
        c.minimum_version = minimum
    if maximum:
        c.maximum_version = maximum
    if ciphers:
        c.set_ciphers(ciphers)
    return c


class Raw:
    def __init__(self, port, host="127.0.0.1", implicit=False, timeout=20, context=None,
                 greet=True, family=None, source=None, rcvbuf=None):
        self.transcript = []
        self.greeted = False
        self.buffer = b""
        self.context = context or client_context()
        family = family or (socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(timeout)
        if source:
            self.sock.bind((source, 0))
        self.sock.connect((host, port))
        if implicit:
            self.start_tls_now()
        self.greeting = self.reply() if greet else None

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.close()

    def close(self):
        self.sock.close()

    # -- bytes --

    def send(self, data):
        if isinstance(data, str):
            data = data.encode("utf-8", "surrogateescape")
        self.transcript.append(("C", data))
        self.sock.sendall(data)

    def line(self, text):
        self.send(text + "\r\n")

    def read_line(self):
        while b"\r\n" not in self.buffer:
            if b"\n" in self.buffer:
                raise AssertionError(f"the server sent a bare LF: {self.buffer!r}")
            try:
                more = self.sock.recv(65536)
            except (ConnectionResetError, BrokenPipeError, ssl.SSLError) as e:
                if isinstance(e, ssl.SSLWantReadError):
                    raise
                self.transcript.append(("!", repr(e).encode()))
                raise Closed(repr(e)) from e
            if not more:
                self.transcript.append(("!", b"closed"))
                raise Closed(f"closed; unread: {self.buffer!r}")
            self.buffer += more
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        self.transcript.append(("S", line))
        return line

    def reply(self):
        lines = []
        while True:
            raw = self.read_line()
            text = raw.decode("utf-8", "backslashreplace")
            if not re.fullmatch(r"[2-5][0-9][0-9][ -].*", text, re.S):
                raise AssertionError(f"not a reply line: {raw!r}")
            if lines and text[:3] != lines[0][:3]:
                raise AssertionError(f"the code changes inside one reply: {lines} {text}")
            if len(raw) > 510:
                raise AssertionError(f"reply line of {len(raw) + 2} octets (RFC 5321 4.5.3.1.5)")
            lines.append(text)
            if text[3] == " ":
                self.check_enhanced(lines)
                return Reply("\n".join(lines))

    def check_enhanced(self, lines):
        """RFC 2034: every line of every reply, but the greeting, those to EHLO and HELO (which begin
        with the server's name) and 3xx."""
        first, self.greeted = not self.greeted, True
        if first or lines[0][0] == "3" or re.fullmatch(r"250[ -][A-Za-z0-9.-]*[A-Za-z0-9-]", lines[0]):
            return
        for line in lines:
            if not re.match(rf"\d\d\d[ -]{line[0]}\.\d{{1,3}}\.\d{{1,3}}( |$)", line):
                raise AssertionError(f"no enhanced code of its class: {line!r}")

    def cmd(self, text):
        self.line(text)
        return self.reply()

    def expect(self, text, want):
        """Sends a line, wants exactly this reply ('*' at the end: anything may follow)."""
        got = self.cmd(text)
        check_reply(got, want, text)
        return got

    def closed(self, timeout=10):
        """True when the server closes without another byte."""
        self.sock.settimeout(timeout)
        try:
            more = self.sock.recv(4096)
        except (ConnectionResetError, BrokenPipeError):
            more = b""
        except ssl.SSLError:
            more = b""
        except (socket.timeout, TimeoutError):
            return False
        if more:
            self.transcript.append(("S", more))
        return not more and not self.buffer

    def quiet(self, seconds):
        """True when the server says nothing and stays for so long."""
        self.sock.settimeout(seconds)
        try:
            more = self.sock.recv(4096)
            self.buffer += more
            return False
        except (socket.timeout, TimeoutError):
            return not self.buffer

    # -- steps --

    def start_tls_now(self):
        self.sock = self.context.wrap_socket(self.sock, server_hostname="localhost")
        self.transcript.append(("!", f"TLS: {self.sock.version()}".encode()))

    def ehlo(self, name="client.example"):
        r = self.cmd(f"EHLO {name}")
        assert r.code == 250, r
        return r

    def starttls(self):
        r = self.cmd("STARTTLS")
        assert r.code == 220, r
        assert not self.buffer, f"bytes behind the reply to STARTTLS: {self.buffer!r}"
        self.start_tls_now()
        return r

    def auth(self, key, user="apikey"):
        return self.cmd("AUTH PLAIN " + plain(user, key))

    def message(self, sender, rcpts, data, params=""):
        """One transaction; returns the last reply, whichever it is."""
        r = self.cmd(f"MAIL FROM:<{sender}>{params}")
        if r.code != 250:
            return r
        for to in [rcpts] if isinstance(rcpts, str) else rcpts:
            r = self.cmd(f"RCPT TO:<{to}>")
            if r.code // 100 != 2:
                return r
        r = self.cmd("DATA")
        if r.code != 354:
            return r
        return self.data(data)

    def data(self, data):
        if isinstance(data, str):
            data = data.encode()
        data = re.sub(rb"(?m)^\.", b"..", data)
        if not data.endswith(b"\r\n"):
            data += b"\r\n"
        self.send(data + b".\r\n")
        return self.reply()

    def show(self):
        out = []
        for who, data in self.transcript[-80:]:
            text = repr(data)[2:-1]
            out.append(f"    {who}: {text[:300]}{'...' if len(text) > 300 else ''}")
        return "\n".join(out)


def matches(got, want):
    """want: exact, but '*' stands for any text within a line."""
    pattern = ".*".join(re.escape(p) for p in want.split("*"))
    return re.fullmatch(pattern, got) is not None


def check_reply(got, want, what=""):
    if not matches(got, want):
        raise AssertionError(f"after {what!r}\n      wanted {want!r}\n      got    {str(got)!r}")


def compose(sender, to, subject="a test", body="hello\r\n", extra="", message_id=None):
    """A small well-formed message as bytes with CRLF."""
    mid = f"Message-ID: <{message_id}>\r\n" if message_id else ""
    return (f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\n{mid}{extra}\r\n{body}").encode()


def wait_for(what, seconds, probe, step=0.02):
    """Polls until probe() gives something true; that is the only waiting in the scenarios."""
    end = time.monotonic() + seconds
    while True:
        got = probe()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(step)

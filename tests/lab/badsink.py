"""Next hops that misbehave on purpose: one behaviour per address.

A Sink is polite (EHLO, STARTTLS, MAIL, RCPT, DATA, QUIT) but for what its behaviour says: a dict from
a place in the conversation to an action. Places: connect (before the banner), banner, ehlo, starttls,
tls (in place of the handshake), mail, rcpt, data (the 354), body (in place of reading it), dot, quit.
An action is a reply (text, bytes, or a list used up one by one, then the polite reply) or a function
of the Talk that sends what it wants; what it returns, when it is text or bytes, is sent as a reply."""
import os
import re
import socket
import ssl
import struct
import tempfile
import threading
import time
import warnings

from .peers import make_cert
from .raw import wait_for


class Taken:
    """A message that was answered with 250."""

    def __init__(self, talk):
        self.sender, self.rcpts, self.data = talk.sender, list(talk.rcpts), talk.data
        self.mail, self.tls, self.helo, self.session = talk.mail, talk.tls, talk.helo, talk.number
        self.at = time.monotonic()

    @property
    def head(self):
        return self.data.partition(b"\r\n\r\n")[0]

    @property
    def body(self):
        return self.data.partition(b"\r\n\r\n")[2]


class Talk:
    slow = False                # the next reply begins byte by byte

    def __init__(self, sink, sock, number):
        self.sink, self.sock, self.number = sink, sock, number
        self.buffer, self.tls, self.helo = b"", None, None
        self.sender, self.mail, self.rcpts, self.data = None, "", [], b""

    # -- bytes --

    def send(self, data):
        data = data if isinstance(data, bytes) else data.encode() + b"\r\n"
        head, self.slow = min(len(data), 20) if self.slow else 0, False
        for i in range(head):
            self.sock.sendall(data[i:i + 1])
        self.sock.sendall(data[head:])

    def more(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        self.buffer += data

    def line(self):
        while b"\r\n" not in self.buffer:
            self.more()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line.decode("utf-8", "backslashreplace")

    def read_data(self):
        while not (self.buffer.startswith(b".\r\n") or b"\r\n.\r\n" in self.buffer):
            self.more()
        if self.buffer.startswith(b".\r\n"):
            data, self.buffer = b"", self.buffer[3:]
        else:
            data, _, self.buffer = self.buffer.partition(b"\r\n.\r\n")
            data += b"\r\n"
        self.data = re.sub(rb"(?m)^\.", b"", data)

    # -- what a behaviour may do --

    def hang(self):
        """Reads whatever comes and never says a word."""
        while True:
            self.more()
            self.buffer = b""

    def deaf(self):
        """Reads nothing more."""
        self.sink.ended.wait(600)
        raise EOFError

    def close(self):
        raise EOFError

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise EOFError

    # -- the conversation --

    def at(self, place, polite):
        """Does what stands at this place; True when a client must take it for a yes."""
        action = self.sink.behaviour.get(place, polite)
        if isinstance(action, list):
            action = action.pop(0) if action else polite
        if callable(action):
            action = action(self)
        if action is None:
            return False
        self.send(action)
        said = action if isinstance(action, bytes) else action.encode()
        return said[:1] == polite.encode()[:1]

    def run(self):
        self.at("connect", lambda t: None)
        if self.sink.implicit:
            self.handshake()
        self.at("banner", "220 sink.example ESMTP")
        while self.command(self.line()):
            pass

    def command(self, line):
        verb = line.split(" ")[0].upper().partition(":")[0]
        if verb in ("EHLO", "HELO"):
            self.helo = line[5:]
            self.at("ehlo", self.capabilities())
        elif verb == "STARTTLS":
            if self.at("starttls", "220 2.0.0 go ahead"):
                self.handshake()
        elif verb == "MAIL":
            self.mail, self.rcpts = line, []
            self.sender = re.search(r"<(.*?)>", line).group(1)
            if not self.at("mail", "250 2.1.0 ok"):
                self.sender = None
        elif verb == "RCPT":
            to = re.search(r"<(.*?)>", line).group(1)
            self.sink.asked.append(to)
            place = f"rcpt {to.partition('@')[0]}"
            if self.sender is None:
                self.send("503 5.5.1 MAIL first")
            elif self.at(place if place in self.sink.behaviour else "rcpt", "250 2.1.5 ok"):
                self.rcpts.append(to)
        elif verb == "DATA":
            self.transaction()
        elif verb == "QUIT":
            self.at("quit", "221 2.0.0 bye")
            return False
        else:
            self.send("250 2.0.0 ok")
        return True

    def capabilities(self):
        words = ["sink.example", *self.sink.extensions]
        if self.sink.context and not self.tls:
            words.append("STARTTLS")
        return "\r\n".join(f"250{'-' if i < len(words) - 1 else ' '}{w}" for i, w in enumerate(words))

    def handshake(self):
        broken = self.sink.behaviour.get("tls")
        if broken:
            broken(self)
        self.buffer = b""
        self.sock = self.sink.context.wrap_socket(self.sock, server_side=True)
        self.tls = self.sock.version()
        self.sink.handshakes += 1

    def transaction(self):
        if not self.rcpts:
            self.send("554 5.5.1 no recipients")
            return
        if not self.at("data", "354 go on"):
            return
        self.sink.behaviour.get("body", Talk.read_data)(self)
        taken = Taken(self)
        if self.at("dot", "250 2.0.0 taken"):
            self.sink.messages.append(taken)
        self.sink.dots += 1
        self.rcpts = []


class Sink:
    """One address. tls: a certificate made for it, STARTTLS offered. Counted: sessions, most open
    at once, handshakes, RCPTs asked, dots read (messages the end of which was seen)."""

    context = None

    def __init__(self, host, port, behaviour=None, tls=True, implicit=False, context=None,
                 extensions=("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 40000000"), family=None):
        self.host, self.port, self.behaviour = host, port, dict(behaviour or {})
        self.implicit, self.extensions = implicit, extensions
        self.messages, self.asked, self.errors = [], [], []
        self.sessions = self.most = self.handshakes = self.dots = 0
        self.open, self.ended = set(), threading.Event()
        self.lock = threading.Lock()
        if tls or implicit:
            self.context = context or default_context()
        self.sock = socket.socket(family or (socket.AF_INET6 if ":" in host else socket.AF_INET))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind((host, port))
        self.sock.listen(64)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while not self.ended.is_set():
            try:
                c, _ = self.sock.accept()
            except OSError:
                return
            c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.one, args=(c,), daemon=True).start()

    def one(self, c):
        with self.lock:
            self.sessions += 1
            talk = Talk(self, c, self.sessions)
            self.open.add(talk)
            self.most = max(self.most, len(self.open))
        try:
            talk.run()
        except (OSError, EOFError):
            pass
        except Exception as e:  # pylint: disable=broad-except  # shown by the test
            self.errors.append(repr(e))
        finally:
            with self.lock:
                self.open.discard(talk)
            try:
                talk.sock.close()
            finally:
                c.close()

    def find(self, text, seconds=20):
        text = text.encode() if isinstance(text, str) else text
        return wait_for(f"{text!r} at {self.host}", seconds,
                        lambda: next((m for m in list(self.messages) if text in m.data), None))

    def wait(self, n, seconds=20):
        wait_for(f"{n} messages at {self.host} (has {len(self.messages)})", seconds,
                 lambda: len(self.messages) >= n)
        return self.messages

    def stop(self):
        self.ended.set()
        for s in [self.sock, *(t.sock for t in list(self.open))]:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.sock.close()


# -- certificates ---------------------------------------------------------------------------------


contexts = {}


def default_context():
    if "default" not in contexts:
        contexts["default"] = server_context()
    return contexts["default"]


def server_context(name="sink.example", ciphers=None, **versions):
    with tempfile.TemporaryDirectory() as d, warnings.catch_warnings():
        warnings.simplefilter("ignore")         # of versions that are deprecated
        cert, key = make_cert(d, name, stem="sink")
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        c.load_cert_chain(cert, key)
        if ciphers:
            c.set_ciphers(ciphers)
        for k, v in versions.items():
            setattr(c, k, v)
    return c


# -- behaviours -----------------------------------------------------------------------------------


def endless(talk):
    """Continuation lines until nobody reads them."""
    while True:
        talk.sock.sendall(b"250-and one more\r\n" * 1000)


def million(talk):
    """A reply that does end, after 10^6 lines."""
    for _ in range(1000):
        talk.sock.sendall(b"250-and one more\r\n" * 1000)
    return "250 that was it"


def endless_line(talk):
    while True:
        talk.sock.sendall(b"250 " + b"x" * 65536)


def drip(talk):
    """A byte now and then, which is no reply."""
    talk.sock.sendall(b"250-")
    while not talk.sink.ended.wait(0.2):
        talk.sock.sendall(b"x")
    raise EOFError


def alert(code):
    """A TLS alert (fatal) in place of a ServerHello."""
    def send(talk):
        talk.sock.recv(65536)
        talk.sock.sendall(bytes((21, 3, 3, 0, 2, 2, code)))
        raise EOFError
    return send


def tls_garbage(talk):
    talk.sock.recv(65536)
    talk.sock.sendall(os.urandom(20000))
    raise EOFError


def tls_old(talk):
    """A ServerHello of SSL 3.0, which nobody speaks."""
    talk.sock.recv(65536)
    body = b"\x03\x00" + os.urandom(32) + b"\x00\x00\x2f\x00"
    hello = b"\x02" + len(body).to_bytes(3, "big") + body
    talk.sock.sendall(b"\x16\x03\x00" + len(hello).to_bytes(2, "big") + hello)
    talk.hang()


def tls_close(talk):
    talk.sock.recv(65536)
    raise EOFError


def tls_hang(talk):
    talk.hang()


def tls_half(talk):
    """The handshake's first record, cut in the middle, then nothing."""
    talk.sock.recv(65536)
    talk.sock.sendall(b"\x16\x03\x03\x40\x00" + b"\x02\x00\x00\x4d\x03\x03")
    talk.hang()

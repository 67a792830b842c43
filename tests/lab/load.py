"""A load of small messages: processes with reused connections and pipelining. Every message has a
Message-ID of its own; each acknowledgement is one line on a pipe, written after the 250 was read."""
import os
import selectors
import signal
import socket
import time

from . import paths, raw

BODY = b"x" * 70 + b"\r\n"


class Load:
    """n processes. acked: the ids for which a 250 was read; sent: those whose last byte was given
    to the kernel (they may have been accepted without our seeing the reply)."""

    def __init__(self, server, n=4, size=2000, run="r", rcpt="you@example.com", door="tls"):
        self.acked, self.sent, self.errors = [], set(), []
        self.children, self.buffers = {}, {}
        self.selector = selectors.DefaultSelector()
        for i in range(n):
            r, w = os.pipe()
            ask = paths.die_with()
            pid = os.fork()
            if pid == 0:
                code = 0
                try:
                    ask()
                    os.close(r)
                    signal.signal(signal.SIGTERM, signal.SIG_DFL)
                    sender(server, w, f"{run}-{i}", size, rcpt, door)
                except BaseException as e:  # pylint: disable=broad-except  # told to the parent
                    try:
                        os.write(w, f"E {type(e).__name__}: {e}\n".encode())
                    except OSError:
                        pass
                    code = 1
                finally:
                    os._exit(code)
            os.close(w)
            os.set_blocking(r, False)
            self.children[pid] = r
            self.buffers[r] = b""
            self.selector.register(r, selectors.EVENT_READ)

    def pump(self, seconds):
        """Takes in what the processes say; returns False when all have ended."""
        for key, _ in self.selector.select(seconds):
            r = key.fileobj
            try:
                more = os.read(r, 65536)
            except BlockingIOError:
                continue
            if not more:
                self.selector.unregister(r)
                continue
            *lines, self.buffers[r] = (self.buffers[r] + more).split(b"\n")
            for line in lines:
                kind, _, text = line.decode().partition(" ")
                if kind == "A":
                    self.acked.append(text)
                elif kind == "S":
                    self.sent.add(text)
                else:
                    self.errors.append(text)
        return bool(self.selector.get_map())

    def until(self, count, seconds):
        end = time.monotonic() + seconds
        while len(self.acked) < count:
            alive = self.pump(0.05)
            if not alive or time.monotonic() > end:
                raise AssertionError(f"only {len(self.acked)} of {count} acknowledgements in "
                                     f"{seconds} s; errors: {self.errors[:5]}")

    def finish(self, seconds=20):
        """After the server is gone: reads what was acknowledged before, waits for the processes."""
        end = time.monotonic() + seconds
        while self.pump(0.2) and time.monotonic() < end:
            pass
        self.stop()

    def stop(self):
        for pid in list(self.children):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            os.waitpid(pid, 0)
            os.close(self.children.pop(pid))


def sender(server, out, run, size, rcpt, door):
    context = raw.client_context()
    body = BODY * max(1, (size - 300) // len(BODY))
    sock = socket.create_connection(("127.0.0.1", server.port(door)), timeout=20)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if door == "tls":
        sock = context.wrap_socket(sock)
    buf = b""

    def line():
        nonlocal buf
        while b"\r\n" not in buf:
            more = sock.recv(65536)
            if not more:
                raise EOFError("closed")
            buf += more
        one, buf = buf.split(b"\r\n", 1)
        return one

    def reply(want):
        while (got := line())[3:4] == b"-":
            pass
        if not got.startswith(want):
            raise AssertionError(f"wanted {want!r}, got {got!r}")

    reply(b"220")
    sock.sendall(b"EHLO load.example\r\n")
    reply(b"250")
    sock.sendall(b"AUTH PLAIN " + raw.plain("apikey", server.key).encode() + b"\r\n")
    reply(b"235")
    envelope = (f"MAIL FROM:<{server.sender}>\r\nRCPT TO:<{rcpt}>\r\nDATA\r\n").encode()
    n = 0
    while True:
        n += 1
        mid = f"{run}-{n}@load.example"
        sock.sendall(envelope)
        reply(b"250")
        reply(b"250")
        reply(b"354")
        head = (f"From: {server.sender}\r\nTo: {rcpt}\r\nSubject: load\r\n"
                f"Message-ID: <{mid}>\r\n\r\n").encode()
        os.write(out, f"S {mid}\n".encode())
        sock.sendall(head + body + b".\r\n")
        reply(b"250")
        os.write(out, f"A {mid}\n".encode())



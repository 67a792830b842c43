"""A next hop in a process of its own: takes everything, writes a line for each message it answered
with 250 into a file: when, by which name the sender said EHLO, tag, digest of the body,
recipients."""
import asyncio
import hashlib
import os
import re
import signal
import time

from lab import paths


class Talk(asyncio.Protocol):
    def __init__(self, out):
        self.out, self.buffer, self.data, self.to, self.who = out, b"", None, [], "-"

    def connection_made(self, transport):
        self.transport = transport
        self.say("220 sink.example ESMTP")

    def say(self, text):
        self.transport.write(text.encode() + b"\r\n")

    def data_received(self, data):
        self.buffer += data
        while True:
            if self.data is not None:
                end = self.buffer.find(b"\r\n.\r\n")
                if end < 0:
                    return
                self.take(self.buffer[:end + 2])
                self.buffer, self.data = self.buffer[end + 5:], None
                continue
            line, sep, rest = self.buffer.partition(b"\r\n")
            if not sep:
                return
            self.buffer = rest
            self.command(line.decode("utf-8", "replace"))

    def command(self, line):
        word = line[:4].upper()
        if word == "EHLO":
            self.who = line[5:].strip()
            self.say("250-sink.example\r\n250-8BITMIME\r\n250 PIPELINING")
        elif word == "MAIL":
            self.to = []
            self.say("250 2.1.0 Ok")
        elif word == "RCPT":
            self.to.append(line[line.index("<") + 1:line.index(">")])
            self.say("250 2.1.5 Ok")
        elif word == "DATA":
            self.data = b""
            self.say("354 go on")
        elif word == "QUIT":
            self.say("221 bye")
            self.transport.close()
        else:
            self.say("250 Ok")

    def take(self, data):
        data = re.sub(rb"(?m)^\.\.", b".", data)
        head, _, body = data.partition(b"\r\n\r\n")
        m = re.search(rb"(?m)^Subject: tag-(\S+)-\r?$", head)
        # Written down before it is answered: what the sender heard of is here.
        self.out.write(f"{time.monotonic():.6f} {self.who} {m.group(1).decode() if m else '-'} "
                       f"{hashlib.sha256(body).hexdigest()} {' '.join(self.to)}\n")
        self.out.flush()
        self.say("250 2.0.0 Ok")


class Sink:
    """hosts: where it listens, at one port (0: any)."""

    def __init__(self, dir, hosts=("127.0.0.1",), port=0):
        self.hosts, self.wanted = hosts, port
        self.path = os.path.join(dir, "sink")
        r, w = os.pipe()
        ask = paths.die_with()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                ask()
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                asyncio.run(self.serve(w))
            finally:
                os._exit(1)
        os.close(w)
        self.port = int(os.read(r, 16))
        os.close(r)

    async def serve(self, w):
        with open(self.path, "w", encoding="utf-8") as out:
            s = await asyncio.get_running_loop().create_server(lambda: Talk(out), list(self.hosts),
                                                               self.wanted)
            os.write(w, str(s.sockets[0].getsockname()[1]).encode())
            await s.serve_forever()

    def taken(self):
        """[(when, who, tag, digest, recipients)]"""
        with open(self.path, encoding="utf-8") as f:
            lines = [x.split() for x in f if x.endswith("\n")]
        return [(float(x[0]), x[1], x[2], x[3], x[4:]) for x in lines]

    def stop(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0

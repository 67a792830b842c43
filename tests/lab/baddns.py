"""A name server that lies, in packets of its own making, and asks an honest one about the rest.

BadDns(address, port, honest) listens on UDP and TCP. behaviour: name (lower case, no final dot) or
(name, type), or "*." and the name above -> function of a Question that returns the packet to send, a list of them, or None for
silence. What has none is handed to the honest server as it came."""
import random
import select
import socket
import struct
import threading

A, NS, CNAME, SOA, MX, AAAA, OPT = 1, 2, 5, 6, 15, 28, 41
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)


def name(text):
    """As it stands in a packet; labels may hold anything."""
    labels = [x for x in (text.split(b".") if isinstance(text, bytes) else text.encode().split(b".")) if x]
    return b"".join(bytes((len(x),)) + x for x in labels) + b"\0"


def record(owner, type_, rdata, ttl=5, length=None):
    return (owner if isinstance(owner, bytes) else name(owner)) + struct.pack(
        ">HHIH", type_, 1, ttl, len(rdata) if length is None else length) + rdata


def mx(owner, preference, host):
    return record(owner, MX, struct.pack(">H", preference) + (host if isinstance(host, bytes) else name(host)))


def a(owner, address):
    return record(owner, A, socket.inet_aton(address))


def cname(owner, target):
    return record(owner, CNAME, name(target))


class Question:
    def __init__(self, packet, tcp):
        self.packet, self.tcp = packet, tcp
        self.id, self.flags = struct.unpack(">HH", packet[:4])
        labels, i = [], 12
        while packet[i]:
            labels.append(packet[i + 1:i + 1 + packet[i]])
            i += 1 + packet[i]
        self.wire = packet[12:i + 1]
        self.name = b".".join(labels).decode("latin-1").lower()
        self.type = struct.unpack(">H", packet[i + 1:i + 3])[0]
        self.question = packet[12:i + 5]

    def reply(self, answers=(), rcode=NOERROR, authority=(), id=None, question=None, tc=False,
              counts=None):
        """answers, authority: records. counts: what the header claims instead."""
        flags = 0x8480 | rcode | (0x0200 if tc else 0)       # an answer, authoritative, RA
        n = counts or (1, len(answers), len(authority), 0)
        return (struct.pack(">HH4H", self.id if id is None else id, flags, *n)
                + (self.question if question is None else question)
                + b"".join(answers) + b"".join(authority))

    def fits(self, packet):
        """Over UDP, what is too long is cut to its question, and said to be."""
        return packet if self.tcp or len(packet) <= 1232 else self.reply(tc=True)


class BadDns:
    def __init__(self, address, port, honest):
        self.address, self.port, self.honest = address, port, honest
        self.behaviour, self.asked, self.errors = {}, [], []
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.tcp = socket.socket()
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for s in (self.udp, self.tcp):
            s.bind((address, port))
        self.tcp.listen(64)
        self.ended, self.open = threading.Event(), set()
        for fn in (self.run_udp, self.run_tcp):
            threading.Thread(target=fn, daemon=True).start()

    def decide(self, packet, tcp):
        """Packets to send; None: the honest server's."""
        try:
            q = Question(packet, tcp)
        except (IndexError, struct.error):
            return []
        self.asked.append((q.name, q.type))
        fn = (self.behaviour.get((q.name, q.type)) or self.behaviour.get(q.name)
              or self.behaviour.get("*." + q.name.partition(".")[2]))
        if not fn:
            return None
        try:
            out = fn(q)
        except Exception as e:  # pylint: disable=broad-except  # shown by the test
            self.errors.append(f"{q.name}: {e!r}")
            return []
        return [out] if isinstance(out, bytes) else out or []

    def ask_honest(self, packet):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(3)
            s.connect(self.honest)
            s.send(packet)
            return s.recv(65535)

    def run_udp(self):
        while True:
            try:
                packet, client = self.udp.recvfrom(65535)
            except OSError:
                return
            if self.ended.is_set():
                return
            # A thread for each: a slow answer keeps nobody waiting.
            threading.Thread(target=self.one_udp, args=(packet, client), daemon=True).start()

    def one_udp(self, packet, client):
        out = self.decide(packet, False)
        try:
            for p in [self.ask_honest(packet)] if out is None else out:
                self.udp.sendto(p, client)
        except OSError:
            pass

    def run_tcp(self):
        while True:
            try:
                c, _ = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self.one_tcp, args=(c,), daemon=True).start()

    def exactly(self, c, n):
        data = b""
        while len(data) < n:
            more = c.recv(n - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def one_tcp(self, c):
        self.open.add(c)
        try:
            with c:
                while True:
                    packet = self.exactly(c, struct.unpack(">H", self.exactly(c, 2))[0])
                    out = self.decide(packet, True)
                    if out is None:
                        with socket.create_connection(self.honest, 3) as s:
                            s.sendall(struct.pack(">H", len(packet)) + packet)
                            out = [self.exactly(s, struct.unpack(">H", self.exactly(s, 2))[0])]
                    for p in out:
                        c.sendall(struct.pack(">H", len(p)) + p)
                    if not out:
                        # Silence: until it goes away.
                        select.select([c], [], [], 60)
        except (OSError, EOFError, struct.error):
            pass
        finally:
            self.open.discard(c)

    def stop(self):
        self.ended.set()
        for s in (self.tcp, self.udp, *self.open):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.sendto(b"", (self.address, self.port))    # wakes the one that waits
        except OSError:
            pass
        self.tcp.close()
        self.udp.close()


# -- lies -----------------------------------------------------------------------------------------


def silence(q):
    return None


def rcode(code):
    return lambda q: q.reply(rcode=code)


def wrong_id(q):
    return q.reply([mx(q.wire, 10, "mx.evil.example")], id=(q.id + 1) & 0xffff)


def wrong_question(q):
    other = name("elsewhere.example") + struct.pack(">HH", q.type, 1)
    return q.reply([mx(q.wire, 10, "mx.evil.example")], question=other)


def other_name(q):
    """An answer about somebody else, under the right question."""
    return q.reply([mx("elsewhere.example", 10, "mx.evil.example")])


def no_question(q):
    return q.reply([mx(q.wire, 10, "mx.evil.example")], question=b"", counts=(0, 1, 0, 0))


def query_back(q):
    """Its own question, which is no answer."""
    return q.packet


def cut(q):
    whole = q.reply([mx(q.wire, 10, "mx.evil.example")])
    return whole[:-5]


def only_header(q):
    return q.reply(question=b"", counts=(1, 1, 0, 0))


def many_counts(q):
    return q.reply([mx(q.wire, 10, "mx.evil.example")], counts=(1, 65535, 65535, 65535))


def noise(q):
    return [random.randbytes(n) for n in (1, 11, 12, 40, 512, 4096)]


def noise_with_id(q):
    return [q.packet[:2] + b"\x84\x80" + random.randbytes(n) for n in (8, 60, 600)]


def truncated_always(q):
    """Cut over UDP, silent over TCP."""
    return None if q.tcp else q.reply(tc=True)


def mx_rdata(data, length=None):
    return lambda q: q.reply([record(q.wire, MX, data, length=length)])


def pointer_loop(q):
    at = 12 + len(q.question) + len(q.wire) + 10 + 2        # where the host's name will stand
    return q.reply([record(q.wire, MX, b"\0\x0a" + struct.pack(">H", 0xc000 | at))])


def referral(q):
    """Go and ask there; there is here, and it sends on for ever."""
    labels = q.name.split(".")
    return q.reply(authority=[record(".".join(labels[1:]), NS, name(f"ns{random.randrange(9999)}.{q.name}"))])

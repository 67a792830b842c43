"""The PROXY protocol: listed peers must send it, the client's address is then the one it names, and
nobody else's header is read. By hand on sockets, and with HAProxy in front."""
import os
import re
import signal
import socket
import ssl
import struct
import subprocess

from lab import paths, raw
from lab.lab import check, equal, reply, Skip
from lab.peers import free_ports
from lab.raw import wait_for
from lab.tree import Tree, Unavailable

SIG = b"\r\n\r\n\0\r\nQUIT\n"
# Listed: loopback's .2 to .3. Everybody else on loopback is not.
LISTED, OTHER = "127.0.0.2", "127.0.0.1"
PROXY = {"proxy": ["127.0.0.2/31", "192.0.2.0/24"]}


def listeners(**more):
    """Options: both kinds of listener expect headers."""
    return {("listener", "submission"): dict(PROXY), ("listener", "tls"): dict(PROXY), **more}


def v1(client, port=40000, to="127.0.0.1", family="TCP4"):
    return f"PROXY {family} {client} {to} {port} 587\r\n".encode()


def v2(client=None, port=40000, command=1, tlv=b"", family=0x11):
    if client is None:
        body = b""
        family = 0
    elif ":" in client:
        family = 0x21
        body = (socket.inet_pton(socket.AF_INET6, client) + socket.inet_pton(socket.AF_INET6, "::1")
                + struct.pack("!HH", port, 587))
    else:
        body = socket.inet_aton(client) + socket.inet_aton("127.0.0.1") + struct.pack("!HH", port, 587)
    body += tlv
    return SIG + bytes([0x20 | command, family]) + struct.pack("!H", len(body)) + body


class Proxied(raw.Raw):
    """A connection from a listed address that begins with these bytes."""

    def __init__(self, server, door, header, source=LISTED, pieces=False, **more):
        self.header, self.pieces, self.tls = header, pieces, door == "tls"
        super().__init__(server.port(door), source=source, greet=False, **more)
        if pieces:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i in range(len(header)):
                self.sock.sendall(header[i:i + 1])
        elif not self.tls:
            # With the client's first command in the same segment.
            self.sock.sendall(header)
        else:
            self.sock.sendall(header)
        if self.tls:
            self.start_tls_now()
        self.greeting = self.reply()

    def into(self, server):
        self.ehlo()
        if not self.tls:
            self.starttls()
            self.ehlo()
        reply(self.auth(server.key), "235 2.7.0 *")
        return self


HEADERS = (("v1 TCP4", v1("203.0.113.7"), "203.0.113.7"),
           ("v1 TCP6", v1("2001:db8::7", to="::1", family="TCP6"), "2001:db8::7"),
           ("v2 TCP4", v2("203.0.113.8"), "203.0.113.8"),
           ("v2 TCP6", v2("2001:db8::8"), "2001:db8::8"),
           ("v2 with extensions", v2("203.0.113.9", tlv=b"\x04\0\x03abc\x05\0\x02id"), "203.0.113.9"))


def test_the_named_address_is_the_clients(lab):
    """In the log, in Received, on both kinds of listener; the balancer is `via`."""
    s = lab.signet(listeners())
    for i, (what, header, client) in enumerate(HEADERS):
        for door in ("starttls", "tls"):
            with Proxied(s, door, header, pieces=i == 0).into(s) as c:
                reply(c.message(s.sender, "you@example.com",
                                f"From: {s.sender}\r\nSubject: {what} {door}\r\n\r\nhi\r\n"), "250 *")
                reply(c.cmd("QUIT"), "221 *")
            m = s.find_captured(f"Subject: {what} {door}\r\n")
            tag = f"IPv6:{client}" if ":" in client else client
            check(f"[{tag}]".encode() in m.split(b"From:")[0], f"{what}: Received names it", m)
        for event in ("connection", "authentication", "connection_closed"):
            e = s.wait_event(event, client=client, count=2)
            equal({x.get("via") for x in e}, {LISTED}, f"{what}: {event}")
        s.wait_event("message_accepted", client=client, count=2)


def test_the_balancer_itself(lab):
    """LOCAL (a health check) and UNKNOWN: its own address counts, nothing is `via`."""
    s = lab.signet(listeners())
    for header in (v2(command=0), v2("203.0.113.1", command=0), v2(), b"PROXY UNKNOWN\r\n",
                   b"PROXY UNKNOWN 1.2.3.4 5.6.7.8 1 2\r\n"):
        with Proxied(s, "starttls", header) as c:
            reply(c.cmd("QUIT"), "221 *")
    for e in s.wait_event("connection", count=5):
        equal((e["client"], "via" in e), (LISTED, False), str(e))


def test_guesses_do_not_ban_the_balancer(lab):
    """What it sends in its own name is not counted; whom it names is."""
    s = lab.signet({**listeners(), "guard": {"allow": [], "delay": "0s", "ban_after": 3}})

    def guess(header):
        with Proxied(s, "tls", header) as c:
            c.ehlo()
            reply(c.auth(f"wrong-{os.urandom(8).hex()}"), "535 *")

    for _ in range(6):
        guess(b"PROXY UNKNOWN\r\n")
    for _ in range(3):
        guess(v2("203.0.113.77"))
    s.wait_event("banned", client="203.0.113.77")
    equal(s.events("banned", client=LISTED), [])
    for header in (b"PROXY UNKNOWN\r\n", v2("203.0.113.78")):
        with Proxied(s, "tls", header).into(s):
            pass


BAD = (b"EHLO client.example\r\n",                         # demanded, and not sent
       b"PROXY TCP4 203.0.113.66 127.0.0.1 1 70000\r\n",
       b"PROXY TCP4 203.0.113.66\r\n",
       b"PROXY TCP4 203.0.113.66 127.0.0.1 1 2\n",
       b"PROXY UNKNOWN " + b"x" * 200,
       b"\x16\x03\x01\x00\xc4\x01\x00\x00\xc0\x03\x03" + b"x" * 40,   # a ClientHello
       SIG + b"\x31\x11\0\x0c" + b"x" * 12,
       SIG + b"\x21\x11\xff\xff" + b"x" * 100,
       v2("203.0.113.66", tlv=b"\x03\0\x04\0\0\0\1"),
       v2("203.0.113.66")[:20])                            # cut


def test_bad_headers(lab):
    """The connection ends without a word; the address it claims is nowhere in the log."""
    s = lab.signet(listeners())
    for door in ("starttls", "tls"):
        for header in BAD:
            sock = socket.create_connection(("127.0.0.1", s.port(door)), timeout=15,
                                            source_address=(LISTED, 0))
            with sock:
                sock.sendall(header)
                if header is BAD[-1]:
                    sock.shutdown(socket.SHUT_WR)
                try:
                    equal(sock.recv(100), b"", f"{header!r} at {door}")
                except ConnectionResetError:
                    pass
    for e in s.wait_event("connection_refused", count=2 * len(BAD)):
        equal((e["client"], e["reason"]), (LISTED, "proxy_header"), str(e))
        check(e["detail"].startswith("PROXY header: "), "why", e)
    check("203.0.113.66" not in s.log_text(), "a claimed address is in the log")
    check(not s.events("connection"), "none of them is a connection")


def test_a_header_that_does_not_come(lab):
    s = lab.signet(listeners(limits={"time_proxy": "1s"}))
    held = []
    for door in ("starttls", "tls"):
        for part in (b"", b"PROXY TCP4 203.0.113.66", SIG):
            held.append(socket.create_connection(("127.0.0.1", s.port(door)), timeout=15,
                                                 source_address=(LISTED, 0)))
            held[-1].sendall(part)
    for sock in held:
        equal(sock.recv(100), b"", "closed, not greeted")
        sock.close()
    e = s.wait_event("connection_refused", count=6)
    equal({x["detail"] for x in e}, {"PROXY header: it did not come in time"}, str(e))


def test_who_is_not_listed_is_not_heard(lab):
    """A header is a wrong command there, or no TLS: with its own address in the log."""
    s = lab.signet(listeners())
    with raw.Raw(s.port("starttls"), source=OTHER) as c:
        reply(c.cmd("PROXY TCP4 203.0.113.66 127.0.0.1 1 587"), "500 5.5.2 *")
        c.ehlo()
    with raw.Raw(s.port("starttls"), source=OTHER) as c:
        c.send(v2("203.0.113.66"))
        reply(c.reply(), "500 5.5.2 *")
    for header in (v1("203.0.113.66"), v2("203.0.113.66")):
        with socket.create_connection(("127.0.0.1", s.port("tls")), timeout=15) as sock:
            sock.sendall(header)
            try:
                check(b"220" not in sock.recv(100), "greeted behind a header nobody asked for")
            except ConnectionResetError:
                pass
    s.wait_event("tls_failed", count=2, client=OTHER)
    with s.login("tls") as c:                    # without a header, as if there were none
        c.cmd("QUIT")
    equal({e["client"] for e in s.events("connection")}, {OTHER}, "clients")
    check("203.0.113.66" not in s.log_text(), "a claimed address is in the log")


def test_limits_are_the_clients(lab):
    """connections_per_address counts the named address and not the balancer's."""
    s = lab.signet(listeners(limits={"connections_per_address": 2}))
    held = [Proxied(s, "starttls", v1(f"203.0.113.{i}")) for i in (1, 2, 3, 1)]
    c = raw.Raw(s.port("starttls"), source=LISTED, greet=False)
    c.send(v1("203.0.113.1"))
    reply(c.reply(), "421 4.7.0 Too many connections from your address")
    check(c.closed(), "closed")
    e = s.wait_event("connection_refused")[0]
    equal((e["client"], e["via"], e["reason"]),
          ("203.0.113.1", LISTED, "connections_per_address"), str(e))
    held.pop().close()
    s.wait_event("connection_closed", client="203.0.113.1")
    with Proxied(s, "starttls", v1("203.0.113.1")):
        pass
    for h in held:
        h.close()


def test_behind_a_header_nothing_is_lost(lab):
    """Bytes in the segment of the header are the connection's: commands, or the ClientHello."""
    s = lab.signet(listeners())
    c = raw.Raw(s.port("starttls"), source=LISTED, greet=False)
    c.send(v2("203.0.113.5") + b"EHLO client.example\r\nNOOP\r\n")
    equal([c.reply().code for _ in range(3)], [220, 250, 250], "greeting and two replies")
    c.close()
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = raw.client_context().wrap_bio(into, out)
    with socket.create_connection(("127.0.0.1", s.port("tls")), timeout=15,
                                  source_address=(LISTED, 0)) as sock:
        first = v1("203.0.113.6")
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(first + out.read())
                first = b""
                into.write(sock.recv(65536))
        sock.sendall(out.read())
        s.wait_event("connection", client="203.0.113.6")


def test_a_wrong_network_is_a_wrong_configuration(lab):
    s = lab.signet({("listener", "tls"): {"proxy": ["10.0.0.1/8"]}}, bare=True, start=False)
    code, _, err = s.run("config", "check", s.conf, check=False)
    equal(code, 78, err)
    check("10.0.0.1/8" in err, "named", err)


# -- HAProxy --

HAPROXY = """global
    log stdout format raw local0
defaults
    mode tcp
    timeout connect 10s
    timeout client 60s
    timeout server 60s
{sections}"""

SECTION = """listen {name}
    bind 127.0.0.1:{port}
    server signet 127.0.0.1:{to} source {source} {how}
"""


def haproxy(lab, sections):
    try:
        tree = Tree("haproxy", ["haproxy"])
    except Unavailable as e:
        raise Skip(str(e)) from None
    name = f"/tmp/haproxy-{os.getpid()}-{os.urandom(4).hex()}.cfg"
    with open(tree.path(name), "w", encoding="utf-8") as f:
        f.write(HAPROXY.format(sections="".join(SECTION.format(**x) for x in sections)))
    p = subprocess.Popen(tree.argv("/usr/sbin/haproxy", "-db", "-f", name),
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, preexec_fn=paths.die_with(signal.SIGTERM))

    def end():
        p.terminate()
        p.communicate(timeout=20)
        os.unlink(tree.path(name))

    lab.at_end(end)

    def listens():
        check(p.poll() is None, "HAProxy ended", p.stdout.read() if p.poll() is not None else "")
        for x in sections:
            with socket.socket() as c:
                if c.connect_ex(("127.0.0.1", x["port"])):
                    return False
        return True

    wait_for("HAProxy to listen", 20, listens, 0.05)


def test_haproxy_in_front(lab):
    """A real balancer, both versions, both kinds of TLS; its health checks are LOCAL."""
    s = lab.signet(listeners())
    kinds = [(how, door) for how in ("send-proxy", "send-proxy-v2",
                                     "send-proxy-v2 proxy-v2-options crc32c,unique-id")
             for door in ("starttls", "tls")]
    ports = free_ports(len(kinds) + 1)
    sections = [{"name": f"l{i}", "port": ports[i], "to": s.port(door), "source": LISTED,
                 "how": how} for i, (how, door) in enumerate(kinds)]
    sections.append({"name": "check", "port": ports[-1], "to": s.port("starttls"),
                     "source": LISTED, "how": "send-proxy-v2 check-send-proxy check inter 200ms"})
    haproxy(lab, sections)
    for i, (how, door) in enumerate(kinds):
        client = f"127.0.1.{i + 1}"
        with raw.Raw(ports[i], implicit=door == "tls", source=client) as c:
            c.ehlo()
            if door != "tls":
                c.starttls()
                c.ehlo()
            reply(c.auth(s.key), "235 2.7.0 *")
            reply(c.message(s.sender, "you@example.com",
                            f"From: {s.sender}\r\nSubject: by {i}.\r\n\r\nhi\r\n"), "250 *")
            c.cmd("QUIT")
        m = s.find_captured(f"Subject: by {i}.\r\n")
        check(f"[{client}]".encode() in m.split(b"From:")[0], f"{how}: Received", m)
        e = s.wait_event("authentication", client=client)[0]
        equal(e["via"], LISTED, how)
    # One that was reset before it was looked at is nobody's any more: its address is not known.
    wait_for("a health check", 20, lambda: [e for client in (LISTED, "unknown")
                                            for e in s.events("connection", client=client)
                                            if "via" not in e])
    check(not re.search(r"proxy_header", s.log_text()), "a header was refused")

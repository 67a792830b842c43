"""Next hops: aiosmtpd with every failure one can ask for, scripted sockets, and a real Postfix."""
import logging
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import warnings

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

from . import paths
from .raw import wait_for
from .tree import Tree, Unavailable


# aiosmtpd warns of what is done here on purpose: AUTH inside implicit TLS.
logging.getLogger("mail.log").setLevel(logging.CRITICAL)
logging.getLogger("mail.debug").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module="aiosmtpd")


MINE = []       # as long as this process lives


def free_ports(n, host="127.0.0.1"):
    """Below those that the kernel gives to clients, and nobody else's who asks here: two servers that
    share a port by SO_REUSEPORT would not notice."""
    ports, dice = [], random.SystemRandom()
    for _ in range(1000 * n):
        if len(ports) == n:
            break
        port, mark, probe = dice.randrange(10000, 32000), socket.socket(socket.AF_UNIX), socket.socket()
        try:
            mark.bind(f"\0signet tests, port {port}")
            probe.bind((host, port))
        except OSError:
            mark.close()
            continue
        finally:
            probe.close()
        MINE.append(mark)
        ports.append(port)
    if len(ports) < n:
        raise RuntimeError(f"no {n} free ports")
    return ports


def make_cert(dir, name="localhost", ec=True, days=30, stem="peer", env=None):
    """A self-signed certificate for the name and for 127.0.0.1: (certificate, key) paths. env: more
    of openssl's environment."""
    cert, key = os.path.join(dir, f"{stem}.pem"), os.path.join(dir, f"{stem}.key")
    kind = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if ec else ["rsa:2048"]
    subprocess.run(["openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-keyout", key,
                    "-out", cert, "-days", str(days), "-subj", f"/CN={name}",
                    "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1"],
                   env={**os.environ, **(env or {})}, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return cert, key


def make_expired_cert(dir, name, stem="expired"):
    """The same, of 2020. `openssl req` makes none that is over already; its certificate authority does."""
    cert, key, conf = (os.path.join(dir, f"{stem}.{x}") for x in ("pem", "key", "cnf"))
    with open(conf, "w", encoding="ascii") as f:
        f.write(f"[ca]\ndefault_ca = c\n[c]\ndatabase = {conf}.db\nrand_serial = yes\ndefault_md = sha256\n"
                f"new_certs_dir = {dir}\npolicy = p\nx509_extensions = x\n[p]\ncommonName = supplied\n"
                f"[x]\nsubjectAltName = DNS:{name}\n")
    open(f"{conf}.db", "w", encoding="ascii").close()
    for argv in (["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                  "-out", f"{cert}.csr", "-subj", f"/CN={name}"],
                 ["ca", "-batch", "-notext", "-selfsign", "-config", conf, "-keyfile", key, "-in", f"{cert}.csr",
                  "-startdate", "20200101000000Z", "-enddate", "20200201000000Z", "-out", cert]):
        subprocess.run(["openssl", *argv], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return cert, key


class Taken:
    """A message that a smart host took."""

    def __init__(self, sender, rcpts, data, tls, user, options):
        self.sender, self.rcpts, self.data = sender, rcpts, data
        self.tls, self.user, self.options = tls, user, options
        self.at = time.monotonic()

    @property
    def head(self):
        return self.data.partition(b"\r\n\r\n")[0] + b"\r\n"

    @property
    def body(self):
        return self.data.partition(b"\r\n\r\n")[2]


class SmartHost:
    """aiosmtpd. replies: what to answer to RCPT by address, or at 'DATA' for every message; a list
    is used up one by one, then 250. A reply may be a callable(envelope)."""

    def __init__(self, dir, tls=False, implicit=False, user=None, password=None, replies=None,
                 require_tls=False, hostname="smart.example", cert=None, enable_SMTPUTF8=True,
                 delay=0.0):
        self.messages, self.sessions, self.open = [], 0, 0
        self.user, self.password = user, password
        self.replies, self.delay = dict(replies or {}), delay
        self.attempts = []
        self.port = free_ports(1)[0]
        self.cert = self.key = context = None
        if tls or implicit:
            self.cert, self.key = cert or make_cert(dir, stem=f"smart{self.port}")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.cert, self.key)
        outer = self

        class Server(SMTP):
            def connection_made(self, transport):
                if not getattr(self, "_over_ssl", False) or self.session is None:
                    outer.sessions += 1
                    outer.open += 1
                    self.counted = True
                super().connection_made(transport)

            def connection_lost(self, error):
                if getattr(self, "counted", False):
                    outer.open -= 1
                    self.counted = False
                super().connection_lost(error)

        class Door(Controller):
            def factory(self):
                return Server(self.handler, **self.SMTP_kwargs)

        self.controller = Door(
            self, hostname="127.0.0.1", port=self.port, server_hostname=hostname,
            tls_context=context if tls else None, ssl_context=context if implicit else None,
            require_starttls=require_tls, enable_SMTPUTF8=enable_SMTPUTF8,
            authenticator=self.authenticate if user else None, auth_required=bool(user),
            auth_require_tls=bool(tls and not implicit), data_size_limit=64 << 20)
        self.controller.start()
        wait_for("start()'s own look to end", 10, lambda: self.open == 0)
        self.sessions = 0

    def stop(self):
        self.controller.stop()

    def authenticate(self, server, session, envelope, mechanism, data):
        ok = (data.login == self.user.encode() and data.password == self.password.encode())
        return AuthResult(success=ok, handled=False, auth_data=self.user)

    def answer(self, what, envelope):
        r = self.replies.get(what)
        if isinstance(r, list):
            r = r.pop(0) if r else None
        return r(envelope) if callable(r) else r

    async def handle_RCPT(self, server, session, envelope, address, options):
        r = self.answer(address, envelope)
        self.attempts.append((time.monotonic(), address, r))
        if r:
            return r
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 fine"

    async def handle_DATA(self, server, session, envelope):
        if self.delay:
            import asyncio
            await asyncio.sleep(self.delay)
        r = self.answer("DATA", envelope)
        if r and r[0] != "2":
            return r
        data = envelope.original_content or envelope.content
        self.messages.append(Taken(envelope.mail_from, list(envelope.rcpt_tos), data,
                                   session.ssl is not None, session.auth_data,
                                   list(envelope.mail_options)))
        return r or "250 2.0.0 taken"

    def wait(self, n, seconds=15):
        wait_for(f"{n} messages at the smart host (has {len(self.messages)})", seconds,
                 lambda: len(self.messages) >= n)
        return self.messages


class Scripted:
    """A TCP server that runs talk(file-like Line) once for every connection, in a thread."""

    def __init__(self, talk, port=0):
        self.talk, self.errors, self.sessions = talk, [], 0
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind(("127.0.0.1", port))
        self.sock.listen(64)
        self.port = self.sock.getsockname()[1]
        self.live, self.ended = [], False
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                c, _ = self.sock.accept()
            except OSError:
                return
            self.sessions += 1
            self.live.append(c)
            threading.Thread(target=self.one, args=(c,), daemon=True).start()

    def one(self, c):
        try:
            self.talk(Line(c))
        except (OSError, EOFError):
            pass
        except Exception as e:  # pylint: disable=broad-except  # shown by the test
            self.errors.append(repr(e))
        finally:
            c.close()

    def stop(self):
        self.ended = True
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        for c in self.live:
            try:
                c.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Line:
    def __init__(self, sock):
        self.sock, self.file = sock, sock.makefile("rb")

    def say(self, text):
        self.sock.sendall(text.encode() + b"\r\n")

    def read(self):
        line = self.file.readline()
        if not line:
            raise EOFError
        return line.decode("utf-8", "backslashreplace").rstrip("\r\n")

    def read_data(self):
        out = []
        while (line := self.file.readline()) != b".\r\n":
            if not line:
                raise EOFError
            out.append(line)
        return b"".join(out)

    def hang(self, seconds=3600):
        self.sock.settimeout(seconds)
        while self.sock.recv(4096):
            pass

    def serve(self, extensions=(), data_reply="250 2.0.0 ok", got=None):
        """A plain polite server until QUIT."""
        self.say("220 scripted.example ESMTP")
        rcpts, sender = [], None
        while True:
            line = self.read()
            verb = line.upper()
            if verb.startswith("EHLO"):
                ext = ["scripted.example", *extensions]
                for i, e in enumerate(ext):
                    self.say(f"250{' ' if i == len(ext) - 1 else '-'}{e}")
            elif verb.startswith("MAIL"):
                sender, rcpts = line, []
                self.say("250 ok")
            elif verb.startswith("RCPT"):
                rcpts.append(line)
                self.say("250 ok")
            elif verb == "DATA":
                self.say("354 go on")
                data = self.read_data()
                if got is not None:
                    got.append((sender, rcpts, data))
                self.say(data_reply)
            elif verb == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 ok")


POSTFIX_DIRS = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming",
                "private", "saved", "trace")
POSTFIX_PACKAGES = ("postfix", "libsasl2-modules", "sasl2-bin")
POSTFIX_USERS = (("postfix", 20001), ("postdrop", 20002), ("mail", 20003))


def postfix_dirs(dir):
    """An instance's directories, as its own set-up script would make them."""
    for d in ("etc", "queue", "data", "mail", "log"):
        os.makedirs(f"{dir}/{d}")
    for d in POSTFIX_DIRS:
        os.makedirs(f"{dir}/queue/{d}", 0o700)
        os.chown(f"{dir}/queue/{d}", 20001, 0)
    for d, mode in (("maildrop", 0o730), ("public", 0o710)):
        os.makedirs(f"{dir}/queue/{d}")
        os.chown(f"{dir}/queue/{d}", 20001, 20002)
        os.chmod(f"{dir}/queue/{d}", mode)
    os.makedirs(f"{dir}/queue/pid")
    os.chown(f"{dir}/data", 20001, 0)


class Postfix:
    """A real Postfix that takes everything into one Maildir: Debian's package, unpacked under
    build/peers by fetch-tree and run in a chroot there, so that the system is not touched."""

    def __init__(self, tls=True, user=None, password=None, require_tls=False, settings=None,
                 host="127.0.0.1", port=None):
        self.root = Tree("postfix", POSTFIX_PACKAGES, POSTFIX_USERS).root
        self.host, self.port = host, port or free_ports(1)[0]
        self.name = f"{self.port}" if host == "127.0.0.1" else f"{host}-{self.port}"
        self.inst = f"/inst/{self.name}"
        self.dir = self.root + self.inst
        self.auth = None
        postfix_dirs(self.dir)
        os.chown(f"{self.dir}/mail", 20003, 20003)
        self.cert, key = make_cert(f"{self.dir}/etc", "postfix.example", stem="smtpd")
        conf = {
            "compatibility_level": "3.6",
            "queue_directory": f"{self.inst}/queue", "data_directory": f"{self.inst}/data",
            "command_directory": "/usr/sbin", "daemon_directory": "/usr/lib/postfix/sbin",
            "mail_owner": "postfix", "setgid_group": "postdrop", "default_privs": "nobody",
            "myhostname": "postfix.example", "mydestination": "", "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4", "mynetworks": "127.0.0.0/8", "alias_maps": "",
            "local_recipient_maps": "", "biff": "no", "smtpd_peername_lookup": "no",
            "maillog_file": f"/var/log/postfix-{self.name}", "maillog_file_prefixes": "/var",
            "virtual_mailbox_domains": "static:all", "virtual_mailbox_base": f"{self.inst}/mail",
            "virtual_mailbox_maps": "static:inbox/", "virtual_uid_maps": "static:20003",
            "virtual_gid_maps": "static:20003", "virtual_alias_maps": "",
            "smtpd_relay_restrictions": "permit_mynetworks, permit_sasl_authenticated, reject",
            "message_size_limit": "40000000", "virtual_mailbox_limit": "0",
            "smtpd_tls_security_level": ("encrypt" if require_tls else "may") if tls else "none",
            "smtpd_tls_cert_file": f"{self.inst}/etc/smtpd.pem",
            "smtpd_tls_key_file": f"{self.inst}/etc/smtpd.key",
            "tls_random_source": "dev:/dev/urandom", "smtpd_tls_loglevel": "1",
            "smtpd_forbid_bare_newline": "no",
        }
        if user:
            self.auth = AuthSocket(f"{self.dir}/queue/private/auth", user, password)
            conf.update({"smtpd_sasl_auth_enable": "yes", "smtpd_sasl_type": "dovecot",
                         "smtpd_sasl_path": "private/auth", "smtpd_tls_auth_only": "yes",
                         "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
                         "smtpd_recipient_restrictions": "permit_sasl_authenticated, reject"})
        conf.update(settings or {})
        with open(f"{self.dir}/etc/main.cf", "w", encoding="utf-8") as f:
            f.writelines(f"{k} = {v}\n" for k, v in conf.items())
        with open(f"{self.dir}/etc/master.cf", "w", encoding="utf-8") as f:
            f.write(MASTER_CF.format(host=host, port=self.port))
        self.process = subprocess.Popen(
            ["chroot", self.root, "/usr/lib/postfix/sbin/master", "-d", "-c", f"{self.inst}/etc"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=open(f"{self.dir}/log/stderr", "wb"), preexec_fn=paths.die_with(signal.SIGTERM))
        try:
            wait_for("Postfix's greeting", 20, self.greets, 0.1)
        except AssertionError:
            text = self.log()
            self.stop()
            raise AssertionError(f"Postfix does not start:\n{text}") from None

    def greets(self):
        if self.process.poll() is not None:
            raise AssertionError(f"Postfix ended:\n{self.log()}")
        try:
            with socket.create_connection((self.host, self.port), timeout=5) as s:
                return s.recv(4) == b"220 "
        except OSError:
            return False

    def log(self):
        text = ""
        for p in (f"{self.root}/var/log/postfix-{self.name}", f"{self.dir}/log/stderr"):
            if os.path.exists(p):
                with open(p, encoding="utf-8", errors="replace") as f:
                    text += f.read()
        return text

    def messages(self):
        new = f"{self.dir}/mail/inbox/new"
        out = []
        for n in sorted(os.listdir(new)) if os.path.isdir(new) else []:
            with open(f"{new}/{n}", "rb") as f:
                out.append(f.read())
        return out

    def wait(self, n, seconds=20):
        try:
            wait_for(f"{n} messages at Postfix", seconds, lambda: len(self.messages()) >= n)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.log()}") from None
        return self.messages()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.auth:
            self.auth.stop()
        shutil.rmtree(self.dir, ignore_errors=True)
        try:
            os.unlink(f"{self.root}/var/log/postfix-{self.name}")
        except OSError:
            pass


MASTER_CF = """
{host}:{port} inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
"""


class AuthSocket:
    """Just enough of Dovecot's authentication protocol for Postfix to check one password."""

    def __init__(self, path, user, password):
        self.want = b"\0" + user.encode() + b"\0" + password.encode()
        self.user = user
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(path)
        os.chmod(path, 0o666)
        self.sock.listen(16)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                c, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.one, args=(c,), daemon=True).start()

    def one(self, c):
        import base64
        with c, c.makefile("rwb") as f:
            f.write(b"VERSION\t1\t1\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t"
                    + b"0" * 32 + b"\nDONE\n")
            f.flush()
            for line in f:
                words = line.decode().rstrip("\n").split("\t")
                if words[0] == "AUTH":
                    resp = next((w[5:] for w in words if w.startswith("resp=")), "")
                    if base64.b64decode(resp) == self.want:
                        f.write(f"OK\t{words[1]}\tuser={self.user}\n".encode())
                    else:
                        f.write(f"FAIL\t{words[1]}\tuser={self.user}\n".encode())
                    f.flush()

    def stop(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()

"""Mail servers of other people, each taking mail at an address of its own into a place that a test
can read: Postfix, Exim, OpenSMTPD (Debian's, in trees) and Haraka (npm's, in build/haraka)."""
import email
import glob
import json
import os
import re
import shutil
import signal
import socket
import subprocess

from . import paths
from .peers import Postfix, make_cert
from .raw import wait_for
from .tree import Tree, Unavailable


class Got:
    """A message as a receiver has it: sender and recipients of the envelope, data with CRLF, and
    what its own trace field says about TLS."""

    def __init__(self, sender, rcpts, data):
        self.sender, self.rcpts = sender, rcpts
        self.data = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        head = self.data.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")
        self.received = email.message_from_string(head).get_all("Received") or []

    @property
    def tls(self):
        return bool(self.received) and re.search(r"ESMTPS|esmtps|TLSv?1", self.received[0]) is not None

    @property
    def body(self):
        return self.data.partition(b"\r\n\r\n")[2]

    @property
    def head(self):
        return self.data.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")


def field(data, name):
    m = re.search(rb"(?mi)^" + name.encode() + rb": *<?([^>\n]*?)>? *\r?$",
                  data.replace(b"\r\n", b"\n").partition(b"\n\n")[0])
    return m.group(1).decode() if m else None


class Receiver:
    """name: of its domain, NAME.example; host, port: where it listens."""

    name = "?"
    tls = True

    def __init__(self, dir, host, port):
        self.dir, self.host, self.port = dir, host, port
        self.process = None
        self.seen = {}
        os.makedirs(dir, exist_ok=True)
        try:
            self.begin()
        except BaseException:
            self.stop()
            raise

    def begin(self):
        """Starts it, without waiting."""
        raise NotImplementedError

    def ready(self, seconds=30):
        try:
            wait_for(f"{self.name}'s greeting", seconds, self.greets, 0.05)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.log()}") from None

    def greets(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended with {self.process.returncode}")
        try:
            with socket.create_connection((self.host, self.port), timeout=5) as s:
                return s.recv(4) == b"220 "
        except OSError:
            return False

    def spawn(self, argv, **more):
        self.out = open(os.path.join(self.dir, "output"), "ab")
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.out,
                                        stderr=self.out, preexec_fn=paths.die_with(signal.SIGTERM),
                                        start_new_session=True, **more)

    def log(self):
        text = ""
        for p in [os.path.join(self.dir, "output"), *self.log_files()]:
            if os.path.exists(p):
                with open(p, encoding="utf-8", errors="replace") as f:
                    text += f.read()[-6000:]
        return text

    def log_files(self):
        return []

    def files(self):
        """The files of finished messages."""
        return []

    def parse(self, path, data):
        """One file: a Got."""
        raise NotImplementedError

    def messages(self):
        for path in self.files():
            if path not in self.seen:
                with open(path, "rb") as f:
                    self.seen[path] = self.parse(path, f.read())
        return list(self.seen.values())

    def wait(self, n, seconds=30):
        """n recipients' worth of mail."""
        try:
            wait_for(f"mail for {n} at {self.name}", seconds,
                     lambda: sum(len(m.rcpts) for m in self.messages()) >= n, 0.05)
        except AssertionError as e:
            raise AssertionError(f"{e} (has {len(self.messages())})\n{self.log()}") from None
        return self.messages()

    def find(self, text, seconds=30):
        text = text.encode() if isinstance(text, str) else text
        try:
            return wait_for(f"{text!r} at {self.name}", seconds, lambda: next(
                (m for m in self.messages() if text in m.data), None), 0.05)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.log()}") from None

    def stop(self):
        if self.process:
            if self.process.poll() is None:
                self.process.terminate()
                try:
                    self.process.wait(10)
                except subprocess.TimeoutExpired:
                    pass
            try:
                os.killpg(self.process.pid, signal.SIGKILL)    # those it left behind
            except ProcessLookupError:
                pass
            self.process.wait()
            self.out.close()
            self.process = None
        self.clean()

    def clean(self):
        """What is not below dir."""


class PostfixReceiver(Receiver):
    """Everybody has a mailbox there but refused@."""

    name = "postfix"

    def begin(self):
        self.postfix = Postfix(host=self.host, port=self.port, settings={
            "smtpd_tls_received_header": "yes", "virtual_mailbox_base": f"/inst/{self.host}-{self.port}/mail",
            "smtpd_recipient_restrictions":
                "check_recipient_access inline:{{refused@postfix.example = 550 5.1.1 nobody of that name}}",
            "smtputf8_enable": "yes"})
        self.process, self.mail = self.postfix.process, f"{self.postfix.dir}/mail/inbox/new"

    def files(self):
        return sorted(glob.glob(f"{self.mail}/*"))

    def parse(self, path, data):
        own = re.match(rb"(?:(?:Return-Path|X-Original-To|Delivered-To): .*\n)+", data)
        return Got(field(data, "Return-Path"), [field(data, "X-Original-To")], data[own.end():])

    def log(self):
        return self.postfix.log()[-6000:]

    def stop(self):
        if getattr(self, "postfix", None):
            self.postfix.stop()


class Chrooted(Receiver):
    packages, users = (), ()

    def begin(self):
        self.tree = Tree(self.name, self.packages, self.users).clone(f"{os.getpid()}-{self.host}")
        cert, key = make_cert(self.dir, f"{self.name}.example", stem="server")
        for file, inside in ((cert, "/inst/server.pem"), (key, "/inst/server.key")):
            with open(file, encoding="utf-8") as f:
                self.tree.write(inside, f.read(), 0o600, self.owner)
        self.configure()

    owner = 0

    def configure(self):
        raise NotImplementedError

    def clean(self):
        if getattr(self, "tree", None):
            self.tree.remove()


EXIM_CONF = """
primary_hostname = exim.example
local_interfaces = {host}
daemon_smtp_ports = {port}
spool_directory = /inst/spool
log_file_path = /inst/%slog
pid_file_path =
exim_user = Debian-exim
exim_group = Debian-exim
tls_certificate = /inst/server.pem
tls_privatekey = /inst/server.key
tls_advertise_hosts = *
message_size_limit = 2M
smtp_accept_max = 100
smtp_accept_queue_per_connection = 0
host_lookup =
rfc1413_query_timeout = 0s
smtputf8_advertise_hosts = *
acl_smtp_rcpt = rcpt
begin acl
rcpt:
  accept
begin routers
everybody:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  maildir_format
  directory = /inst/mail
  create_directory
  user = mail
  group = mail
  return_path_add
  envelope_to_add
begin retry
* * F,1h,15m
"""
EXIM_USERS = (("Debian-exim", 20011), ("mail", 20003))


class Exim(Chrooted):
    """It takes messages up to 2 MB."""

    name = "exim"
    packages, users = ("exim4-daemon-light",), EXIM_USERS
    owner = 20011

    def configure(self):
        self.tree.make_dir("/inst/spool", owner=20011)
        self.tree.make_dir("/inst/mail", owner=20003)
        os.chown(self.tree.path("/inst"), 20011, 20011)
        self.tree.write("/etc/exim4/exim4.conf", EXIM_CONF.format(host=self.host, port=self.port))
        self.spawn(self.tree.argv("/usr/sbin/exim4", "-bdf"))

    def files(self):
        return sorted(glob.glob(self.tree.path("/inst/mail/new/*")))

    def parse(self, path, data):
        own = re.match(rb"(?:(?:Return-path|Envelope-to): .*\n)+", data)
        return Got(field(data, "Return-path"), field(data, "Envelope-to").split(", "),
                   data[own.end():])

    def log_files(self):
        return [self.tree.path("/inst/mainlog"), self.tree.path("/inst/paniclog")]


SMTPD_CONF = """
pki in cert "/inst/server.pem"
pki in key "/inst/server.key"
table people {{ "@" = "box" }}
listen on {host} port {port} tls pki in hostname opensmtpd.example
action "in" maildir "/home/box/mail" virtual <people>
match from any for any action "in"
"""
OPENSMTPD_PACKAGES = ("opensmtpd", "dash")
OPENSMTPD_USERS = (("opensmtpd", 20021), ("opensmtpq", 20022), ("box", 20023))


def opensmtpd_dirs(tree):
    for d, mode in (("/var/spool/smtpd", 0o711), ("/var/lib/opensmtpd/empty", 0o755),
                    ("/var/run", 0o755)):
        tree.make_dir(d, mode)


class OpenSMTPD(Chrooted):
    """With tests/lab/shim/whole_key.c, without which its TLS does not work in Debian 12."""

    name = "opensmtpd"
    packages, users = OPENSMTPD_PACKAGES, OPENSMTPD_USERS

    def configure(self):
        opensmtpd_dirs(self.tree)
        self.tree.write("/etc/passwd", "".join(
            f"{u}:x:{n}:{n}::{'/home/box' if u == 'box' else '/'}:/bin/sh\n"
            for u, n in (("root", 0), ("nobody", 65534), *self.users)))
        self.tree.make_dir("/home/box", owner=20023)
        self.tree.write("/inst/smtpd.conf", SMTPD_CONF.format(host=self.host, port=self.port), 0o600)
        subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o",
                        self.tree.path("/inst/whole_key.so"),
                        f"{paths.TESTS}/lab/shim/whole_key.c"], check=True)
        self.spawn(self.tree.argv("/usr/sbin/smtpd", "-d", "-f", "/inst/smtpd.conf"),
                   env={"PATH": os.environ["PATH"], "LD_PRELOAD": "/inst/whole_key.so"})

    def files(self):
        return sorted(glob.glob(self.tree.path("/home/box/mail/new/*")))

    def parse(self, path, data):
        own = re.match(rb"(?:(?:Return-Path|Delivered-To): .*\n)+", data)
        return Got(field(data, "Return-Path"), [field(data, "Delivered-To")], data[own.end():])


# Takes everything; a message is there when its envelope is.
HARAKA_QUEUE = """
const fs = require('node:fs')
exports.hook_rcpt = (next) => next(OK)
exports.hook_lookup_rdns = (next) => next(OK, 'localhost')
exports.hook_queue = function (next, connection) {
  const txn = connection.transaction
  const base = process.env.SIGNET_INBOX + '/' + txn.uuid
  const file = fs.createWriteStream(base + '.eml')
  file.once('close', () => {
    fs.writeFileSync(base + '.tmp', JSON.stringify({
      from: txn.mail_from.address, to: txn.rcpt_to.map((r) => r.address),
      tls: connection.tls.enabled }))
    fs.renameSync(base + '.tmp', base + '.json')
    next(OK)
  })
  txn.message_stream.pipe(file)
}
"""


class Haraka(Receiver):
    name = "haraka"
    base = os.path.join(paths.BUILD, "haraka/node_modules")

    def begin(self):
        node = glob.glob(f"{self.base}/node-linux-*/bin/node")
        if not node or not os.path.exists(f"{self.base}/Haraka/haraka.js"):
            raise Unavailable("Haraka is not installed: ./dev test does it")
        # As its own `haraka -i` would: the defaults first.
        shutil.copytree(f"{self.base}/Haraka/config", f"{self.dir}/config", dirs_exist_ok=True)
        self.write("config/smtp.ini", f"listen={self.host}:{self.port}\nnodes=0\n")
        self.write("config/me", "haraka.example\n")
        # It would break lines of more than 992, which may have 998 (RFC 5321 4.5.3.1.6).
        with open(f"{self.dir}/config/connection.ini", encoding="utf-8") as f:
            conf = f.read()
        self.write("config/connection.ini", conf.replace("data_line_length=992",
                                                         "data_line_length=1000"))
        self.write("config/plugins", "inbox\ntls\n")
        self.write("config/tls.ini", f"key={self.dir}/config/tls_key.pem\n"
                                     f"cert={self.dir}/config/tls_cert.pem\n")
        cert, key = make_cert(self.dir, "haraka.example", stem="server")
        shutil.copy(cert, f"{self.dir}/config/tls_cert.pem")
        shutil.copy(key, f"{self.dir}/config/tls_key.pem")
        # It makes them itself at its first start, for minutes; TLS 1.3 has no use for them.
        with open(f"{self.dir}/config/dhparams.pem", "wb") as f:
            subprocess.run(["openssl", "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt",
                            "group:ffdhe2048"], check=True, stdout=f)
        self.write("config/outbound.ini", "disabled=true\n")
        self.write("plugins/inbox.js", HARAKA_QUEUE)
        for d in ("queue", "inbox"):
            os.makedirs(f"{self.dir}/{d}")
        self.spawn([node[0], f"{self.base}/Haraka/bin/haraka", "-c", self.dir], cwd=self.dir,
                   env={"PATH": os.environ["PATH"], "HOME": self.dir,
                        "SIGNET_INBOX": f"{self.dir}/inbox"})

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)

    def files(self):
        return sorted(glob.glob(f"{self.dir}/inbox/*.json"))

    def parse(self, path, data):
        e = json.loads(data)
        with open(path[:-5] + ".eml", "rb") as f:
            return Got(e["from"], e["to"], f.read())


ALL = {c.name: c for c in (PostfixReceiver, Exim, OpenSMTPD, Haraka)}

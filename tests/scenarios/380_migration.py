"""Mail servers and programs that people have, sending through Signet, which delivers by MX: each with
the configuration that docs/migrating.md gives for it, word by word."""
import os
import re
import shutil
import smtplib
import subprocess

from lab import clients, paths, receivers
from lab.lab import Skip, check, equal
from lab.peers import MASTER_CF, POSTFIX_PACKAGES, POSTFIX_USERS, make_cert, postfix_dirs
from lab.tree import Tree, Unavailable
from lab.world import World

TIMEOUT = 240
SIGNET, POSTFIX, EXIM, OPENSMTPD, INBOX = 2, 40, 41, 42, 50
DOC = os.path.join(paths.ROOT, "docs/migrating.md")
CAS = "/etc/ssl/certs/ca-certificates.crt"
BODY = "Hello,\n.a dot\n\nand a last line  \n"


def snippets(program, key):
    """The blocks of the program's section, in order, with the key in its place."""
    with open(DOC, encoding="utf-8") as f:
        text = f.read()
    section = re.search(rf"(?ms)^## {re.escape(program)}\n(.*?)(?=^## |\Z)", text).group(1)
    return [b.replace("KEY", key) for b in re.findall(r"(?ms)^```\n(.*?)^```$", section)]


class Setting:
    """The world, Signet at signet.example:587 in it, and where its mail arrives."""

    def __init__(self, lab):
        self.world = w = World(lab, records=[
            "@ IN TXT \"the migrating\"", f"signet IN A {{net}}.{SIGNET}", *World.mx("you", INBOX)])
        self.inbox = w.sink(INBOX)
        self.dir = lab.make_dir("signet-cert")
        cert, key = make_cert(self.dir, "signet.example", stem="signet")
        self.trusted = cert
        self.hosts = os.path.join(self.dir, "hosts")
        with open(self.hosts, "w", encoding="utf-8") as f:
            f.write(f"{w.ip(SIGNET)} signet.example\n")
        self.signet = w.signet({
            "hostname": "signet.example", "tls": {"certificate": [cert], "key": [key]},
            ("listener", "public"): {"address": [f"{w.ip(SIGNET)}:587"], "tls": "starttls"}})

    def tree(self, lab, name, packages, users):
        """A tree whose programs live in the world."""
        try:
            t = Tree(name, packages, users).clone(f"{os.getpid()}-migration")
        except Unavailable as e:
            raise Skip(str(e)) from None
        lab.at_end(t.remove)
        t.resolver(self.world.nsd.address, self.trusted)
        return t


def setup(lab):
    return Setting(lab)


def arrived(x, subject, body=None):
    """It came by MX, over TLS, from Signet, as it was sent."""
    m = x.inbox.find(f"Subject: {subject}\r\n", 40)
    check(m.tls, "delivered over TLS", m.tls)
    equal((m.sender, m.rcpts), ("hello@shop.example", ["someone@you.example"]), "the envelope")
    if body is not None:
        equal(m.body, body.replace("\n", "\r\n").encode(), "the body")
    accepted = [e for e in x.signet.events("message_accepted")]
    check(accepted, "Signet took it")
    return m


def give(host, port, subject, body=BODY):
    """Mail from a local program to the local server."""
    with smtplib.SMTP(host, port, "localhost", timeout=30) as c:
        c.sendmail("hello@shop.example", ["someone@you.example"],
                   f"From: hello@shop.example\nTo: someone@you.example\nSubject: {subject}\n\n{body}")


class Server(receivers.Receiver):
    """A server in the tree, as Receiver knows to start and stop one."""

    def __init__(self, lab, name, tree, argv, host, port=25, logs=()):
        self.name, self.tree, self.argv, self.logs = name, tree, argv, logs
        super().__init__(lab.make_dir(name), host, port)
        lab.at_end(self.stop)
        self.ready()

    def begin(self):
        self.spawn(self.tree.argv(*self.argv))

    def log_files(self):
        return [self.tree.path(p) for p in self.logs]


def through(x, server, subject):
    give(server.host, server.port, subject)
    try:
        return arrived(x, subject, BODY)
    except AssertionError as e:
        raise AssertionError(f"{e}\n{server.log()}") from None


def test_postfix(lab, x):
    t = x.tree(lab, "postfix", POSTFIX_PACKAGES, POSTFIX_USERS)
    main, secrets = snippets("Postfix", x.signet.key)
    shutil.rmtree(t.path("/inst"), ignore_errors=True)
    postfix_dirs(t.path("/inst"))
    t.write("/inst/etc/main.cf", main + f"""
compatibility_level = 3.6
queue_directory = /inst/queue
data_directory = /inst/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = premise.example
mydestination =
inet_protocols = ipv4
inet_interfaces = 127.0.0.1
mynetworks = 127.0.0.0/8
alias_maps =
local_recipient_maps =
smtpd_peername_lookup = no
maillog_file = /var/log/postfix
maillog_file_prefixes = /var
smtp_tls_loglevel = 1
""")
    t.write("/etc/postfix/sasl_passwd", secrets, 0o600)
    host = x.world.ip(POSTFIX)
    t.write("/inst/etc/master.cf", MASTER_CF.format(host=host, port=25))
    s = Server(lab, "postfix", t, ["/usr/lib/postfix/sbin/master", "-d", "-c", "/inst/etc"], host,
               logs=["/var/log/postfix"])
    m = through(x, s, "by Postfix")
    check(b"premise.example (Postfix)" in m.head, "its trace", m.head)
    check("Verified TLS connection" in s.log(), "it verified the certificate", s.log())


EXIM_CONF = """
primary_hostname = premise.example
domainlist local_domains = premise.example
local_interfaces = {host}
daemon_smtp_ports = 25
spool_directory = /inst/spool
log_file_path = /inst/%slog
pid_file_path =
exim_user = Debian-exim
exim_group = Debian-exim
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts =
acl_smtp_rcpt = rcpt
begin acl
rcpt:
  accept
begin routers
{0}
begin transports
{1}
begin retry
* * F,1h,15m
begin authenticators
{2}
"""


def test_exim(lab, x):
    t = x.tree(lab, "exim", receivers.Exim.packages, receivers.EXIM_USERS)
    host = x.world.ip(EXIM)
    for d in ("/inst", "/inst/spool"):
        t.make_dir(d, owner=20011)
    t.write("/etc/exim4/exim4.conf", EXIM_CONF.format(*snippets("Exim", x.signet.key), host=host))
    s = Server(lab, "exim", t, ["/usr/sbin/exim4", "-bdf"], host,
               logs=["/inst/mainlog", "/inst/paniclog"])
    m = through(x, s, "by Exim")
    check(b"by premise.example" in m.head, "its trace", m.head)
    check("CV=yes" in s.log(), "it verified the certificate", s.log())


def test_opensmtpd(lab, x):
    t = x.tree(lab, "opensmtpd", receivers.OPENSMTPD_PACKAGES, receivers.OPENSMTPD_USERS)
    receivers.opensmtpd_dirs(t)
    conf, secrets = snippets("OpenSMTPD", x.signet.key)
    host = x.world.ip(OPENSMTPD)
    t.write("/etc/smtpd.secrets", secrets, 0o600)
    t.write("/inst/smtpd.conf", f"listen on {host} port 25 hostname premise.example\n" + conf, 0o600)
    s = Server(lab, "opensmtpd", t, ["/usr/sbin/smtpd", "-d", "-f", "/inst/smtpd.conf"], host)
    m = through(x, s, "by OpenSMTPD")
    check(b"by premise.example (OpenSMTPD)" in m.head, "its trace", m.head)


def home(lab, x, **more):
    """The environment of a program that finds signet.example, by nss_wrapper."""
    lib = subprocess.run(["sh", "-c", "ls /usr/lib/*/libnss_wrapper.so"], check=False,
                         stdout=subprocess.PIPE).stdout.decode().split()
    check(lib, "libnss-wrapper is installed")
    return {"HOME": lab.make_dir("home"), "LD_PRELOAD": lib[0], "NSS_WRAPPER_HOSTS": x.hosts,
            **more}


def write(path, text, x):
    """A file of a user's, which trusts the test's authority and not the system's."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
        f.write(text.replace(CAS, x.trusted))
    return path


def test_msmtp(lab, x):
    env = home(lab, x)
    conf, = snippets("msmtp", x.signet.key)
    write(f"{env['HOME']}/.msmtprc", conf, x)
    r = clients.run(["msmtp", "someone@you.example"], env=env, stdin=(
        f"From: hello@shop.example\nTo: someone@you.example\nSubject: by msmtp\n\n{BODY}").encode())
    check(r.ok, "msmtp", r.output)
    arrived(x, "by msmtp", BODY)


def test_s_nail(lab, x):
    env = home(lab, x)
    conf, = snippets("s-nail", x.signet.key)
    # For root it knows better than $HOME.
    env["MAILRC"] = write(f"{env['HOME']}/.mailrc", conf, x)
    r = clients.run(["s-nail", "-s", "by s-nail", "-S", "sendwait", "-S", "nosave",
                     "someone@you.example"], env=env, stdin=b"Hello\n")
    check(r.ok, "s-nail", r.output)
    arrived(x, "by s-nail", "Hello\n")


def test_git_send_email(lab, x):
    env = home(lab, x)
    conf, = snippets("git send-email", x.signet.key)
    write(f"{env['HOME']}/.gitconfig", conf + "[user]\n\tname = Hello\n\temail = hello@shop.example\n",
          x)
    d = lab.make_dir("repo")
    git = ["git", "-C", d]
    for args in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "the beginning"]):
        r = clients.run([*git, *args], env=env)
        check(r.ok, str(args), r.output)
    with open(f"{d}/file", "w", encoding="utf-8") as f:
        f.write("a line\n")
    for args in (["add", "file"], ["commit", "-q", "-m", "by git send-email"],
                 ["send-email", "--quiet", "--confirm=never", "--to=someone@you.example", "-1"]):
        r = clients.run([*git, *args], env=env)
        check(r.ok, str(args), r.output)
    m = arrived(x, "[PATCH] by git send-email")
    check(b"+a line\r\n" in m.body, "the patch", m.body)


def test_a_strange_certificate_is_refused(lab, x):
    """What the snippets say about certificates is true: a Signet that nobody vouches for gets no
    key."""
    conf, = snippets("msmtp", x.signet.key)
    env = home(lab, x)
    other, _ = make_cert(lab.make_dir("other"), "signet.example", stem="other")
    with os.fdopen(os.open(f"{env['HOME']}/.msmtprc", os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
        f.write(conf.replace(CAS, other))
    r = clients.run(["msmtp", "someone@you.example"], env=env, stdin=b"Subject: never\n\nno\n")
    check(not r.ok and "certificate" in r.output, "refused", r.output)

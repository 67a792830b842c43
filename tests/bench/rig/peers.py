"""The other servers: Debian's Postfix, Exim and OpenSMTPD in trees of their own. Each takes mail by
STARTTLS and AUTH PLAIN from one user and holds it, or hands it on to one sink; what is not said here
is as the package has it."""
import os
import shutil

from . import procs
from .servers import Server

from lab import peers as lab_peers
from lab.tree import Tree


class Chrooted(Server):
    """An instance below /inst of the tree."""

    packages, users = (), ()

    def __init__(self, dir, **more):
        self.tree = Tree(self.name, self.packages, self.users)
        self.inst = "/inst/" + os.path.basename(dir)
        shutil.rmtree(self.tree.path(self.inst), ignore_errors=True)
        super().__init__(self.tree.path(self.inst), **more)
        for i, name in enumerate(("server.pem", "server.key")):
            path = os.path.join(self.dir, name)
            if self.cert[i] != path:
                shutil.copy(self.cert[i], path)
            os.chmod(path, 0o600)

    def write(self, inside, text, mode=0o644):
        path = self.tree.path(inside)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, mode)

    def run(self, *command):
        self.process = procs.start(self.tree.argv(*command), self.cpus, stdout=self.log_file(),
                                   stderr=self.log_file(), start_new_session=True)

    def stop(self):
        # Whoever of them is slow to end must not stand in the next round's light.
        group = [p for p in procs.tree(self.process.pid) if p != self.process.pid]
        procs.stop(self.process)
        procs.wait_gone(group)


class Postfix(Chrooted):
    name = "postfix"
    packages, users = lab_peers.POSTFIX_PACKAGES, lab_peers.POSTFIX_USERS

    def start(self):
        inst = self.inst
        shutil.rmtree(self.dir + "/etc", ignore_errors=True)
        lab_peers.postfix_dirs(self.dir)
        conf = {
            "compatibility_level": "3.6",
            "queue_directory": f"{inst}/queue", "data_directory": f"{inst}/data",
            "command_directory": "/usr/sbin", "daemon_directory": "/usr/lib/postfix/sbin",
            "mail_owner": "postfix", "setgid_group": "postdrop", "default_privs": "nobody",
            "myhostname": "postfix.example", "mydestination": "", "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4", "mynetworks": "127.0.0.0/8", "alias_maps": "",
            "smtpd_peername_lookup": "no", "local_recipient_maps": "",
            "maillog_file": f"/var/log/{os.path.basename(inst)}.log", "maillog_file_prefixes": "/var",
            "smtpd_tls_security_level": "encrypt", "smtpd_tls_auth_only": "yes",
            "smtpd_tls_cert_file": f"{inst}/server.pem", "smtpd_tls_key_file": f"{inst}/server.key",
            "smtpd_sasl_auth_enable": "yes", "smtpd_sasl_type": "cyrus",
            "smtpd_sasl_path": "smtpd", "smtpd_sasl_local_domain": "bench",
            "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
            "message_size_limit": "40000000", "relayhost": f"[127.0.0.1]:{self.sink or 9}",
            "smtp_tls_security_level": "encrypt" if self.sink_tls else "none",
        }
        if not self.sink:
            conf["smtpd_sender_restrictions"] = "check_sender_access static:HOLD"
        self.write(f"{inst}/etc/main.cf", "".join(f"{k} = {v}\n" for k, v in conf.items()))
        self.write(f"{inst}/etc/master.cf", lab_peers.MASTER_CF.format(host="127.0.0.1", port=self.port))
        self.write("/etc/postfix/sasl/smtpd.conf",
                   "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN\n")
        self.tree.run("/usr/sbin/saslpasswd2", "-p", "-c", "-u", "bench", self.user,
                      input=self.secret.encode())
        shutil.chown(self.tree.path("/etc/sasldb2"), 20001)
        self.run("/usr/lib/postfix/sbin/master", "-d", "-c", f"{inst}/etc")

    def log(self):
        path = self.tree.path(f"/var/log/{os.path.basename(self.inst)}.log")
        text = super().log()
        if os.path.exists(path):
            with open(path, encoding="utf-8", errors="replace") as f:
                text += f.read()[-4000:]
        return text

    def stop(self):
        super().stop()
        try:
            os.unlink(self.tree.path(f"/var/log/{os.path.basename(self.inst)}.log"))
        except OSError:
            pass


EXIM_CONF = """
primary_hostname = exim.example
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
spool_directory = {inst}/spool
log_file_path = {inst}/%slog
pid_file_path =
exim_user = Debian-exim
exim_group = Debian-exim
tls_certificate = {inst}/server.pem
tls_privatekey = {inst}/server.key
tls_advertise_hosts = *
auth_advertise_hosts = ${{if def:tls_in_cipher{{*}}}}
message_size_limit = 40M
smtp_accept_max = 300
smtp_accept_queue_per_connection = 0
host_lookup =
rfc1413_query_timeout = 0s
acl_smtp_rcpt = rcpt
{held}
begin acl
rcpt:
  accept authenticated = *
  deny
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_condition = ${{if and{{{{eq{{$auth2}}{{{user}}}}}{{eq{{$auth3}}{{{secret}}}}}}}}}
  server_set_id = $auth2
begin routers
onward:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = onward
begin transports
onward:
  driver = smtp
  port = {sink}
  allow_localhost
  {tls}
begin retry
* * F,1h,15m
"""


class Exim(Chrooted):
    name = "exim"
    load_options = {"opening": 15}      # of 20 in its queue of new connections
    packages, users = ("exim4-daemon-light",), (("Debian-exim", 20011), ("mail", 20003))

    def start(self):
        for d in (self.dir, self.dir + "/spool"):
            os.makedirs(d, exist_ok=True)
            shutil.chown(d, 20011, 20011)
        for f in ("server.pem", "server.key"):
            shutil.chown(f"{self.dir}/{f}", 20011, 20011)
        self.write("/etc/exim4/exim4.conf", EXIM_CONF.format(
            port=self.port, inst=self.inst, user=self.user, secret=self.secret,
            sink=self.sink or 9, held="" if self.sink else "queue_only",
            tls="hosts_require_tls = *\n  tls_verify_certificates =\n  tls_verify_hosts =\n"
                "  tls_try_verify_hosts =" if self.sink_tls else "hosts_avoid_tls = *"))
        self.run("/usr/sbin/exim4", "-bdf")


SMTPD_CONF = """
listen on 127.0.0.1 port {port} hostname opensmtpd.example
action "onward" relay host {scheme}://127.0.0.1:{sink}
match from local for any action "onward"
"""


class OpenSMTPD(Chrooted):
    """Without TLS and AUTH: its key lives in a process of its own behind an engine, which Debian's
    OpenSSL 3 does not ask (missing private key, then alert 80, with RSA and ECDSA alike); and AUTH
    it offers under TLS only."""

    name = "opensmtpd"
    packages = ("opensmtpd",)
    users = (("opensmtpd", 20021), ("opensmtpq", 20022))
    # It announces no pipelining, and its queue of new connections holds five.
    load_options = {"no_pipelining": True, "opening": 4}
    tls, user = "none", None
    remark = "OpenSMTPD without TLS, AUTH and pipelining"

    def start(self):
        for d, mode in (("/var/spool/smtpd", 0o711), ("/var/lib/opensmtpd/empty", 0o755),
                        ("/var/run", 0o755)):
            shutil.rmtree(self.tree.path(d), ignore_errors=True)
            os.makedirs(self.tree.path(d), mode)
        self.write(f"{self.inst}/smtpd.conf", SMTPD_CONF.format(
            port=self.port, sink=self.sink or 9,
            scheme="smtp+tls" if self.sink_tls else "smtp+notls"), 0o600)
        paused = [] if self.sink else ["-P", "mta"]
        self.run("/usr/sbin/smtpd", "-d", "-f", f"{self.inst}/smtpd.conf", *paused)

"""What `meson install` brings, and that it runs as a service manager would run it: as a user, with
the right to open low ports and no other, and no program to start."""
import os
import pwd
import re
import shutil
import socket
import subprocess

from lab import paths, raw
from lab.lab import Skip, check, equal, reply
from lab.peers import free_ports, make_cert
from lab.raw import wait_for
from lab.signet import conf_text

BIND = 1 << 10                 # CAP_NET_BIND_SERVICE
NOBODY = pwd.getpwnam("nobody")


def install(lab):
    dest = lab.make_dir("dest")
    subprocess.run(["meson", "install", "-C", f"{paths.BUILD}/release", "--no-rebuild", "--quiet"], check=True,
                   env=dict(os.environ, DESTDIR=dest), stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    return dest


def setup(lab):
    return install(lab)


def test_what_is_installed(lab, dest):
    for f in ("sbin/signet", "lib/systemd/system/signet.service", "lib/sysusers.d/signet.conf",
              "lib/tmpfiles.d/signet.conf", "share/doc/signet/examples/signet.conf", "share/man/man8/signet.8",
              "share/man/man5/signet.conf.5", "share/bash-completion/completions/signet",
              "share/zsh/site-functions/_signet", "share/fish/vendor_completions.d/signet.fish",
              "share/doc/signet/operations.md"):
        check(os.path.exists(f"{dest}/usr/local/{f}"), f)
    check(os.access(f"{dest}/usr/local/sbin/signet", os.X_OK), "it can be run")
    found = [os.path.join(d, f) for d, _, files in os.walk(f"{dest}/etc") for f in files]
    found += [os.path.join(d, f) for d, _, files in os.walk(f"{dest}/usr/local/etc") for f in files]
    equal(len(found), 1, f"one configuration: {found}")
    with open(found[0], encoding="utf-8") as f, open(f"{paths.ROOT}/packaging/signet.conf",
                                                     encoding="utf-8") as g:
        equal(f.read(), g.read(), "the example")


def test_a_configuration_stays(lab, dest):
    """Installed again, over one that somebody has written."""
    again = lab.make_dir("again")
    shutil.copytree(dest, again, dirs_exist_ok=True)
    conf = next(os.path.join(d, f) for d, _, files in os.walk(again) for f in files
                if f == "signet.conf" and d.endswith("etc/signet"))
    with open(conf, "w", encoding="utf-8") as f:
        f.write("# mine\n")
    subprocess.run(["meson", "install", "-C", f"{paths.BUILD}/release", "--no-rebuild", "--quiet"], check=True,
                   env=dict(os.environ, DESTDIR=again), stdout=subprocess.DEVNULL)
    with open(conf, encoding="utf-8") as f:
        equal(f.read(), "# mine\n", "as it was")


def unit(lab, dest):
    """The unit with the program where it is here."""
    with open(f"{dest}/usr/local/lib/systemd/system/signet.service", encoding="utf-8") as f:
        text = f.read()
    check("ExecStart=/usr/local/sbin/signet serve" in text, "the program's place", text)
    path = os.path.join(lab.make_dir("unit"), "signet.service")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text.replace("=/usr/local/sbin/", f"={dest}/usr/local/sbin/"))
    return path


def analyze(*args):
    if not shutil.which("systemd-analyze"):
        raise Skip("systemd-analyze is not here")
    p = subprocess.run(["systemd-analyze", *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
                       env=dict(os.environ, LC_ALL="C.UTF-8"), check=False)    # its ticks are UTF-8
    return p.returncode, p.stdout.decode("utf-8", "replace")


def test_the_unit_is_sound(lab, dest):
    code, out = analyze("verify", "--man=no", "--recursive-errors=no", unit(lab, dest))
    equal((code, out.strip()), (0, ""), "verify")
    # It notices what is not sound.
    bad = unit(lab, dest)
    with open(bad, "a", encoding="utf-8") as f:
        f.write("[Service]\nRestrictNamespace=yes\n")
    check("RestrictNamespace" in analyze("verify", "--man=no", "--recursive-errors=no", bad)[1], "a slip of the pen")


def test_the_unit_is_hardened(lab, dest):
    code, out = analyze("security", "--offline=true", unit(lab, dest))
    m = re.search(r"Overall exposure level for signet.service: ([0-9.]+)", out)
    check(m and float(m.group(1)) <= 2.0, "exposure at most 2.0 of 10", out[-300:])
    for line in ("NoNewPrivileges=", "MemoryDenyWriteExecute=", "ProtectSystem=", "User=/DynamicUser=",
                 "SystemCallFilter=~@privileged", "RestrictNamespaces=~user"):
        check(re.search(rf"✓ {re.escape(line)}", out), line, out)


def test_user_and_directories(lab, dest):
    if os.geteuid() != 0 or not shutil.which("systemd-sysusers"):
        raise Skip("systemd-sysusers needs root, and to be here")
    root = lab.make_dir("root")
    os.makedirs(f"{root}/etc")
    for tool, args in (("sysusers", []), ("tmpfiles", ["--create"])):
        p = subprocess.run([f"systemd-{tool}", f"--root={root}", *args,
                            f"{dest}/usr/local/lib/{tool}.d/signet.conf"], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        equal(p.returncode, 0, p.stdout.decode())
    with open(f"{root}/etc/passwd", encoding="utf-8") as f:
        line = next(x for x in f if x.startswith("signet:"))
    uid, gid = (int(x) for x in line.split(":")[2:4])
    check(line.rstrip().endswith("/usr/sbin/nologin"), "no shell", line)
    for path, mode, owner in (("var/spool/signet", 0o700, uid), ("var/lib/signet", 0o700, uid)):
        st = os.stat(f"{root}/{path}")
        equal((st.st_mode & 0o7777, st.st_uid, st.st_gid), (mode, owner, gid), path)


# -- running --


class Manager:
    """The service manager's end: what it is told. In a directory that the user can reach, which the
    one of the tree may not be."""

    def __init__(self, lab, dir):
        self.path = os.path.join(dir, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o777)
        self.socket.settimeout(0)
        self.heard = []
        lab.at_end(self.socket.close)

    def hear(self):
        try:
            while True:
                self.heard.append(dict(x.split("=", 1) for x in self.socket.recv(4096).decode().split("\n")))
        except BlockingIOError:
            pass
        return self.heard

    def wait(self, count=1, **fields):
        return wait_for(f"{fields} {count} times in {self.heard}", 20,
                        lambda: (e := [h for h in self.hear() if fields.items() <= h.items()])[count - 1:] and e)


def low_ports(n):
    found = []
    for p in range(1023, 600, -1):
        with socket.socket() as k:
            try:
                k.bind(("127.0.0.1", p))
                found.append(p)
            except OSError:
                continue
        if len(found) == n:
            return found
    raise Skip("no low ports are free")


def place(lab, dest, options=None, owner=NOBODY.pw_uid):
    """A configuration and its directories, which the user owns, where that user can reach them."""
    if os.geteuid() != 0:
        raise Skip("needs root")
    import tempfile
    d = tempfile.mkdtemp(prefix="signet-335-")
    lab.at_end(lambda: shutil.rmtree(d, ignore_errors=True))
    os.chmod(d, 0o755)
    binary = f"{d}/signet"
    shutil.copy(f"{dest}/usr/local/sbin/signet", binary)
    s = lab.signet(bare=True, start=False, binary=binary)
    shutil.move(s.data, f"{d}/data")
    s.data, s.conf = f"{d}/data", f"{d}/signet.conf"
    cert, key = make_cert(d, stem="server")
    s.capture = f"{s.data}/capture"
    s.options = {"hostname": "signet.test", "data_dir": s.data, "control_socket": f"{d}/run/control",
                 "threads": 2, "spool": {"path": f"{s.data}/spool", "reserve": "64M"},
                 "tls": {"certificate": [cert], "key": [key]},
                 ("route", "capture"): {"domains": ["*"], "type": "capture", "path": s.capture}}
    s.options.update(options or {})
    s.write_conf()
    os.makedirs(f"{d}/run")
    for top, dirs, files in os.walk(d):
        for x in (top, *(os.path.join(top, f) for f in (*dirs, *files))):
            os.chown(x, owner, NOBODY.pw_gid)
    os.chmod(key, 0o600)
    return s, d


def rights(s):
    """Of every thread: what /proc says."""
    out = []
    pid = s.pid()
    for t in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{t}/status", encoding="utf-8") as f:
            out.append(dict(x.rstrip("\n").split(":\t", 1) for x in f if ":\t" in x))
    return out


def check_rights(s):
    threads = rights(s)
    check(len(threads) > 5, "threads", len(threads))
    for t in threads:
        equal({k: int(t[k], 16) for k in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")},
              {"CapInh": 0, "CapPrm": BIND, "CapEff": BIND, "CapBnd": BIND, "CapAmb": 0}, t["Name"])
        equal((t["NoNewPrivs"], t["Seccomp"]), ("1", "2"), f"{t['Name']}: no new privileges, a filter")
        equal(set(t["Uid"].split()) | set(t["Gid"].split()), {str(NOBODY.pw_uid), str(NOBODY.pw_gid)}, t["Name"])
        equal(t["Groups"].strip(), "", "no other groups")
    if shutil.which("getpcaps"):
        said = subprocess.run(["getpcaps", str(s.pid())], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              check=True).stdout.decode()
        check(re.search(r"cap_net_bind_service[=+]ep$", said.strip()), "getpcaps", said)


def relay(s, port):
    """A message through a port."""
    with raw.Raw(port) as c:
        c.ehlo()
        c.starttls()
        c.ehlo()
        reply(c.auth(s.key), "235 *")
        reply(c.message(s.sender, "you@example.com", raw.compose(s.sender, "you@example.com")), "250 *")


def test_as_the_unit_starts_it(lab, dest):
    """As the user from the start, with one capability in the ambient set; the manager is told."""
    a, b = low_ports(2)
    s, d = place(lab, dest, {("listener", "a"): {"address": [f"127.0.0.1:{a}"]}})
    manager = Manager(lab, d)
    s.env.update(NOTIFY_SOCKET=manager.path, WATCHDOG_USEC="1500000")
    s.wrap = ["setpriv", "--reuid=nobody", f"--regid={NOBODY.pw_gid}", "--clear-groups",
              "--inh-caps=-all,+net_bind_service", "--ambient-caps=-all,+net_bind_service",
              "--bounding-set=-all,+net_bind_service", "--no-new-privs"]
    s.start()
    manager.wait(READY="1", STATUS="at work")
    manager.wait(2, WATCHDOG="1")
    check_rights(s)
    s.furnish()
    relay(s, a)
    s.options[("listener", "b")] = {"address": [f"127.0.0.1:{b}"]}
    s.write_conf()
    # As ExecReload= does: the same user, the same program.
    p = subprocess.run([*s.wrap, s.binary, "reload", "--config", s.conf], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, timeout=30, check=False)
    equal(p.returncode, 0, p.stdout.decode())
    relay(s, b)
    e = manager.wait(RELOADING="1")[0]
    check(int(e["MONOTONIC_USEC"]) > 0, "when", e)
    manager.wait(READY="1", STATUS="at work, as it was reloaded")
    with open(s.conf, "a", encoding="utf-8") as f:
        f.write("limits {")
    equal(s.run("reload", check=False)[0], 78, "refused")
    wait_for("the manager to be told", 20, lambda: any(
        h.get("READY") == "1" and "reload refused: " in h.get("STATUS", "") for h in manager.hear()))
    check_rights(s)
    s.stop()
    manager.wait(STOPPING="1")


def test_started_as_root(lab, dest):
    """It becomes the user; the sockets that root opened are the user's, so that a reload may open one
    that overlaps; what only root can read, a reload says how to give away."""
    a, b = low_ports(2)
    s, d = place(lab, dest, {"user": "nobody", ("listener", "a"): {"address": [f"0.0.0.0:{a}"]}})
    s.start()
    check_rights(s)
    s.furnish()
    relay(s, a)
    s.options[("listener", "a")] = {"address": [f"127.0.0.1:{a}", f"127.0.0.1:{b}"]}
    s.write_conf()
    said = s.ctl("reload")
    equal((said["listeners_opened"], said["listeners_closed"]), (2, 1), "opened and closed")
    relay(s, a)
    relay(s, b)
    # An ACME client's directory, closed to all but root, behind a link.
    os.makedirs(f"{d}/acme/live", 0o755)
    os.makedirs(f"{d}/acme/archive", 0o700)
    cert, key = make_cert(f"{d}/acme/archive", "new.example", stem="one")
    for name, target in (("cert.pem", "one.pem"), ("key.pem", "one.key")):
        os.symlink(f"../archive/{target}", f"{d}/acme/live/{name}")
    s.options["tls"] = {"certificate": [f"{d}/acme/live/cert.pem"], "key": [f"{d}/acme/live/key.pem"]}
    s.write_conf()
    code, _, err = s.run("reload", check=False)
    equal(code, 78, err)
    check(f"user nobody may not enter {d}/acme/live/../archive (try on it: chgrp nogroup, chmod g+x)" in err,
          "what to do", err)
    os.chown(f"{d}/acme/archive", -1, NOBODY.pw_gid)
    os.chmod(f"{d}/acme/archive", 0o710)
    code, _, err = s.run("reload", check=False)
    check(code == 78 and "one.key (try on it: chgrp nogroup, chmod g+r)" in err, "and then", err)
    os.chown(key, -1, NOBODY.pw_gid)
    os.chmod(key, 0o640)
    equal(s.ctl("reload")["result"], "in use", "done")
    check_rights(s)
    s.stop()


def test_what_the_user_could_not_reload(lab, dest):
    """Root could read the key at the start; the user will not: that is said at once."""
    (a,) = free_ports(1)
    s, d = place(lab, dest, {"user": "nobody", ("listener", "a"): {"address": [f"127.0.0.1:{a}"]}})
    key = s.options["tls"]["key"][0]
    os.chown(key, 0, 0)
    s.start()
    e = s.wait_event("warning")[0]
    check(f"{key}: user nobody may not read that file" in e["about"] and "a reload" in e["about"], "said", e)
    s.stop()

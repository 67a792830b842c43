"""signet doctor: each finding is seen well and seen bad; nothing hangs, nothing is sent."""
import json
import os
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time

from lab.issuer import Issuer
from lab.lab import Skip, check, equal
from lab.peers import make_cert

TIMEOUT = 200
# Nobody answers there: what this machine's own name service says is not what is tested.
NO_DNS = {"dns": {"forward": ["127.0.0.1:9"], "timeout": "100ms"}}


def server(lab, options=None, **more):
    return lab.signet({"hostname": "localhost", "limits": {"connections": 100}, **NO_DNS,
                       **(options or {})}, bare=True, **more)


def doctor(s, *args, config=None, code=None):
    """The findings, and the exit code that goes with them."""
    began = time.monotonic()
    got, out, err = s.run("doctor", "--json", *args, check=False, config=config, timeout=150)
    equal(err, "", "nothing on standard error")
    found = json.loads(out)["findings"]
    worst = max(("ok", "skip", "warn", "fail").index(f["level"]) for f in found)
    equal(got, {2: 1, 3: 2}.get(worst, 0), "the exit code is the worst level's")
    if code is not None:
        equal(got, code, f"exit code; it found {found}")
    check(time.monotonic() - began < 100, "in time")
    return found


def has(found, level, what, why="", do=None):
    for f in found:
        if f["level"] == level and f["what"] == what and why in f["why"]:
            check(level not in ("warn", "fail") or do is None or do in f["do"], f"says: {do}", f)
            return f
    raise AssertionError(f"no {level} of {what}: {why!r} in\n" + "\n".join(map(str, found)))


def lacks(found, level, what):
    check(not [f for f in found if f["level"] == level and f["what"] == what],
          f"no {level} of {what}", *[f for f in found if f["what"] == what])


def variant(lab, s, **changes):
    """Another configuration for the same server: what doctor reads, and the server does not."""
    path = os.path.join(lab.make_dir("conf"), "signet.conf")
    options, own = dict(s.options), s.conf
    for k, v in changes.items():
        s.options[k] = v
    s.conf = path
    try:
        s.write_conf()
    finally:
        s.options, s.conf = options, own
    os.chmod(path, 0o600)
    return path


def test_all_is_well(lab):
    s = server(lab)
    lines = len(s.log_lines)
    found = doctor(s)
    for what, why in (("configuration", s.conf), ("server", "runs"), ("permissions", "master.key"),
                      ("permissions", "server.key"), ("disk", "are free"), ("sync", "median"),
                      ("spool", "nothing set aside"), ("limits", "descriptors"),
                      ("version", "OpenSSL"), ("certificate", "days left"),
                      ("listener", "STARTTLS, AUTH"), ("listener", "TLS from the first byte"),
                      ("relay", "refuses strangers"), ("hostname", "localhost"),
                      ("route", "captures mail")):
        has(found, "ok", what, why)
    equal(len([f for f in found if f["what"] == "relay" and f["level"] == "ok"]), 3, "each address")
    has(found, "skip", "dns", "no answer")
    for what in ("permissions", "disk", "listener", "relay", "route", "server"):
        lacks(found, "fail", what)
    equal(s.events("message_accepted"), [], "nothing was sent")
    check(len(s.log_lines) > lines, "it was there")
    # For the eye; and the exit code says the same.
    code, out, _ = s.run("doctor", check=False)
    check("ok    server: it runs" in out and code in (1, 2), "for the eye", out)
    s.stop()
    found = doctor(s)
    for what in ("server", "listener", "relay"):
        has(found, "skip", what)
        lacks(found, "fail", what)


def test_configuration_that_is_wrong(lab):
    s = server(lab, start=False)
    s.write_conf("nonsense = 1\n")
    has(doctor(s, code=2), "fail", "configuration", "nonsense")


def test_permissions(lab):
    s = server(lab, start=False)
    modes = ((s.conf, 0o622, 0o600), (os.path.join(s.data, "master.key"), 0o640, 0o600),
             (os.path.join(s.data, "signet.db"), 0o644, 0o600),
             (os.path.join(s.data, "spool"), 0o755, 0o700), (s.data, 0o750, 0o700),
             (s.options["tls"]["key"][0], 0o644, 0o640))
    for path, bad, _ in modes:
        os.chmod(path, bad)
    found = doctor(s, code=2)
    for path, _, good in modes:
        has(found, "fail", "permissions", path + ": mode", "chmod")
        os.chmod(path, good)
    found = doctor(s)
    for path, _, _ in modes:
        has(found, "ok", "permissions", path + ": mode")
    if os.getuid() == 0:
        path = variant(lab, s, user="nobody")
        has(doctor(s, config=path), "fail", "permissions", "the service is user", "chown")
        has(doctor(s, config=variant(lab, s, user="nobody-of-that-name")), "fail", "permissions",
            "there is no user")


def signed(directory, *, days, name="localhost", issuer=None, start=None):
    """A certificate that somebody else has signed (issuer: his paths), or oneself."""
    stem = f"c{len(os.listdir(directory))}"
    key, csr, cert = (os.path.join(directory, f"{stem}.{x}") for x in ("key", "csr", "pem"))
    ext = os.path.join(directory, f"{stem}.ext")
    with open(ext, "w", encoding="utf-8") as f:
        f.write(f"subjectAltName=DNS:{name}\nbasicConstraints=CA:TRUE\n")
    run = lambda *a: subprocess.run(["openssl", *a], check=True, stdout=subprocess.DEVNULL,
                                    stderr=subprocess.DEVNULL)
    run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
        "-out", csr, "-subj", f"/CN={name}-{stem}")
    by = ["-CA", issuer[0], "-CAkey", issuer[1], "-CAcreateserial"] if issuer else ["-signkey", key]
    run("x509", "-req", "-in", csr, "-out", cert, "-days", str(days), "-extfile", ext, *by)
    return cert, key


def test_certificates(lab):
    s = server(lab, start=False)
    d = lab.make_dir("certs")
    root = signed(d, days=100, name="root.example")
    middle = signed(d, days=100, name="middle.example", issuer=root)
    leaf = signed(d, days=60, issuer=middle)

    def bundle(*certs):
        path = os.path.join(d, f"bundle{len(os.listdir(d))}.pem")
        with open(path, "wb") as f:
            for c in certs:
                f.write(open(c, "rb").read())
        return path

    def look(cert, key, **more):
        s.options["tls"] = {"certificate": [cert], "key": [key]}
        s.write_conf()
        os.chmod(s.conf, 0o600)
        return doctor(s, **more)

    good = look(bundle(leaf[0], middle[0]), leaf[1])
    has(good, "ok", "certificate", "days left, 2 in the file")
    has(good, "warn", "certificate", "no authority that this system knows")
    lacks(good, "fail", "certificate")
    has(look(bundle(middle[0], leaf[0]), middle[1], code=2), "fail", "certificate", "out of order")
    has(look(leaf[0], middle[1], code=2), "fail", "certificate", "another certificate's")
    has(look(*signed(d, days=-1), code=2), "fail", "certificate", "expired", "renew")
    soon = look(*signed(d, days=10))
    has(soon, "warn", "certificate", "days left", "renew")
    has(soon, "warn", "certificate", "self-signed")
    has(look(*signed(d, days=2), code=2), "fail", "certificate", "days left")
    has(look(*signed(d, days=60, name="else.example"), code=2), "fail", "certificate",
        "none bears our name")


class Fake:
    """A server that says what it is told to; each connection in a thread of its own."""

    def __init__(self, lab, talk, cert=None):
        self.talk, self.heard = talk, []
        self.context = None
        if cert:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*cert)
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        lab.at_end(self.sock.close)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                c, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.one, args=(c,), daemon=True).start()

    def one(self, c):
        try:
            self.talk(self, c)
        except (OSError, ValueError):
            pass
        finally:
            c.close()


def smtp(f, c, implicit=False, greeting="220 localhost ESMTP", clear=(), inside=("AUTH PLAIN",),
         replies=None):
    """Says yes to everything that replies does not name."""
    if implicit:
        c = f.context.wrap_socket(c, server_side=True)
    lines = c.makefile("rwb")

    def put(text):
        lines.write(text.encode() + b"\r\n")
        lines.flush()

    put(greeting)
    tls = implicit
    while True:
        line = lines.readline().decode().strip()
        if not line:
            return
        f.heard.append(line)
        verb = line.split()[0].upper()
        if verb == "EHLO":
            words = list(inside if tls else clear)
            put("\r\n".join(["250-localhost"] + [f"250-{w}" for w in words] + ["250 HELP"]))
        elif verb == "STARTTLS":
            put("220 go")
            c = f.context.wrap_socket(c, server_side=True)
            lines, tls = c.makefile("rwb"), True
        elif verb == "QUIT":
            put("221 bye")
            return
        else:
            put((replies or {}).get(verb, "250 fine"))


def listen_at(s, lab, port, tls="implicit"):
    path = variant(lab, s, **{})
    options = {k: v for k, v in s.options.items() if not (isinstance(k, tuple) and k[0] == "listener")}
    options[("listener", "fake")] = {"address": [f"127.0.0.1:{port}"], "tls": tls}
    own, conf = s.options, s.conf
    s.options, s.conf = options, path
    try:
        s.write_conf()
    finally:
        s.options, s.conf = own, conf
    return path


def test_listeners_and_the_open_relay(lab):
    s = server(lab)
    cert = make_cert(lab.make_dir("cert"))

    def of(talk, tls, code=2, **more):
        f = Fake(lab, lambda me, c: talk(me, c, **more), cert)
        return f, doctor(s, config=listen_at(s, lab, f.port, tls), code=code)

    f, found = of(smtp, "implicit", implicit=True)
    has(found, "fail", "relay", "takes a stranger's mail", "stop the server")
    check("DATA" not in " ".join(f.heard) and "RSET" in f.heard, "nothing can be sent", f.heard)
    _, found = of(smtp, "implicit", implicit=True, replies={"MAIL": "530 no", "AUTH": "235 welcome"})
    has(found, "fail", "relay", "made-up key")
    _, found = of(smtp, "starttls", clear=("STARTTLS", "AUTH PLAIN"),
                  replies={"MAIL": "530 no", "AUTH": "535 no"})
    has(found, "fail", "relay", "before TLS")
    has(found, "ok", "listener")
    _, found = of(smtp, "starttls", replies={"MAIL": "530 no"})
    has(found, "fail", "listener", "no STARTTLS")
    _, found = of(smtp, "implicit", implicit=True, inside=(), replies={"MAIL": "530 no"})
    has(found, "fail", "listener", "AUTH is not offered")
    _, found = of(smtp, "starttls", greeting="554 go away")
    has(found, "fail", "listener", "554 go away")
    _, found = of(smtp, "starttls", code=1, greeting="220 other.example ESMTP", clear=("STARTTLS",),
                  replies={"MAIL": "530 no", "AUTH": "535 no"})
    has(found, "warn", "listener", "does not name")
    # Bytes for the terminal, and endless lines.
    _, found = of(smtp, "starttls", greeting="554 \x1b[31m" + "x" * 3000)
    check("\x1b" not in json.dumps(found) and "\\u001b" not in json.dumps(found), "escaped")
    # Nobody there at all; and, while the server is stopped, somebody who is not ours.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        has(doctor(s, config=listen_at(s, lab, port)), "fail", "listener", "refused")
    s.stop()
    f = Fake(lab, smtp)
    has(doctor(s, config=listen_at(s, lab, f.port)), "fail", "listener", "another program answers")


def test_who_hangs_is_a_finding(lab):
    s = server(lab)
    f = Fake(lab, lambda me, c: c.recv(1))
    began = time.monotonic()
    found = doctor(s, config=listen_at(s, lab, f.port, "starttls"), code=2)
    has(found, "fail", "listener", "greets with")
    has(found, "ok", "route")
    check(time.monotonic() - began < 60, "and the rest is looked at")


def test_routes(lab):
    s = server(lab, start=False)
    cert = make_cert(lab.make_dir("cert"))

    def route(port, **more):
        s.options[("route", "capture")] = {"domains": ["*"], "type": "smarthost", "host": "localhost",
                                           "port": port, **more}
        s.write_conf()
        os.chmod(s.conf, 0o600)
        return doctor(s)

    yes = Fake(lab, lambda me, c: smtp(me, c, clear=("STARTTLS",)), cert)
    plain = Fake(lab, smtp)
    has(route(plain.port, tls="none"), "ok", "route", "answers")
    has(route(plain.port, tls="must"), "fail", "route", "offers no STARTTLS")
    has(route(yes.port, tls="must"), "ok", "route")
    has(route(yes.port, tls="must-verify"), "fail", "route", "not to be trusted", "ca_file")
    has(route(yes.port, tls="must-verify", ca_file=cert[0]), "ok", "route", "who it should be")
    secret = os.path.join(lab.make_dir("secret"), "p")
    with open(secret, "w", encoding="utf-8") as f:
        f.write("x\n")
    os.chmod(secret, 0o600)
    bare = Fake(lab, lambda me, c: smtp(me, c, clear=("STARTTLS",), inside=()), cert)
    has(route(bare.port, tls="must", user="u", password_file=secret), "fail", "route", "no AUTH")
    has(route(yes.port, tls="must", user="u", password_file=secret), "ok", "route")
    os.chmod(secret, 0o644)
    has(route(yes.port, tls="must", user="u", password_file=secret), "fail", "permissions", secret)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        has(route(free.getsockname()[1], tls="none"), "fail", "route", "refused")
    s.options[("route", "capture")] = {"domains": ["*"], "type": "mx"}
    s.write_conf()
    os.chmod(s.conf, 0o600)
    found = doctor(s, code=2)
    has(found, "skip", "route", "not tried unasked")
    has(found, "fail", "dns", "no answer")
    s.options.pop(("route", "capture"))
    s.write_conf()
    os.chmod(s.conf, 0o600)
    has(doctor(s), "warn", "route", "every recipient is refused")


def test_issuers(lab):
    i = Issuer(lab)
    s = server(lab, start=False)
    secret = os.path.join(lab.make_dir("secret"), "s")
    with open(os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as f:
        f.write("mailrelay:secret\n")
    jwt = {"url": i.url, "audience": "mail", "timeout": "2s"}
    opaque = {**jwt, "kind": "opaque", "client_id": "mailrelay", "client_secret_file": secret}

    def asked(issuer):
        s.options[("issuer", "sso")] = issuer
        s.write_conf()
        os.chmod(s.conf, 0o600)
        return doctor(s)

    has(asked(jwt), "ok", "issuer", "sso publishes 2 keys")
    has(asked(opaque), "ok", "issuer", "sso answers us about tokens")
    has(asked({**opaque, "client_id": "nobody"}), "fail", "issuer", "client_id or its secret is wrong", "454")
    has(asked({**jwt, "url": i.url + "/else"}), "fail", "issuer", "status 404")
    os.chmod(secret, 0o644)
    has(asked(opaque), "fail", "issuer", "others may read it")
    i.stop()
    has(asked(jwt), "fail", "issuer", "sso: ", "454")


def test_a_slow_disk(lab):
    path = os.path.join(lab.make_dir("slow"), "ms")
    s = server(lab, start=False, env={"LD_PRELOAD": lab.build_shim("slow_disk"),
                                      "SLOW_DISK_FILE": path})
    for ms, level, do in ((0, "ok", None), (60, "warn", "faster disk"), (600, "fail", "faster disk")):
        with open(path, "wb") as f:
            f.write(struct.pack("<q", ms))
        f = has(doctor(s), level, "sync", "4 KiB are on the disk after", do)
        at_least = float(f["why"].split("after ")[1].split(" ms")[0])
        check(at_least >= ms, "the time is the disk's", f)


def test_the_clock(lab):
    s = server(lab, start=False, env={"LD_PRELOAD": lab.build_shim("time_kept")})
    for how, level, why, do in (("kept", "ok", "at most 12 ms off", None),
                                ("unsynced", "warn", "nothing keeps it", "chrony"),
                                ("error", "warn", "nothing keeps it", "chrony"),
                                ("denied", "skip", "the kernel does not say", None)):
        s.env["TIME_KEPT"] = how
        has(doctor(s), level, "clock", why, do)


def test_our_name_and_the_address_behind_it(lab):
    """Forward and reverse, by nss_wrapper."""
    hosts = os.path.join(lab.make_dir("hosts"), "hosts")
    lib = subprocess.run(["sh", "-c", "ls /usr/lib/*/libnss_wrapper.so"], check=True,
                         stdout=subprocess.PIPE).stdout.decode().split()[0]
    s = server(lab, start=False, env={"LD_PRELOAD": lib, "NSS_WRAPPER_HOSTS": hosts})
    s.options["hostname"] = "mail.shop.example"

    def names(text, mx=False):
        with open(hosts, "w", encoding="utf-8") as f:
            f.write(text)
        s.options[("route", "capture")] = ({"domains": ["*"], "type": "mx"} if mx else
                                           {"domains": ["*"], "type": "capture", "path": "caught"})
        s.write_conf()
        os.chmod(s.conf, 0o600)
        return doctor(s)

    found = names("127.0.0.1 mail.shop.example\n")
    has(found, "ok", "hostname", "mail.shop.example has an address")
    has(found, "ok", "reverse", "127.0.0.1 is called mail.shop.example")
    lacks(found, "warn", "hostname")
    # Who delivers by MX is refused for it; who does not is told.
    has(names("127.0.0.1 other.example mail.shop.example\n", mx=True), "fail", "reverse",
        "127.0.0.1 is called other.example, we say that we are mail.shop.example", "PTR")
    has(names("127.0.0.1 other.example mail.shop.example\n"), "skip", "reverse",
        "is called other.example")
    has(names("192.0.2.7 mail.shop.example\n"), "warn", "hostname", "192.0.2.7, which is none of",
        "NAT")
    has(names("192.0.2.7 else.example\n"), "warn", "hostname", "mail.shop.example: ", "A or AAAA")
    has(names("192.0.2.7 else.example\n", mx=True), "fail", "hostname", "mail.shop.example: ",
        "A or AAAA")


def test_disk_and_spool(lab):
    s = server(lab, start=False)
    s.options["spool"]["reserve"] = "1024G"
    s.write_conf()
    os.chmod(s.conf, 0o600)
    has(doctor(s, code=2), "fail", "disk", "the reserve", "make room")
    s.options["spool"]["reserve"] = "64M"
    s.options["limits"] = {"connections": 1000000}
    s.write_conf()
    os.chmod(s.conf, 0o600)
    notes = os.path.join(s.data, "spool/damaged/x.note")
    with open(notes, "w", encoding="utf-8") as f:
        f.write("0 AAAAAAAAAAAAAAAAAAAAAA x\nunsound\n")
    found = doctor(s)
    has(found, "warn", "spool", "1 records are set aside", "queue damaged")
    has(found, "warn", "limits", "descriptors", "LimitNOFILE")
    os.unlink(notes)
    shutil.rmtree(os.path.join(s.data, "spool"))
    has(doctor(s, code=2), "warn", "spool", "No such file")
    if not os.access("/dev/shm", os.W_OK):
        raise Skip("no file system in memory here")
    where = f"/dev/shm/signet-doctor-{os.getpid()}"
    os.mkdir(where, 0o700)
    lab.at_end(lambda: shutil.rmtree(where, ignore_errors=True))
    s.options["spool"]["path"] = where
    s.write_conf()
    os.chmod(s.conf, 0o600)
    has(doctor(s), "warn", "disk", "is in memory")

"""Another configuration takes the place of the one in use: as a whole or not at all, and nobody's
connection notices."""
import os
import signal
import socket
import ssl
import subprocess
import time

from lab import raw
from lab.badsink import Sink, Talk
from lab.lab import check, equal, reply
from lab.load import Load
from lab.peers import free_ports, make_cert, make_expired_cert
from lab.raw import wait_for


def reload(s, code=0, socket_path=None):
    """What `signet reload` says: the members of its answer, or the line on standard error."""
    more = ["--socket", socket_path] if socket_path else []
    got, out, err = s.run("reload", *more, "--json", check=False)
    equal(got, code, f"exit code; it said {out}{err}")
    if code:
        equal(len(err.strip().splitlines()), 1, f"one line: {err}")
        return err.strip()
    import json
    return json.loads(out)


def der(path):
    with open(path, encoding="ascii") as f:
        text = f.read()
    return ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN"):])


def served(port, name=None):
    """The certificate a new client gets at a port with implicit TLS."""
    context = raw.client_context()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as k:
        with context.wrap_socket(k, server_hostname=name) as t:
            return t.getpeercert(binary_form=True)


def send(c, s, subject="x", to="you@example.com"):
    reply(c.message(s.sender, to, raw.compose(s.sender, to, subject)), "250 *")


def configure(s, options):
    """The default configuration with these options on top."""
    from lab.signet import merge
    s.options = merge(s.default_options_again(), options)
    s.write_conf()


def fresh(lab, options=None, **more):
    s = lab.signet(options, **more)
    base = dict(s.options)
    s.default_options_again = lambda: {k: dict(v) if isinstance(v, dict) else v for k, v in base.items()}
    return s


def pair(lab, name="localhost", **more):
    return make_cert(lab.make_dir("cert"), name, **more)


def use_pair(cert, key):
    return {"tls": {"certificate": [cert], "key": [key]}}


# -- what is wrong keeps what was --


def wrong_ones(lab, s):
    """(what, options or text, what the line says)"""
    a, b = pair(lab, stem="a"), pair(lab, stem="b")
    d = lab.make_dir("files")
    junk, empty = f"{d}/junk.pem", f"{d}/half.pem"
    with open(junk, "w", encoding="ascii") as f:
        f.write("hello\n")
    with open(a[0], encoding="ascii") as f, open(empty, "w", encoding="ascii") as g:
        g.write(f.read()[:300])
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    held.listen()
    lab.at_end(held.close)
    taken = held.getsockname()[1]
    yield "syntax", "limits {\n", "ends inside a section"
    yield "unknown option", 'message_sise = "1"\n', "message_sise"
    yield "out of range", 'limits {\n  line = "1"\n}\n', "line"
    yield "key of another certificate", use_pair(a[0], b[1]), "b.key: key values mismatch"
    yield "no certificate there", use_pair(f"{d}/none.pem", a[1]), "none.pem: No such file"
    yield "no key there", use_pair(a[0], f"{d}/none.key"), "none.key: No such file"
    yield "no certificate in it", use_pair(junk, a[1]), "junk.pem"
    yield "half a certificate", use_pair(empty, a[1]), "half.pem"
    yield "a second pair that is wrong", {"tls": {"certificate": [a[0], b[0]], "key": [a[1], a[1]]}}, \
        "a.key: key values mismatch"
    yield "a port that is taken", {("listener", "more"): {"address": [f"127.0.0.1:{taken}"]}}, \
        f"127.0.0.1:{taken}: Address already in use"
    yield "no password there", {("route", "onward"): {
        "domains": ["x.example"], "host": "127.0.0.1", "user": "u", "password_file": f"{d}/none"}}, \
        "none: No such file"
    yield "no authorities there", {("route", "onward"): {
        "domains": ["x.example"], "host": "127.0.0.1", "ca_file": f"{d}/none.ca"}}, "none.ca"
    yield "a route for no domain", {("route", "onward"): {
        "domains": ["a b"], "host": "127.0.0.1"}}, "route onward: domains"


def test_what_is_wrong_changes_nothing(lab):
    s = fresh(lab)
    cert = s.options["tls"]["certificate"][0]
    before = s.login()
    spare = free_ports(1)[0]
    for i, (what, change, says) in enumerate(wrong_ones(lab, s), 1):
        if isinstance(change, str):
            s.options = s.default_options_again()
            s.write_conf()
            with open(s.conf, "a", encoding="utf-8") as f:
                f.write(change)
        else:
            # Something good along with it, which must not come either.
            configure(s, {("listener", "a-good"): {"address": [f"127.0.0.1:{spare}"]}, **change,
                          "hostname": "other.test"})
        said = reload(s, 75 if "taken" in what else 78)
        check(says in said, f"{what}: says {says}", said)
        e = s.wait_event("reload_refused", count=i)[-1]
        check(says in e["reason"] and e["cause"] == "control", f"{what}: the log says so", e)
        st = s.ctl("status", "--socket", os.path.join(s.data, "control"))
        check(st["reload_result"] == "refused" and says in st["reload_error"] and st["generation"] == 1,
              f"{what}: status says so", st)
        equal(served(s.ports["tls"]), der(cert), f"{what}: the old certificate")
        with raw.Raw(s.ports["submission"]) as c:
            check("signet.test" in c.greeting, f"{what}: the old name", c.greeting)
        try:
            socket.create_connection(("127.0.0.1", spare), timeout=5).close()
            check(False, f"{what}: no new listener")
        except ConnectionRefusedError:
            pass
        send(before, s, f"old {i}")
    configure(s, {"hostname": "other.test"})
    equal(reload(s)["result"], "in use", "and then it works")
    st = s.ctl("status")
    equal((st["reload_result"], st["reload_error"], st["generation"]), ("in use", "", 2), "status")
    send(before, s, "old at last")
    before.close()
    with raw.Raw(s.ports["submission"]) as c:
        check("other.test" in c.greeting, "the new name", c.greeting)


def test_a_file_that_cannot_be_read_at_all(lab):
    """The command finds the server all the same, where the file names the socket before its error."""
    s = fresh(lab)
    with open(s.conf, "a", encoding="utf-8") as f:
        f.write("limits {")
    check("ends inside" in reload(s, 78), "says so")
    s.wait_event("reload_refused")
    os.rename(s.conf, s.conf + ".away")
    check("No such file" in reload(s, 78, os.path.join(s.data, "control")), "says so")
    s.wait_event("reload_refused", count=2)
    os.rename(s.conf + ".away", s.conf)
    s.stop()
    check("ends inside" in reload(s, 78), "no server: then the file is the matter")


# -- certificates --


def test_new_certificate_for_new_sessions(lab):
    """A session goes on under the certificate and the limits it began with."""
    s = fresh(lab)
    old, new = der(s.options["tls"]["certificate"][0]), pair(lab, "new.example")
    c = s.login()
    clear = raw.Raw(s.ports["submission"])
    clear.ehlo()
    equal(c.sock.getpeercert(binary_form=True), old, "the old one")
    reply(c.cmd(f"MAIL FROM:<{s.sender}>"), "250 *")
    configure(s, dict(use_pair(*new), limits={"message": "64K"}))
    equal(reload(s)["result"], "in use", "result")
    equal(served(s.ports["tls"]), der(new[0]), "the new one for who comes now")
    # Whose TLS begins later began with the old one, too.
    clear.starttls()
    equal(clear.sock.getpeercert(binary_form=True), old, "a session that was there before")
    clear.close()
    reply(c.cmd("RCPT TO:<you@example.com>"), "250 *")
    reply(c.cmd("DATA"), "354 *")
    reply(c.data(raw.compose(s.sender, "you@example.com", "large", "x" * 70 + "\r\n" + ("y" * 70 + "\r\n") * 2000)),
          "250 *")
    check("SIZE 31457280" in c.ehlo(), "the old limit", "")
    c.close()
    with s.login() as d:
        check("SIZE 65536" in d.ehlo(), "the new limit")
        send(d, s, "small")
    s.wait_captured(2)


def test_expired_certificate_warns(lab):
    cert, key = make_expired_cert(lab.make_dir("cert"), "old.example", "old")
    s = fresh(lab)
    configure(s, use_pair(cert, key))
    said = reload(s)
    check(len(said["warnings"]) == 1 and "old.pem (old.example): expired 20" in said["warnings"][0]["warning"],
          "a warning", said)
    check("expired" in s.wait_event("warning")[0]["about"], "in the log")
    equal(served(s.ports["tls"]), der(cert), "and it is in use")
    s.restart()
    check("expired" in s.wait_event("warning", count=2)[1]["about"], "at the start, too")


def test_several_names(lab):
    s = fresh(lab)
    one, two = pair(lab, "one.example", stem="one"), pair(lab, "two.example", stem="two")
    for pairs, want in (((one, two), {"one.example": one, "two.example": two, "x.example": one}),
                        ((two, one), {"one.example": one, "two.example": two, "x.example": two}),
                        ((two,), {"one.example": two, "two.example": two})):
        configure(s, {"tls": {"certificate": [p[0] for p in pairs], "key": [p[1] for p in pairs]}})
        reload(s)
        for name, p in want.items():
            equal(served(s.ports["tls"], name), der(p[0]), f"{name} of {pairs}")


def test_tickets_go_on_with_the_same_certificate(lab):
    s = fresh(lab)
    context = raw.client_context(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)

    def resumes(session):
        with socket.create_connection(("127.0.0.1", s.ports["tls"]), timeout=10) as k:
            with context.wrap_socket(k, session=session) as t:
                t.recv(4096)
                return t.session, t.session_reused

    session, _ = resumes(None)
    configure(s, {"hostname": "other.test"})
    reload(s)
    equal(resumes(session)[1], True, "the same certificate")
    configure(s, use_pair(*pair(lab)))
    reload(s)
    equal(resumes(session)[1], False, "another one")


def live(lab):
    """certbot's way: live/ links into archive/; a renewal is new files, and links that move."""
    d = lab.make_dir("le")
    os.makedirs(f"{d}/archive")
    os.makedirs(f"{d}/live")

    def renew(n, parts=("cert", "key")):
        if not os.path.exists(f"{d}/archive/{n}.pem"):
            make_cert(f"{d}/archive", f"renewal{n}.example", stem=str(n))
        for part, name in (("cert", "pem"), ("key", "key")):
            if part in parts:
                os.symlink(f"../archive/{n}.{name}", f"{d}/live/.new")
                os.rename(f"{d}/live/.new", f"{d}/live/{part}.pem")
        return der(f"{d}/archive/{n}.pem")

    return f"{d}/live/cert.pem", f"{d}/live/key.pem", renew


def test_renewed_through_links(lab):
    cert, key, renew = live(lab)
    first = renew(1)
    s = fresh(lab, dict(use_pair(cert, key), tls={"certificate": [cert], "key": [key], "watch": "0s"}))
    equal(served(s.ports["tls"]), first, "the first")
    second = renew(2)
    equal(served(s.ports["tls"]), first, "nothing comes by itself")
    reload(s)
    equal(served(s.ports["tls"]), second, "the second")


def test_watched(lab):
    """Certificate and key of two renewals: the old pair stays, and one line says why."""
    cert, key, renew = live(lab)
    first = renew(1)
    s = fresh(lab, {"tls": {"certificate": [cert], "key": [key], "watch": "100ms"}})
    with open(s.conf, "a", encoding="utf-8") as f:
        f.write("limits {")        # the file is being edited: that is no matter here
    second = renew(2, ("cert",))
    e = s.wait_event("reload_refused")[0]
    check(e["cause"] == "certificates" and "key.pem: key values mismatch" in e["reason"], "why", e)
    equal(served(s.ports["tls"]), first, "the old one")
    st = s.ctl("status")["reload"]
    wait_for("it to try again", 10, lambda: s.ctl("status")["reload"] != st)
    wait_for("and again", 10, lambda: s.ctl("status")["reload"] > st)
    equal(len(s.events("reload_refused")), 1, "one line")
    renew(2)
    s.wait_event("reloaded", cause="certificates")
    equal(served(s.ports["tls"]), second, "the new one")
    equal(s.ctl("status")["generation"], 2, "once")


# -- listeners --


def test_listeners_come_and_go(lab):
    s = fresh(lab)
    a, b, c = free_ports(3)
    one = raw.Raw(s.ports["submission"])
    configure(s, {("listener", "a"): {"address": [f"127.0.0.1:{a}"], "tls": "implicit"},
                  ("listener", "bc"): {"address": [f"127.0.0.1:{b}", f"0.0.0.0:{c}"]}})
    said = reload(s)
    equal((said["listeners_opened"], said["listeners_closed"]), (3, 0), "opened")
    s.wait_event("listening", port=c)
    equal(served(a), der(s.options["tls"]["certificate"][0]), "one with TLS")
    two = raw.Raw(b)
    # From all addresses to one: it overlaps with what is open.
    configure(s, {("listener", "a"): {"address": [f"127.0.0.1:{a}"], "tls": "starttls"},
                  ("listener", "cc"): {"address": [f"127.0.0.1:{c}"]}})
    said = reload(s)
    equal((said["listeners_opened"], said["listeners_closed"]), (1, 2), "opened and closed")
    check("220 " in raw.Raw(a).greeting, "the other kind of TLS at the same address")
    check("220 " in raw.Raw(c).greeting, "the narrower one")
    try:
        raw.Raw(b)
        check(False, "closed")
    except ConnectionRefusedError:
        pass
    two.ehlo()
    two.starttls()
    two.ehlo()
    reply(two.auth(s.key), "235 *")
    send(two, s, "of a listener that is no more")
    two.close()
    one.ehlo()
    one.close()
    configure(s, {("listener", "relay"): None, ("listener", "tls"): None})
    equal(reload(s)["listeners_closed"], 4, "closed")
    with raw.Raw(s.ports["submission"]) as k:
        k.ehlo()
    s.wait_captured(1)


# -- routes --


def test_routes_change(lab):
    """A route that is the same keeps its connection; of one that changed, it ends."""
    keep, change = lab.peer("smarthost"), lab.peer("smarthost")
    other = lab.peer("smarthost")

    def route(domain, peer, **more):
        return dict({"domains": [domain], "type": "smarthost", "host": "127.0.0.1", "port": peer.port,
                     "tls": "none"}, **more)

    options = {("route", "keep"): route("keep.example", keep), ("route", "change"): route("change.example", change),
               "delivery": {"idle": "60s"}}
    s = fresh(lab, options)
    c = s.login()
    send(c, s, "one", "you@keep.example")
    send(c, s, "one", "you@change.example")
    keep.wait(1)
    change.wait(1)
    s.wait_empty()
    options[("route", "change")] = route("change.example", other)
    options[("route", "new")] = route("new.example", other)
    options["hostname"] = "other.test"
    configure(s, options)
    reload(s)
    wait_for("the connection of the changed route to end", 10, lambda: change.open == 0)
    for domain in ("keep", "change", "new"):
        with s.login() as d:
            send(d, s, "two", f"you@{domain}.example")
    keep.wait(2)
    other.wait(2)
    equal((keep.sessions, change.sessions), (1, 1), "connections")
    equal(keep.open, 1, "the kept one is still open")
    # Who began before the reload knows the old routes.
    r = c.cmd(f"MAIL FROM:<{s.sender}>")
    reply(r, "250 *")
    c.close()
    # Gone altogether: its mail waits, and goes when there is a route again.
    s.wait_empty()
    options.pop(("route", "new"))
    options[("route", "capture")] = None
    configure(s, options)
    with s.login() as before:
        reload(s)
        send(before, s, "three", "you@new.example")
    with s.login() as d:
        reply(d.cmd(f"MAIL FROM:<{s.sender}>"), "250 *")
        reply(d.cmd("RCPT TO:<you@new.example>"), "550 5.4.4 *")
    equal(s.count()["messages"], 1, "it waits")


def test_password_of_a_route(lab):
    """The file's content is what counts, not its name."""
    peer = lab.peer("smarthost", user="u", password="second", tls=True)
    d = lab.make_dir("password")
    path = f"{d}/password"

    def write(text):
        with open(path, "w", encoding="ascii") as f:
            f.write(text + "\n")
        os.chmod(path, 0o600)

    write("first")
    s = fresh(lab, {("route", "capture"): {"domains": ["*"], "type": "smarthost", "host": "127.0.0.1",
                                           "port": peer.port, "tls": "must", "user": "u", "password_file": path,
                                           "path": None},
                    "retry": {"first": "200ms", "max": "200ms"}})
    s.know_secret("second")
    with s.login() as c:
        send(c, s)
    s.wait_event("attempt", result="failed")
    write("second")
    reload(s)
    peer.wait(1)


# -- the rest --


def test_what_waits_for_a_restart(lab):
    s = fresh(lab)
    configure(s, {"threads": 3, "hostname": "other.test", "spool": {"segment": "32M", "body_memory": "512K"},
                  "control_socket": os.path.join(s.data, "other")})
    here = os.path.join(s.data, "control")
    said = reload(s, socket_path=here)
    equal(said["restart_needed_for"], "control_socket, threads, spool.segment", "named")
    equal(s.wait_event("reloaded")[0]["restart_needed_for"], "control_socket, threads, spool.segment", "log")
    equal(s.ctl("status", "--socket", here)["restart_needed_for"], "control_socket, threads, spool.segment",
          "status")
    with raw.Raw(s.ports["submission"]) as c:
        check("other.test" in c.greeting, "the rest is in use", c.greeting)
    s.restart()
    equal(s.ctl("status")["restart_needed_for"], "", "nothing waits")


def test_sighup(lab):
    s = fresh(lab)
    new = pair(lab)
    configure(s, use_pair(*new))
    os.kill(s.pid(), signal.SIGHUP)
    s.wait_event("reloaded", cause="signal")
    equal(served(s.ports["tls"]), der(new[0]), "the new one")
    configure(s, use_pair(new[0], "/nonexistent"))
    os.kill(s.pid(), signal.SIGHUP)
    s.wait_event("reload_refused", cause="signal")
    equal(s.ctl("status", "--socket", os.path.join(s.data, "control"))["reload_cause"], "signal", "status")
    equal(served(s.ports["tls"]), der(new[0]), "still the new one")


def test_many_at_once(lab):
    """Everybody who asks gets a verdict on what was there when they asked, or later."""
    s = fresh(lab)
    ps = [subprocess.Popen([s.binary, "reload", "--config", s.conf], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE) for _ in range(12)]
    for p in ps:
        out, err = p.communicate(timeout=30)
        equal((p.returncode, err), (0, b""), "verdict")
        check(b"in use" in out, "said", out)
    check(2 <= s.ctl("status")["generation"] <= 13, "some of them shared one")


def test_at_the_end(lab):
    """Reloads and SIGTERM cross: it ends as ever."""
    s = fresh(lab)
    for i in range(20):
        os.kill(s.pid(), signal.SIGHUP)
        if i == 15:
            s.terminate()
    s.stop()


def test_under_load(lab):
    """Good and bad certificates by turns while clients send and others come: no handshake fails, no
    session drops."""
    s = fresh(lab)
    good = [pair(lab, f"good{i}.example", stem=f"g{i}") for i in range(2)]
    load = Load(s, n=3, run="reload")
    lab.at_end(load.stop)
    load.until(50, 30)
    known = {der(g[0]) for g in good} | {der(s.options["tls"]["certificate"][0])}
    n, handshakes = 0, 0
    while n < 24:
        if n % 2:
            configure(s, use_pair(good[0][0], good[1][1]))
            reload(s, 78)
        else:
            configure(s, use_pair(*good[n // 2 % 2]))
            reload(s)
        n += 1
        at = time.monotonic() + 0.2
        while time.monotonic() < at:
            check(served(s.ports["tls"]) in known, "one of ours")
            handshakes += 1
            load.pump(0.01)
    acked = len(load.acked)
    load.until(acked + 50, 30)
    equal(load.errors, [], "errors of the senders")
    equal(s.events("tls_failed"), [], "failed handshakes")
    print(f"note: {n} reloads, {handshakes} handshakes, {acked} messages")
    load.stop()
    s.wait_empty(60)
    # Nobody holds what is no more in use: the sessions that began with the first are gone now.
    check(s.ctl("status")["generation"] >= 1 + n // 2, "generations")


def test_the_end_of_a_route_that_is_gone(lab):
    """A delivery hangs at a route that a reload has taken away when the server ends."""
    hop = Sink("127.0.0.1", free_ports(1)[0], {"dot": Talk.hang}, tls=False)
    lab.at_end(hop.stop)
    gone = {"domains": ["gone.example"], "type": "smarthost", "host": "127.0.0.1", "port": hop.port, "tls": "none"}
    # Whoever looks at what was freed sees no sense there.
    s = fresh(lab, {("route", "gone"): gone, "limits": {"shutdown_grace": "100ms"}},
              env={"MALLOC_PERTURB_": "165", "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"})
    with s.login() as c:
        send(c, s, to="you@gone.example")
        wait_for("the message to be under way", 20, lambda: hop.sessions and hop.asked)
        configure(s, {("route", "gone"): None})
        reload(s)
    s.stop()
    s.start()
    s.wait_empty()
    equal(len(s.captured()), 1, "it goes where the routes lead now")

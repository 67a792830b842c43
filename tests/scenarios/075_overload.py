"""Bad company in numbers: those who behave still send, memory stays within its bound, and the
server is at rest when the flood is over.

CI's numbers are small; `./dev torture overload` runs the same with ten times as many."""
import json
import os
import signal
import subprocess
import threading
import time

from lab import paths
from lab.lab import check, equal, reply
from lab.raw import wait_for

TIMEOUT = 300
SCALE = int(os.environ.get("SIGNET_OVERLOAD", "1"))
SECONDS = 6 * (1 + SCALE // 5)


class Flood:
    """One kind of bad company, as a process of tests/bench/flood.c."""

    def __init__(self, lab, port, mode, connections, **more):
        exe = os.path.join(lab.dir, "flood")
        if not os.path.exists(exe):
            subprocess.run(["gcc", "-std=c17", "-D_GNU_SOURCE", "-O2", "-o", exe,
                            f"{paths.TESTS}/bench/flood.c", "-lssl", "-lcrypto"], check=True)
        argv = [exe, "--port", str(port), "--mode", mode, "--connections", str(connections),
                "--seconds", "120"]
        for k, v in more.items():
            argv += [f"--{k}", str(v)]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        preexec_fn=paths.die_with())

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return json.loads(self.process.communicate(timeout=30)[0])


class Good:
    """Clients that behave: `n` threads; each logs in anew for every few messages."""

    def __init__(self, s, n=4, each=5):
        self.s, self.each, self.sent, self.logins, self.errors = s, each, [], [], []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(n)]
        for t in self.threads:
            t.start()

    def run(self):
        try:
            while not self.over.is_set():
                at = time.monotonic()
                with self.s.login(door="tls") as c:
                    self.logins.append(time.monotonic() - at)
                    for _ in range(self.each):
                        at = time.monotonic()
                        reply(c.message(self.s.sender, "you@example.com",
                                        f"From: {self.s.sender}\r\n\r\nhi\r\n"), "250 2.0.0 *")
                        self.sent.append(time.monotonic() - at)
                        time.sleep(0.01)
        except Exception as e:  # pylint: disable=broad-except  # told below
            self.errors.append(f"{type(e).__name__}: {e}")

    def end(self):
        self.over.set()
        for t in self.threads:
            t.join(60)
        check(not self.errors, "a client that behaved was turned away", *self.errors)
        return p99(self.sent), p99(self.logins), len(self.sent)


def p99(x):
    return sorted(x)[max(0, int(len(x) * 0.99) - 1)] * 1000 if x else float("nan")


def memory(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return next(int(x.split()[1]) for x in f if x.startswith("RssAnon")) // 1024


def cpu(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        x = f.read().rsplit(") ", 1)[1].split()
    return (int(x[11]) + int(x[12])) / os.sysconf("SC_CLK_TCK")


def used_in_a_second(pid):
    before = cpu(pid)
    time.sleep(1)
    return cpu(pid) - before


def under(lab, mode, door, connections, most_mb, **more):
    s = lab.signet({"limits": {"connections": 10000}})
    before = memory(s.pid())
    flood = Flood(lab, s.ports[door], mode, connections, **more)
    time.sleep(1)
    good, used, most = Good(s), cpu(s.pid()), 0
    for _ in range(SECONDS * 5):
        time.sleep(0.2)
        most = max(most, memory(s.pid()))
    message, login, n = good.end()
    used = cpu(s.pid()) - used
    told = flood.end()
    print(f"note: {mode}: {told['opened']} connections, {told['most_open']} at once; {n} messages, "
          f"p99 {message:.0f} ms; p99 login {login:.0f} ms; {most - before} MB more; "
          f"server {used / SECONDS * 100:.0f} % CPU")
    check(n > 20, "clients that behave still send", n)
    check(most - before < most_mb, "memory stays within its bound (MB)", most - before)
    time.sleep(1)
    wait_for("rest when it is over", 60, lambda: used_in_a_second(s.pid()) < 0.2)


def test_a_loop_for_each_core(lab):
    """Of those that it may use, and not of a machine with more than there can be loops."""
    env = {"LD_PRELOAD": lab.build_shim("cores")}
    for cores, loops in ((1, 1), (3, 3), (200, 64)):
        s = lab.signet({"threads": 0}, env={**env, "CORES": str(cores)})
        equal(s.wait_event("started")[0]["threads"], loops, f"with {cores} cores")
        with s.login() as c:
            reply(c.message(s.sender, "you@example.com", f"From: {s.sender}\r\n\r\nhi\r\n"), "250 2.0.0 *")
        s.wait_empty()
        s.stop()


def test_places_are_for_those_who_log_in(lab):
    """With all places taken the oldest stranger goes; nobody who has logged in does."""
    s = lab.signet({"threads": 1, "limits": {"connections": 4}})
    strangers = [s.raw() for _ in range(3)]
    first = s.login()
    with s.raw() as fifth:
        fifth.ehlo()
        reply(strangers[0].reply(), "421 4.4.2 *", "the oldest is told so")
        check(strangers[0].closed(), "and closed")
        for c in (fifth, *strangers[1:]):
            reply(c.cmd("NOOP"), "250 2.0.0 Ok", "the younger ones stay")
    known = [first]
    for c in strangers[1:]:
        c.close()
    while len(known) < 4:
        known.append(s.login())
    for _ in range(2):
        with s.raw("starttls", greet=False) as late:
            reply(late.reply(), "421 4.7.0 Too many connections, try again later")
            check(late.closed(), "closed")
    for c in known:
        reply(c.message(s.sender, "you@example.com", f"From: {s.sender}\r\n\r\nhi\r\n"),
              "250 2.0.0 *")
        c.close()


def put_out(s, n):
    gone = s.wait_event("connection_refused", reason="connections_oldest", count=n)
    return sorted(e["client"] for e in gone)


def test_places_are_for_all_loops(lab):
    """Whichever loop a newcomer comes to, it is the oldest stranger of all who goes, in a burst, too, until
    only those are left who have logged in."""
    n = 40
    s = lab.signet({"threads": 4, "limits": {"connections": n}})
    strangers = [s.raw(source=f"127.0.2.{k + 1}") for k in range(n)]
    burst = [s.raw(source=f"127.0.3.{k + 1}", greet=False) for k in range(n // 2)]
    equal(put_out(s, n // 2), sorted(f"127.0.2.{k + 1}" for k in range(n // 2)), "the older half")
    for c in strangers[n // 2:]:
        reply(c.cmd("NOOP"), "250 2.0.0 Ok", "the younger ones stay")
    for c in burst:
        c.close()
    s.wait_event("connection_closed", count=n)
    known = [s.login(source=f"127.0.4.{k + 1}") for k in range(n)]
    equal(len(put_out(s, n)), n)
    for c in strangers:
        check(c.reply().startswith("421 4.4.2 ") and c.closed(), "told, and closed")
    with s.raw("starttls", greet=False) as late:
        reply(late.reply(), "421 4.7.0 Too many connections, try again later")
    s.wait_event("connection_refused", reason="connections")
    for c in known:
        reply(c.cmd("NOOP"), "250 2.0.0 Ok", "who has logged in stays")
        c.close()


def test_a_limit_that_is_lowered(lab):
    """What is too much then goes, when somebody comes."""
    s = lab.signet({"threads": 2, "limits": {"connections": 30}})
    many = [s.raw(source=f"127.0.2.{k + 1}") for k in range(30)]
    s.options["limits"]["connections"] = 10
    s.write_conf()
    s.ctl("reload")
    late = [s.raw(source=f"127.0.3.{k + 1}") for k in range(2)]
    equal(put_out(s, 22), sorted(f"127.0.2.{k + 1}" for k in range(22)))
    for c in many[22:] + late:
        reply(c.cmd("NOOP"), "250 2.0.0 Ok", "as many as there may be")
        c.close()
    for c in many[:22]:
        c.close()


def test_nobody_goes_for_one_who_is_sent_away(lab):
    s = lab.signet({"threads": 2, "limits": {"connections": 4, "connections_per_address": 2}})
    there = [s.raw(source=f"127.0.2.{k // 2 + 1}") for k in range(4)]
    for _ in range(3):
        with s.raw("starttls", source="127.0.2.1", greet=False) as third:
            reply(third.reply(), "421 4.7.0 Too many connections from your address")
    for c in there:
        reply(c.cmd("NOOP"), "250 2.0.0 Ok", "nobody has gone")
        c.close()


def test_a_byte_every_ten_seconds(lab):
    under(lab, "trickle", "submission", 1000 * SCALE, 100 * SCALE, sources=100)


def test_clients_that_never_read(lab):
    under(lab, "noread", "submission", 200 * SCALE, 100 * SCALE, sources=100)


def test_half_of_a_handshake(lab):
    under(lab, "halftls", "tls", 500 * SCALE, 100 * SCALE, sources=100)


def test_handshakes_without_end(lab):
    under(lab, "handshake", "tls", 50 * SCALE, 100 * SCALE, sources=100)


def test_hellos_without_end(lab):
    under(lab, "hello", "tls", 50 * SCALE, 100 * SCALE, sources=100)

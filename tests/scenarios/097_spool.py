"""One spool, one server; what is damaged is set aside, and everything else goes on."""
import glob
import http.client
import json
import os
import resource
import socket
import subprocess
from datetime import datetime

from lab.lab import check, equal, reply
from lab.raw import wait_for

TIMEOUT = 200
NOWHERE = {("route", "capture"): None,
           ("route", "nowhere"): {"domains": ["*"], "type": "smarthost", "host": "127.0.0.1",
                                  "port": 9, "tls": "none"},
           "retry": {"first": "100ms", "max": "200ms"}}


def capture_again(s):
    del s.options[("route", "nowhere")]
    s.options[("route", "capture")] = {"domains": ["*"], "type": "capture", "path": s.capture}
    s.write_conf()


def fill(s, n, size=2000):
    body = ("x" * 70 + "\r\n") * (size // 72)
    ids = []
    with s.login() as c:
        for i in range(n):
            r = c.message(s.sender, f"r{i}@example.com",
                          f"From: {s.sender}\r\nSubject: mark-{i:03d}-\r\n\r\nbody-{i:03d}-\r\n{body}")
            reply(r, "250 2.0.0 Ok: queued as *")
            ids.append(r.split()[-1])
    return ids


def spool_file_with(s, text):
    for path in sorted(glob.glob(os.path.join(s.data, "spool", "**"), recursive=True)):
        if os.path.isfile(path):
            with open(path, "rb") as f:
                at = f.read().find(text)
            if at >= 0:
                return path, at
    raise AssertionError(f"no spool file contains {text!r}")


def flip(s, text):
    path, at = spool_file_with(s, text)
    with open(path, "r+b") as f:
        f.seek(at)
        b = f.read(1)
        f.seek(at)
        f.write(bytes([b[0] ^ 0x10]))
    return path


def test_second_serve_is_refused(lab):
    s = lab.signet()
    p = subprocess.run([s.binary, "serve", "--config", s.conf], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=s.environment(),
                       timeout=20, check=False)
    check(p.returncode != 0, "refused")
    check(len(p.stderr.decode().strip().splitlines()) <= 2, "said in a line", p.stderr)
    with s.login() as c:
        reply(c.message(s.sender, "you@example.com", f"From: {s.sender}\r\n\r\nhi\r\n"), "250 *")
    s.wait_captured(1)


def test_second_serve_after_kill_is_not(lab):
    s = lab.signet()
    s.kill()
    s.start()


def test_damaged_record_is_set_aside(lab):
    s = lab.signet(NOWHERE)
    ids = fill(s, 20)
    s.stop()
    flip(s, b"body-007-")
    capture_again(s)
    s.start()
    s.wait_captured(19)
    wait_for("the damage to be counted", 10, lambda: s.count()["damaged"] == 1)
    rows = s.ctl("queue", "damaged")["damaged"]
    check(len(rows) == 1 and rows[0]["where"] and rows[0].get("id") in (None, ids[7]), "listed", rows)
    check(not any(b"mark-007-" in m for m in s.captured()), "never delivered")
    check(s.events("spool_damaged"), "in the log")


def test_every_later_message_survives_damage_in_the_first(lab):
    s = lab.signet(NOWHERE)
    fill(s, 10)
    s.kill()
    flip(s, b"mark-000-")
    capture_again(s)
    s.start()
    s.wait_captured(9)
    check(not any(b"mark-000-" in m for m in s.captured()), "never delivered")


def test_cut_file(lab):
    """A tail cut off, as after a power cut: what came before is there."""
    s = lab.signet(NOWHERE)
    fill(s, 10)
    s.kill()
    path, at = spool_file_with(s, b"body-009-")
    with open(path, "r+b") as f:
        f.truncate(at + 3)
    capture_again(s)
    s.start()
    got = s.wait_captured(9)
    equal(len([m for m in got if b"mark-00" in m]), 9, "messages")


def test_salvage(lab):
    s = lab.signet(NOWHERE)
    fill(s, 12)
    s.stop()
    flip(s, b"body-005-")
    old, new = os.path.join(s.data, "spool"), os.path.join(s.data, "spool.new")
    out = s.run("spool", "salvage", old, new)
    check("11" in out and "1" in out, "copied and lost are told", out)
    os.rename(old, old + ".old")
    os.rename(new, old)
    capture_again(s)
    s.start()
    s.wait_captured(11)
    equal(s.count()["damaged"], 0, "the new spool is sound")


def test_spool_is_private(lab):
    s = lab.signet()
    fill(s, 1)
    for root, dirs, files in os.walk(os.path.join(s.data, "spool")):
        for n in [root] + [os.path.join(root, x) for x in dirs + files]:
            check(os.lstat(n).st_mode & 0o077 == 0, n, oct(os.lstat(n).st_mode))


class Control(http.client.HTTPConnection):
    """A connection to the control socket that is open already."""

    def __init__(self, s):
        super().__init__("localhost", timeout=20)
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(os.path.join(s.data, "control"))

    def get(self, path):
        self.request("GET", path)
        return json.loads(self.getresponse().read())


def body_file(s):
    fds = f"/proc/{s.pid()}/fd"
    for n in os.listdir(fds):
        try:
            name = os.readlink(f"{fds}/{n}")
        except FileNotFoundError:
            continue
        if "/spool/" in name and name.endswith("(deleted)"):
            return name
    return None


def test_what_cannot_be_read_now_is_read_later(lab):
    """No descriptor is left for the file a body is in: the message comes again, and before the next start."""
    s = lab.signet()
    held = Control(s)
    with s.login() as c:
        reply(c.cmd(f"MAIL FROM:<{s.sender}>"), "250 *")
        reply(c.cmd("RCPT TO:<you@example.com>"), "250 *")
        reply(c.cmd("DATA"), "354 *")
        c.send((f"From: {s.sender}\r\n\r\n" + "many words\r\n" * 60000).encode())
        wait_for("the body to be in a file", 20, lambda: body_file(s))
        soft, hard = resource.prlimit(s.pid(), resource.RLIMIT_NOFILE)
        resource.prlimit(s.pid(), resource.RLIMIT_NOFILE, (3, hard))
        reply(c.cmd("."), "250 *")

        def again():
            r = held.get("/control/queue")["messages"][0]
            wait = datetime.fromisoformat(r["next"]) - datetime.fromisoformat(r["accepted"])
            return not r["under_way"] and wait.total_seconds() > 10

        wait_for("it to have been looked at, and put back", 20, again)
        resource.prlimit(s.pid(), resource.RLIMIT_NOFILE, (soft, hard))
    equal(s.events("message_unreadable"), [], "it is no damage")
    held.close()

"""signet backup and restore: every message acknowledged before the backup began is in it, whole;
what is cut short, altered or too new is refused; mail goes on, whatever becomes of the copy."""
import hashlib
import os
import shutil
import signal
import subprocess
import tarfile
import threading
import time

from lab import paths
from lab.lab import Skip, check, equal
from lab.raw import wait_for

TIMEOUT = 240


def onward(port, **more):
    return {("route", "capture"): None,
            ("route", "onward"): {"domains": ["*"], "type": "smarthost", "host": "127.0.0.1",
                                  "port": port, "tls": "none"},
            "retry": {"first": "10m", "max": "10m"}, **more}


def restored(lab, s, backup, *args, port=None, **more):
    """A server on what `signet restore` makes of a backup."""
    r = lab.signet(start=False, bare=True)
    shutil.rmtree(r.data)
    out = r.run("restore", backup, "--data", r.data, "--json", *args)
    if not os.path.exists(os.path.join(r.data, "master.key")):
        shutil.copy(os.path.join(s.data, "master.key"), r.data)
    # The same service in another place.
    for k, v in onward(port).items():
        if v is None:
            r.options.pop(k, None)
        else:
            r.options[k] = v
    r.write_conf()
    r.secrets = s.secrets
    r.key = s.key
    return r, out


def refused(s, code, text, *args):
    got, _, err = s.run(*args, check=False)
    equal(got, code, f"exit code; it said {err}")
    check(text in err, f"says {text!r}", err)


class Sending(threading.Thread):
    """Messages of two recipients: the first is taken at once, the second deferred; every third has
    only the first. Every seventh has a body that goes to a file."""

    def __init__(self, s, name):
        super().__init__(daemon=True)
        self.s, self.name_, self.acked, self.over, self.failed = s, name, {}, False, None

    def run(self):
        try:
            with self.s.login() as c:
                n = 0
                while not self.over:
                    mark = f"{self.name_}-{n:05d}"
                    size = 3000 if n % 7 == 0 else 10
                    body = f"mark-{mark}-\r\n" + ("y" * 70 + "\r\n") * size
                    to = [f"taken-{mark}@example.com", f"later-{mark}@example.net"]
                    r = c.message(self.s.sender, to[:1 if n % 3 == 0 else 2],
                                  f"From: {self.s.sender}\r\nSubject: {mark}\r\n\r\n{body}")
                    if r.code == 250:
                        self.acked[r.split()[-1]] = (mark, time.monotonic(),
                                                     hashlib.sha256(body.encode()).hexdigest())
                    n += 1
        except Exception as e:  # pylint: disable=broad-except  # told below
            self.failed = e


def body_of(data):
    return data.split(b"\r\n\r\n", 1)[1]


def test_under_load_nothing_is_missing(lab):
    def later(e):
        return None if open_now else "451 4.3.0 later"

    open_now = False
    h = lab.peer("smarthost", replies={"RCPT": None})
    h.answer = lambda what, e: later(e) if what.startswith("later-") else None
    s = lab.signet(onward(h.port, spool={"path": os.path.join(lab.dir, "sp"), "reserve": "64M",
                                         "segment": "1M", "body_memory": "64K"},
                          limits={"header_size": "32K"}, retry={"first": "1s", "max": "2s"}))
    senders = [Sending(s, f"s{i}") for i in range(3)]
    for t in senders:
        t.start()
    wait_for("some mail", 30, lambda: sum(len(t.acked) for t in senders) > 150)
    check(os.listdir(os.path.join(lab.dir, "sp/large")), "bodies in files")
    where = os.path.join(lab.dir, "backup")
    began = time.monotonic()
    before = {i: v for t in senders for i, v in list(t.acked.items()) if v[1] < began}
    said = s.ctl("backup", where, "--with-secrets")
    ended = time.monotonic()
    wait_for("mail to go on", 30,
             lambda: any(v[1] > ended for t in senders for v in list(t.acked.values())))
    for t in senders:
        t.over = True
    for t in senders:
        t.join(30)
        check(not t.failed, "the sender", t.failed)
    everything = {i: v for t in senders for i, v in t.acked.items()}
    check(not os.path.exists(os.path.join(lab.dir, "sp/backup")), "the cut is gone")
    check(len(said["sha256"]) == 64 and said["left_out"] == 0, "what it says", said)

    h2 = lab.peer("smarthost")
    r, out = restored(lab, s, where, "--expect", said["sha256"], port=h2.port)
    r.start()
    listed = {m["id"] for m in r.ctl("queue", "list", "--limit", "10000")["messages"]}
    delivered = {x: at for at, x, ok in h.attempts if x.startswith("taken-") and not ok}
    missing = [v[0] for i, v in before.items() if i not in listed]
    # Of those, who have one recipient may have been delivered before the cut.
    late = [m for m in missing if int(m[-5:]) % 3 or
            delivered.get(f"taken-{m}@example.com", ended) >= ended]
    check(not late, "acknowledged before it, and not in it", late[:5])
    check(len(missing) > 10, "nothing left the queue meanwhile: nothing is shown", len(missing))
    check(listed <= set(everything), "in it, and never acknowledged", listed - set(everything))
    equal(len(listed), said["messages"], "as many as it says")
    equal(r.count()["damaged"], 0, "damaged")
    # Held: nothing is sent, until it is said to be.
    equal(h2.attempts, [], "held")
    for i in list(listed)[:20]:
        state = {x["to"]: x["state"] for x in r.ctl("queue", "show", i)["recipients"]}
        check(all(v == "pending" for k, v in state.items() if k.startswith("later-")), "deferred",
              state)
    with r.login() as c:
        equal(c.message(r.sender, "new@example.com",
                        f"From: {r.sender}\r\n\r\nnew\r\n").code, 250, "the restored one serves")
    wait_for("new mail to go out", 20, lambda: len(h2.messages) == 1)
    equal(h2.messages[0].rcpts, ["new@example.com"], "only that")
    r.stop()

    # Once more, delivering: every message of it, whole, to whoever has not got it.
    h3 = lab.peer("smarthost")
    r3, _ = restored(lab, s, where, "--deliver", port=h3.port)
    want = {f"later-{everything[i][0]}" for i in listed if int(everything[i][0][-5:]) % 3}
    r3.start()
    wait_for("all to arrive", 60, lambda: want <= {
        x.split("@")[0] for m in list(h3.messages) for x in m.rcpts})
    r3.wait_empty(30)
    got = [x.split("@")[0] for m in h3.messages for x in m.rcpts]
    equal(len(got), len(set(got)), "each recipient once")
    digests = {}
    for m in h3.messages:
        for x in m.rcpts:
            digests[x.split("@")[0]] = hashlib.sha256(body_of(m.data)).hexdigest()
    for i in listed:
        mark, _, digest = everything[i]
        mine = {digests[x] for x in (f"later-{mark}", f"taken-{mark}") if x in digests}
        check(mine <= {digest}, f"the body of {mark}")
        check(mine or not int(mark[-5:]) % 3, f"nothing of {mark}")
        check(f"taken-{mark}" in got or f"taken-{mark}@example.com" in delivered,
              f"taken-{mark} is forgotten")


def small(lab, n=5, **more):
    """A server with some mail that stays."""
    s = lab.signet(onward(9, **more))
    with s.login() as c:
        for i in range(n):
            equal(c.message(s.sender, f"r{i}@example.com",
                            f"From: {s.sender}\r\n\r\nbody {i}\r\n").code, 250, "message")
    return s


def copy_of(lab, backup):
    to = os.path.join(lab.make_dir("copy"), "b")
    shutil.copytree(backup, to)
    return to


def test_what_is_altered_is_refused_by_name(lab):
    s = small(lab)
    b = os.path.join(lab.dir, "backup")
    s.ctl("backup", b, "--with-secrets")
    names = [os.path.relpath(os.path.join(d, f), b) for d, _, fs in os.walk(b) for f in fs]
    check({"MANIFEST", "data/signet.db", "data/master.key", "config/signet.conf", "spool/spool.id",
           "spool/seg-00000001.log"} <= set(names), "what is in it", names)
    to = os.path.join(lab.dir, "never")
    for name in names:
        c = copy_of(lab, b)
        at = os.path.join(c, name)
        with open(at, "r+b") as f:
            f.seek(os.path.getsize(at) // 2)
            x = f.read(1)
            f.seek(-1, 1)
            f.write(bytes([x[0] ^ 1]))
        refused(s, 65, os.path.basename(name), "restore", c, "--data", to)
        with open(at, "r+b") as f:
            f.truncate(os.path.getsize(at) - 1)
        refused(s, 65, os.path.basename(name), "restore", c, "--data", to)
        os.unlink(at)
        refused(s, 65, os.path.basename(name), "restore", c, "--data", to)
        check(not os.path.exists(to), "nothing was written")
    refused(s, 65, "not the one expected", "restore", b, "--data", to, "--expect", "0" * 64)
    # Who alters the manifest with its sums is found by the digest that was kept elsewhere.
    c = copy_of(lab, b)
    with open(os.path.join(c, "MANIFEST"), encoding="utf-8") as f:
        body = f.read().rsplit("end ", 1)[0]
    for old, new, says in (("program 0.", "program 99.", "newer"),
                           ("signet-backup 1", "signet-backup 2", "newer"),
                           ("\nspool 2 ", "\nspool 99 ", "newer"),
                           ("\nspool 2 5", "\nspool 2 6", "holds 5 messages")):
        check(old in body, "the manifest", body)
        text = body.replace(old, new, 1)
        with open(os.path.join(c, "MANIFEST"), "w", encoding="utf-8") as f:
            f.write(f"{text}end {hashlib.sha256(text.encode()).hexdigest()}\n")
        refused(s, 65 if says.startswith("holds") else 73, says, "restore", c, "--data", to)
    check(not os.path.exists(os.path.join(to, "signet.conf")), "no configuration")


def test_nothing_is_written_over(lab):
    s = small(lab)
    b = os.path.join(lab.dir, "backup")
    s.ctl("backup", b)
    refused(s, 73, "exists", "backup", b)
    refused(s, 73, "nothing is written over", "restore", b, "--data", s.data)
    to = os.path.join(lab.dir, "to")
    os.makedirs(os.path.join(to, "spool"))
    with open(os.path.join(to, "spool/somebody"), "w", encoding="utf-8"):
        pass
    refused(s, 73, "not empty", "restore", b, "--data", to)
    os.unlink(os.path.join(to, "spool/somebody"))
    # Over an empty directory, and over what a try that was cut short has left.
    os.makedirs(os.path.join(to, ".restoring/data"))
    os.makedirs(os.path.join(to, "spool.restoring/large"))
    out = s.run("restore", b, "--data", to)
    check("not in the backup" in out and "master.key" in out, "says what is missing", out)
    equal(sorted(os.listdir(to)), ["signet.conf", "signet.db", "spool"], "what is there")
    for d, subs, files in os.walk(to):
        for n in subs + files:
            mode = os.stat(os.path.join(d, n)).st_mode & 0o777
            equal(mode, 0o700 if n in subs else 0o600, n)


# What changes anything on the disk, and what might be waited for.
CALLS = ("mkdir", "mkdirat", "openat", "write", "pwrite64", "fallocate", "ftruncate", "fchown", "lchown", "fsync",
         "fdatasync", "rename", "renameat", "unlink", "unlinkat", "close")


def test_a_restore_killed_anywhere_is_asked_for_again(lab):
    s = small(lab)
    b = os.path.join(lab.dir, "backup")
    s.ctl("backup", b, "--with-secrets")
    s.stop()
    to = os.path.join(lab.dir, "to")

    def restore(*how):
        return subprocess.run([*how, s.binary, "restore", b, "--data", to], check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=s.environment(), timeout=60)

    def whole(out):
        equal(out.returncode, 0, f"asked again: {out.stdout}")
        check(b"5 messages" in out.stdout, "it says what there is", out.stdout)
        check({"signet.conf", "signet.db", "master.key", "spool"} <= set(os.listdir(to)),
              "what is there", os.listdir(to))
        check(".restoring" not in os.listdir(to) and "spool.restoring" not in os.listdir(to),
              "what is left", os.listdir(to))

    trace = os.path.join(lab.dir, "trace")
    whole(restore("strace", "-f", "-qq", "-e", "trace=" + ",".join(CALLS), "-o", trace))
    with open(trace, encoding="utf-8", errors="replace") as f:
        lines = [line.split(None, 1)[1] for line in f]
    made = {c: sum(line.startswith(c + "(") for line in lines) for c in CALLS}
    check(made["renameat"] >= 5 and made["fsync"] >= 10, "it was looked at", made)
    killed, kept, halves = 0, 0, 0
    for call, n in made.items():
        step = 1 if call.startswith(("rename", "unlink", "mkdir", "lchown")) else n // 12 + 1
        for at in range(1, n + 1, step):
            shutil.rmtree(to)
            cut = restore("strace", "-f", "-qq", "-e", f"trace={call}", "-o", "/dev/null", "-e",
                          f"inject={call}:signal=SIGKILL:when={at}")
            killed += cut.returncode == -signal.SIGKILL or cut.returncode == 128 + signal.SIGKILL
            there = os.listdir(to) if os.path.isdir(to) else []
            kept += os.path.exists(os.path.join(to, ".restoring/READY"))
            halves += "spool" in there and "signet.conf" not in there
            again = restore()
            if "signet.conf" in there:    # all was done: it serves, and says so when asked again
                check({"signet.db", "master.key", "spool"} <= set(there), f"{call} {at}", there)
                check(again.returncode == 0 or b"signet.conf: exists" in again.stdout,
                      f"{call} {at}", again.stdout)
            else:
                whole(again)
    check(killed > 60, "it was killed", killed, made)
    check(kept > 5 and halves > 3, "in the middle of the last step, too", kept, halves)
    # The last one serves.
    r = lab.signet(start=False, bare=True)
    shutil.rmtree(r.data)
    shutil.move(to, r.data)
    for k, v in onward(9).items():
        if v is None:
            r.options.pop(k, None)
        else:
            r.options[k] = v
    r.write_conf()
    r.start()
    equal(r.count()["messages"], 5, "messages")
    equal(r.count()["held"], 5, "held")


def test_a_restore_cut_short_goes_on_as_it_was_asked(lab):
    s = small(lab)
    b, other = (os.path.join(lab.dir, x) for x in ("backup", "other"))
    s.ctl("backup", b)
    s.ctl("backup", other)
    to = os.path.join(lab.dir, "to")
    subprocess.run(["strace", "-f", "-qq", "-e", "trace=rename", "-o", "/dev/null", "-e",
                    "inject=rename:signal=SIGKILL:when=1", s.binary, "restore", b, "--data", to,
                    "--deliver"], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   env=s.environment(), timeout=60)
    check(os.path.exists(os.path.join(to, ".restoring/READY")), "it was ready")
    refused(s, 73, "with --deliver", "restore", b, "--data", to)
    refused(s, 73, "another backup", "restore", other, "--data", to, "--deliver")
    refused(s, 73, f"with the spool in {to}/spool", "restore", b, "--data", to, "--deliver", "--spool",
            os.path.join(lab.dir, "elsewhere"))
    # What was ready is gone, and nobody has it: that is not taken for done.
    shutil.move(os.path.join(to, "spool.restoring"), os.path.join(lab.dir, "aside"))
    refused(s, 73, "is gone", "restore", b, "--data", to, "--deliver")
    shutil.move(os.path.join(lab.dir, "aside"), os.path.join(to, "spool.restoring"))
    check("5 messages" in s.run("restore", b, "--data", to, "--deliver"), "and goes on")


def test_stopped_and_as_a_stream(lab):
    s = small(lab)
    with open(os.path.join(lab.dir, "b.tar"), "wb") as f:
        subprocess.run([s.binary, "backup", "-", "--config", s.conf], stdout=f, check=True,
                       stderr=subprocess.PIPE, env=s.environment())
    s.stop()
    offline = os.path.join(lab.dir, "backup")
    equal(s.ctl("backup", offline)["messages"], 5, "messages")
    check(not os.path.exists(os.path.join(s.data, "spool/backup")), "the cut is gone")
    unpacked = lab.make_dir("tar")
    with tarfile.open(os.path.join(lab.dir, "b.tar")) as t:
        equal(t.getnames()[-1], "MANIFEST", "the last one")
        t.extractall(unpacked)
    for b in (offline, unpacked):
        r, _ = restored(lab, s, b, port=9)
        r.start()
        equal(r.count()["messages"], 5, "messages")
        r.stop()
    # A server that has the spool and cannot be asked.
    s.start()
    os.rename(os.path.join(s.data, "control"), os.path.join(s.data, "elsewhere"))
    refused(s, 73, "in use by process", "backup", os.path.join(lab.dir, "no"))
    os.rename(os.path.join(s.data, "elsewhere"), os.path.join(s.data, "control"))
    check(not os.path.exists(os.path.join(lab.dir, "no.partial")), "nothing left")


def paused(lab, s, to, big_mib=8, **more):
    """A backup that is stopped, by a signal, in the middle of its copying."""
    p = subprocess.Popen([s.binary, "backup", to, "--config", s.conf], stderr=subprocess.PIPE,
                         stdout=subprocess.DEVNULL, env=s.environment(), **more)
    lab.at_end(lambda: (p.poll() is None) and p.kill())

    def copying():
        got = sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(to + ".partial")
                  for f in fs if os.path.exists(os.path.join(d, f)))
        return p.poll() is not None or got > 1 << 20

    wait_for("copying", 20, copying, 0.001)
    p.send_signal(signal.SIGSTOP)
    check(p.poll() is None, "still at it", p.returncode)
    return p


def much(lab, mib=40, **more):
    s = lab.signet(onward(9, **more))
    body = ("z" * 70 + "\r\n") * 14000
    with s.login() as c:
        for i in range(mib):
            equal(c.message(s.sender, f"r{i}@example.com",
                            f"From: {s.sender}\r\n\r\n{body}").code, 250, "message")
    return s


def test_killed_or_interrupted_it_leaves_nothing_whole(lab):
    s = much(lab)
    b = os.path.join(lab.dir, "backup")
    p = paused(lab, s, b)
    refused(s, 73, "under way", "backup", os.path.join(lab.dir, "other"))
    check(not os.path.exists(os.path.join(lab.dir, "other.partial")), "nothing left")
    p.kill()
    p.wait()
    check(not os.path.exists(b), "it has no name")
    check(os.path.exists(b + ".partial"), "what is left says so")
    refused(s, 65, "MANIFEST", "restore", b + ".partial", "--data", os.path.join(lab.dir, "to"))
    refused(s, 73, "cut short", "backup", b)
    shutil.rmtree(b + ".partial")
    # The server lets go of the dead one's cut.
    wait_for("a new one to be possible", 20,
             lambda: s.run("backup", b, check=False)[0] == 0, 0.5)
    # Asked to end, it takes away what it wrote.
    b2 = os.path.join(lab.dir, "second")
    p = paused(lab, s, b2)
    p.send_signal(signal.SIGTERM)
    p.send_signal(signal.SIGCONT)
    equal(p.wait(20), 75, "exit code")
    check(b"interrupted" in p.stderr.read(), "says why")
    check(not [n for n in os.listdir(lab.dir) if n.startswith("second")], "nothing left")
    check(not os.path.exists(os.path.join(s.data, "spool/backup")), "nor in the spool")


def test_no_room_where_it_goes(lab):
    d = lab.make_dir("disk")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "none", d], check=False,
                      stderr=subprocess.DEVNULL).returncode:
        raise Skip("mounting a small file system is not permitted here")
    lab.at_end(lambda: subprocess.run(["umount", d], check=False))
    s = much(lab, 8)
    refused(s, 75, "no room", "backup", os.path.join(d, "b"))
    equal(os.listdir(d), [], "nothing left")

    # Room that is gone when it is needed.
    def limit():
        import resource  # pylint: disable=import-outside-toplevel  # in the child
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (512 << 10, 512 << 10))

    to = os.path.join(lab.make_dir("full"), "b")
    p = subprocess.run([s.binary, "backup", to, "--config", s.conf], preexec_fn=limit,
                       stderr=subprocess.PIPE, env=s.environment(), check=False)
    equal(p.returncode, 75, p.stderr)
    check(b"File too large" in p.stderr, "says why", p.stderr)
    equal(os.listdir(os.path.dirname(to)), [], "nothing left")
    s.ctl("backup", to)
    refused(s, 75, "no room", "restore", to, "--data", os.path.join(d, "r"))
    check(not os.path.exists(os.path.join(d, "r/signet.conf")), "nothing that starts")


def test_mail_wins_when_the_disk_is_short(lab):
    d = lab.make_dir("disk")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "none", d], check=False,
                      stderr=subprocess.DEVNULL).returncode:
        raise Skip("mounting a small file system is not permitted here")
    lab.at_end(lambda: subprocess.run(["umount", d], check=False))
    sp = os.path.join(d, "spool")
    s = much(lab, 40, spool={"path": sp, "reserve": "32M", "segment": "1M"})
    p = paused(lab, s, os.path.join(lab.dir, "backup"))
    check(os.path.exists(os.path.join(sp, "backup/lock")), "the cut is there")
    with open(os.path.join(d, "filler"), "wb") as f:
        free = os.statvfs(d)
        f.write(b"\0" * (free.f_bavail * free.f_bsize - (8 << 20)))

    def gone():
        with s.login() as c:
            c.message(s.sender, "x@example.com", f"From: {s.sender}\r\n\r\nx\r\n")
        return not os.path.exists(os.path.join(sp, "backup"))

    wait_for("the cut to be given up", 20, gone, 0.2)
    p.send_signal(signal.SIGCONT)
    equal(p.wait(30), 75, "exit code")
    check(b"short of space" in p.stderr.read(), "says why")
    check(not [n for n in os.listdir(lab.dir) if n.startswith("backup")], "nothing left")
    os.unlink(os.path.join(d, "filler"))


def test_the_server_is_killed_meanwhile(lab):
    s = lab.signet(onward(9), binary=paths.SIGNET_FAULTS,
                   env={"SIGNET_FAULT": "spool_cutting@1"})
    with s.login() as c:
        equal(c.message(s.sender, "r@example.com", f"From: {s.sender}\r\n\r\nx\r\n").code, 250, "")
    b = os.path.join(lab.dir, "backup")
    code, _, err = s.run("backup", b, check=False)
    s.killed = True
    # It found the spool of the dead one, and copied it: or it did not, and left nothing.
    check((code == 0) == os.path.exists(b), "no backup", code, err)
    s.process.wait(10)
    s.env = {}
    s.start()
    equal(s.count()["messages"], 1, "messages")
    equal(s.count()["damaged"], 0, "nothing is strange about what it left")
    check(not os.path.exists(os.path.join(s.data, "spool/backup")), "it is swept away")
    s.ctl("backup", os.path.join(lab.dir, "again"))

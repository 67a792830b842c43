"""A server in a directory of its own, made by copying a template: cheap enough to be thrown away
thousands of times. And a client that knows what it sent, and a count of what came of it."""
import http.client
import json
import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from lab import paths, raw
from lab.peers import free_ports, make_cert
from lab.signet import conf_text, merge

SENDER = "hello@shop.example"
NOWHERE = {("route", "capture"): None,
           ("route", "nowhere"): {"domains": ["*"], "type": "smarthost", "host": "127.0.0.1",
                                  "port": 9, "tls": "none"}}


def pool(n):
    """n processes, forked. They end when they are told to: the runner's handler of SIGTERM, which
    they would inherit, can miss a signal that comes right before a system call that waits."""
    return multiprocessing.get_context("fork").Pool(n, signal.signal, (signal.SIGTERM, signal.SIG_DFL))


def place(name):
    """A new directory in memory where there is one: a sync costs nothing there."""
    if os.path.isdir("/dev/shm") and os.access("/dev/shm", os.W_OK):
        d = tempfile.mkdtemp(prefix=f"signet-{name}-", dir="/dev/shm")
    else:
        os.makedirs(paths.SCRATCH, exist_ok=True)
        d = tempfile.mkdtemp(prefix=name, dir=paths.SCRATCH)
    os.chmod(d, 0o700)
    return d


class Message:
    """Everything about it follows from its tag: recipients and body can be told to be right."""

    def __init__(self, tag, lines=3, rcpts=1):
        self.tag = tag
        self.rcpts = [f"{tag}-{i}@d{i % 3}.example" for i in range(rcpts)]
        self.body = f"body of {tag}\r\n" + "".join(f"{tag} {i}\r\n" for i in range(lines))

    def data(self):
        return f"From: {SENDER}\r\nSubject: tag-{self.tag}-\r\n\r\n{self.body}"


class Captured:
    """The Maildir, read: what came, whether each is what was sent."""

    def __init__(self, path, messages):
        self.seen, self.bad = {}, []
        want = {m.tag: m for m in messages}
        new = os.path.join(path, "new")
        for n in sorted(os.listdir(new)) if os.path.isdir(new) else []:
            with open(os.path.join(new, n), "rb") as f:
                text = f.read().decode("utf-8", "replace")
            head, _, body = text.partition("\r\n\r\n")
            m = re.search(r"(?m)^Subject: tag-(\S+)-\r?$", head)
            if not m or m.group(1) not in want:
                self.bad.append(f"{n}: nobody sent this: {head[:300]!r}")
                continue
            msg = want[m.group(1)]
            to = set(re.findall(r"(?m)^Delivered-To: <?(.*?)>?\r?$", head))
            if body != msg.body:
                self.bad.append(f"{n}: {msg.tag} has another body ({len(body)} for {len(msg.body)} bytes)")
            elif not to or not to <= set(msg.rcpts):
                self.bad.append(f"{n}: {msg.tag} is for {sorted(to)}, was sent to {msg.rcpts}")
            else:
                seen = self.seen.setdefault(msg.tag, {})
                for t in to:
                    seen[t] = seen.get(t, 0) + 1

    def missing(self, messages):
        return [m.tag for m in messages if set(self.seen.get(m.tag, {})) != set(m.rcpts)]

    def twice(self):
        return sum(c - 1 for to in self.seen.values() for c in to.values())


class Template:
    """A data directory with an account, its domain and two keys, made once."""

    def __init__(self, dir, binary=None, options=None):
        os.makedirs(dir, exist_ok=True)
        # A copy: who builds meanwhile does no harm to a long run.
        self.dir, self.binary = dir, shutil.copy2(binary or paths.SIGNET, os.path.join(dir, "signet"))
        data = os.path.join(dir, "data")
        self.run("init", "--data", data, "--hostname", "signet.test")
        make_cert(data, "signet.test", stem="server")
        self.options = options or {}
        box = Box(self, os.path.join(dir, "first"))
        box.start()
        box.wait_up()
        for call in (("account", "add", "shop"),
                     ("domain", "add", "shop.example", "--account", "shop", "--verified")):
            self.run(*call, "--config", box.conf)
        made = [json.loads(self.run("key", "create", "--account", "shop", "--json", "--config",
                                    box.conf)) for _ in range(2)]
        (self.key, self.key_id), (self.key2, self.key2_id) = [(k["key"], k["id"]) for k in made]
        # Of the right shape, and nobody's.
        self.wrong = self.key[:-6] + ("AAAAAA" if not self.key.endswith("AAAAAA") else "BBBBBB")
        if box.stop() != 0:
            raise AssertionError(f"the template's server did not end well:\n{box.log}")
        shutil.rmtree(data)
        shutil.move(box.data, data)
        shutil.rmtree(os.path.join(data, "spool"), ignore_errors=True)
        shutil.rmtree(os.path.join(data, "capture"), ignore_errors=True)
        self.data = data

    def run(self, *args):
        p = subprocess.run([self.binary, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, timeout=60, check=False,
                           env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"})
        if p.returncode:
            raise AssertionError(f"{args}: {p.returncode}: {p.stderr.decode()}")
        return p.stdout.decode()


class Box:
    def __init__(self, template, dir, options=None, ports=None, data=None):
        self.template, self.dir = template, dir
        self.data = os.path.join(dir, "data")
        self.conf = os.path.join(self.data, "signet.conf")
        os.makedirs(dir, exist_ok=True)
        shutil.copytree(data or getattr(template, "data", os.path.join(template.dir, "data")),
                        self.data, symlinks=True, ignore=lambda d, names: {"control"} & set(names))
        if data:
            # What a killed server leaves of its control socket.
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            s.bind(os.path.join(self.data, "control"))
            s.close()
        self.port = (ports or free_ports(1))[0]
        self.capture = os.path.join(self.data, "capture")
        self.spool = os.path.join(self.data, "spool")
        self.process, self.log = None, ""
        self.configure(options)

    def configure(self, options=None):
        d = self.data
        tree = {"hostname": "signet.test", "data_dir": d,
                "control_socket": os.path.join(d, "control"), "threads": 2,
                "spool": {"path": self.spool, "reserve": "1M", "segment": "1M",
                          "body_memory": "32K"},
                "tls": {"certificate": [f"{d}/server.pem"], "key": [f"{d}/server.key"]},
                "limits": {"shutdown_grace": "3s", "header_size": "16K"},
                "retry": {"first": "100ms", "max": "200ms"},
                ("listener", "tls"): {"address": [f"127.0.0.1:{self.port}"], "tls": "implicit"},
                ("route", "capture"): {"domains": ["*"], "type": "capture", "path": self.capture}}
        merge(tree, {k: v for k, v in self.template.options.items()})
        merge(tree, options or {})
        with open(self.conf, "w", encoding="utf-8") as f:
            f.write(conf_text(tree))

    # -- running --

    def start(self, env=None, preload=None, binary=None):
        e = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LC_ALL": "C"}
        e.update(env or {})
        if preload:
            e["LD_PRELOAD"] = preload
        self.log = ""
        self.process = subprocess.Popen([binary or self.template.binary, "serve", "--config",
                                         self.conf], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=e,
                                        preexec_fn=paths.die_with())
        self.reader = threading.Thread(target=self.read_log, args=(self.process.stderr,),
                                       daemon=True)
        self.reader.start()

    def read_log(self, pipe):
        with pipe:
            for line in pipe:
                self.log += line.decode("utf-8", "backslashreplace")

    def wait_up(self, seconds=10):
        """True: it accepts connections. False: it has ended. Neither: an error."""
        begin = time.monotonic()
        end = begin + seconds
        while True:
            if self.process.poll() is not None:
                return False
            try:
                # The line may be what was lost.
                if '"event":"started"' in self.log or time.monotonic() > begin + 1:
                    socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                    return True
            except OSError:
                pass
            if time.monotonic() > end:
                raise AssertionError(f"neither up nor gone after {seconds} s\n{self.log[-2000:]}")
            time.sleep(0.005)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self, seconds=15):
        """SIGTERM; the exit code, negative for a signal; None: it had to be killed."""
        if self.process is None:
            return 0
        try:
            if self.running():
                self.process.send_signal(signal.SIGTERM)
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = None
        self.reader.join(5)
        self.process = None
        return code

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.reader.join(5)
            self.process = None

    def remove(self):
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

    # -- talking --

    def login(self, key=None, timeout=5):
        c = raw.Raw(self.port, implicit=True, timeout=timeout, context=CONTEXT)
        try:
            c.ehlo()
            return c, c.auth(key or self.template.key)
        except BaseException:
            c.close()
            raise

    def control(self, method, path, body=None, timeout=5):
        """(status, what it says)"""
        c = http.client.HTTPConnection("localhost", timeout=timeout)
        c.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        c.sock.settimeout(timeout)
        try:
            c.sock.connect(os.path.join(self.data, "control"))
            c.request(method, "/control" + path, json.dumps(body) if body is not None else None,
                      {"Content-Type": "application/json"} if body is not None else {})
            r = c.getresponse()
            text = r.read().decode()
            return r.status, json.loads(text) if text else None
        finally:
            c.close()

    def count(self):
        status, c = self.control("GET", "/queue/count")
        if status != 200:
            raise AssertionError(f"queue count: {status} {c}")
        return c

    def wait_empty(self, seconds=20):
        end = time.monotonic() + seconds
        while (c := self.count())["messages"]:
            if time.monotonic() > end:
                raise AssertionError(f"the queue does not empty: {c}\n{self.log[-3000:]}")
            time.sleep(0.02)


CONTEXT = raw.client_context()
TROUBLE = (OSError, raw.Closed, AssertionError, http.client.HTTPException, ValueError)


def send(c, m):
    """The last reply to a message on a connection that has logged in; pipelined."""
    c.send(f"MAIL FROM:<{SENDER}>\r\n" + "".join(f"RCPT TO:<{t}>\r\n" for t in m.rcpts) + "DATA\r\n")
    replies = [c.reply() for _ in range(len(m.rcpts) + 2)]
    if replies[-1].code != 354:
        return next(r for r in replies if r.code // 100 != 2)
    r = c.data(m.data())
    # All or nothing is what is counted here.
    if any(x.code != 250 for x in replies[:-1]):
        m.rcpts = [t for t, x in zip(m.rcpts, replies[1:]) if x.code == 250]
    return r


def build(name, out):
    """Compiles tests/torture/NAME.c: a preload library."""
    so = os.path.join(out, f"{name}.so")
    subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", so,
                    f"{paths.TESTS}/torture/{name}.c", "-ldl", "-lpthread"], check=True)
    return so


class SharedFile:
    """A file of zeros, mapped here and in the server."""

    def __init__(self, path, size):
        import mmap
        self.path = path
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.ftruncate(fd, size)
        self.map = mmap.mmap(fd, size)
        os.close(fd)

    def close(self):
        self.map.close()
        os.unlink(self.path)


def wait(probe, seconds=20):
    end = time.monotonic() + seconds
    while not probe():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain")
        time.sleep(0.02)

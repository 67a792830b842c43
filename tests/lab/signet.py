"""A Signet of one's own: its own directory, ports, database, certificate, key."""
import base64
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time

from . import paths, raw
from .peers import free_ports, make_cert
from .raw import wait_for

SANITIZER_NOISE = re.compile(r"ERROR: (Address|Leak)Sanitizer|runtime error:")


class Failed(AssertionError):
    """A command of signet ended with another code than 0."""

    def __init__(self, argv, code, out, err):
        super().__init__(f"{' '.join(argv)}\n  ended with {code}\n{out}{err}")
        self.code, self.out, self.err = code, out, err


def quote(v):
    if isinstance(v, bool):
        return "yes" if v else "no"
    if isinstance(v, (list, tuple)):
        return "{" + ", ".join(quote(x) for x in v) + "}"
    return '"' + str(v).replace("\\", "\\\\").replace('"', '\\"') + '"'


def conf_text(tree, depth=0):
    """{'a': 1, ('route', 'x'): {...}} -> libconfuse's syntax."""
    pad, out = "  " * depth, []
    for k, v in tree.items():
        if isinstance(v, dict):
            head = f'{k[0]} "{k[1]}"' if isinstance(k, tuple) else k
            out.append(f"{pad}{head} {{\n{conf_text(v, depth + 1)}{pad}}}\n")
        else:
            out.append(f"{pad}{k} = {quote(v)}\n")
    return "".join(out)


def merge(into, more):
    for k, v in more.items():
        if isinstance(v, dict) and isinstance(into.get(k), dict):
            merge(into[k], v)
        elif v is None:
            into.pop(k, None)
        else:
            into[k] = v
    return into


class Signet:
    """options: a tree laid over the default configuration (None removes). The account 'shop' with
    the verified domain shop.example and one key are made unless bare."""

    hostname = "signet.test"
    sender = "hello@shop.example"

    def __init__(self, lab, options=None, bare=False, start=True, binary=None, env=None,
                 wrap=None, stderr=None):
        self.lab, self.binary = lab, binary or paths.SIGNET
        self.scratch = lab.make_dir("signet")
        self.data = os.path.join(self.scratch, "data")
        self.conf = os.path.join(self.data, "signet.conf")
        self.env = dict(env or {})
        self.wrap, self.stderr_to = list(wrap or []), stderr
        self.secrets, self.log_lines, self.runs = [], [], 0
        self.killed, self.torn = False, []  # by kill -9 once; lines that it cut
        self.process = self.key = self.key_id = None
        lab.servers.append(self)     # before anything can fail: whoever is started is stopped
        p = free_ports(3)
        self.ports = {"relay": p[0], "submission": p[1], "tls": p[2]}
        self.run("init", "--data", self.data, "--hostname", self.hostname)
        self.capture = os.path.join(self.data, "capture")
        self.options = merge(self.default_options(), options or {})
        self.write_conf()
        if start:
            self.start()
            if not bare:
                self.furnish()

    # -- configuration --

    def default_options(self):
        cert, key = self.certificate(stem="server")
        return {
            "hostname": self.hostname,
            "data_dir": self.data,
            "control_socket": os.path.join(self.data, "control"),
            "threads": 2,
            "spool": {"path": os.path.join(self.data, "spool"), "reserve": "64M"},
            "tls": {"certificate": [cert], "key": [key]},
            # Most tests fail to log in on purpose; how that is slowed down is 510's.
            "guard": {"allow": ["127.0.0.0/8", "::1"]},
            ("listener", "relay"): {"address": [f"127.0.0.1:{self.ports['relay']}"],
                                    "tls": "starttls"},
            ("listener", "submission"): {"address": [f"127.0.0.1:{self.ports['submission']}"],
                                         "tls": "starttls"},
            ("listener", "tls"): {"address": [f"127.0.0.1:{self.ports['tls']}"],
                                  "tls": "implicit"},
            ("route", "capture"): {"domains": ["*"], "type": "capture", "path": self.capture},
        }

    def write_conf(self, text=None):
        with open(self.conf, "w", encoding="utf-8") as f:
            f.write(text if text is not None else conf_text(self.options))

    def port(self, door):
        return self.ports["submission" if door == "starttls" else door]

    # -- the command line --

    def run(self, *args, stdin=None, check=True, config=None, timeout=60):
        """One command; returns its standard output."""
        argv = [self.binary, *args]
        if args[0] not in ("init", "config", "spool", "help"):
            argv += ["--config", config or self.conf]
        p = subprocess.run(argv, input=stdin.encode() if isinstance(stdin, str) else stdin,
                           stdin=subprocess.DEVNULL if stdin is None else None,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout,
                           env=self.environment(), check=False)
        out, err = p.stdout.decode("utf-8", "replace"), p.stderr.decode("utf-8", "replace")
        if SANITIZER_NOISE.search(err):
            raise AssertionError(f"{' '.join(argv)}:\n{err}")
        if check and p.returncode != 0:
            raise Failed(argv, p.returncode, out, err)
        return out if check else (p.returncode, out, err)

    def ctl(self, *args, **more):
        """One command with --json; returns what it says."""
        out = self.run(*args, "--json", **more)
        return json.loads(out) if out.strip() else None

    def furnish(self, account="shop", domain="shop.example"):
        self.ctl("account", "add", account)
        self.ctl("domain", "add", domain, "--account", account, "--verified")
        self.key_id, self.key = self.new_key(account)
        return self.key

    def new_key(self, account="shop", *args):
        r = self.ctl("key", "create", "--account", account, *args)
        self.know_secret(r["key"])
        return r["id"], r["key"]

    def know_secret(self, key):
        """From now on this key, its secret and what carries it on the wire may be in no log."""
        self.secrets += [key, key.rsplit(".", 1)[-1], raw.b64(key), raw.plain("apikey", key)]

    # -- running --

    def environment(self):
        # The scenario's server must not inherit what a developer has set.
        e = {"PATH": os.environ["PATH"], "HOME": self.scratch, "LC_ALL": "C.UTF-8",
             "ASAN_OPTIONS": "abort_on_error=0:exitcode=99", "UBSAN_OPTIONS": "halt_on_error=1"}
        e.update(self.env)
        return e

    def start(self, wait=True):
        self.runs += 1
        err = self.stderr_to if self.stderr_to is not None else subprocess.PIPE
        self.process = subprocess.Popen(
            [*self.wrap, self.binary, "serve", "--config", self.conf], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=err, env=self.environment(),
            preexec_fn=paths.die_with())
        self.first_line = len(self.log_lines)
        if self.process.stderr:
            self.reader = threading.Thread(target=self.read_log, args=(self.process.stderr,),
                                           daemon=True)
            self.reader.start()
        if wait:
            wait_for("the server to listen", 30, self.ready)

    def ready(self):
        if self.process.poll() is not None:
            time.sleep(0.1)
            raise AssertionError(f"serve ended with {self.process.returncode} at start:\n"
                                 + self.log_text())
        if not self.process.stderr:
            try:
                raw.Raw(self.ports["submission"], timeout=2).close()
                return True
            except (OSError, raw.Closed):
                return False
        listeners = [k for k in self.options if isinstance(k, tuple) and k[0] == "listener"]
        return sum((parse_line(line) or {}).get("event") == "listening"
                   for line in self.log_lines[self.first_line:]) >= len(listeners)

    def read_log(self, pipe):
        with pipe:
            for line in pipe:
                # Lines are written many at a time: kill -9 may cut the last one of that process.
                if not line.endswith(b"\n") and self.killed:
                    self.torn.append(line)
                    continue
                self.log_lines.append(line.decode("utf-8", "backslashreplace").rstrip("\n"))

    def pid(self):
        """The server's own process, below strace or such."""
        if not self.wrap:
            return self.process.pid
        want = os.path.basename(self.binary)
        todo = [self.process.pid]
        while todo:
            p = todo.pop()
            try:
                with open(f"/proc/{p}/comm", encoding="utf-8") as f:
                    if f.read().strip() == want:
                        return p
                with open(f"/proc/{p}/task/{p}/children", encoding="utf-8") as f:
                    todo += [int(x) for x in f.read().split()]
            except OSError:
                pass
        return self.process.pid

    def running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        self.killed = True
        os.kill(self.pid(), signal.SIGKILL)
        self.process.wait(10)
        self.process = None

    def terminate(self):
        os.kill(self.pid(), signal.SIGTERM)

    def stop(self, seconds=40, code=0):
        """SIGTERM, and the exit code wanted after it."""
        if not self.process:
            return
        if self.running():
            self.terminate()
        try:
            got = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            self.process = None
            raise AssertionError(f"not gone {seconds} s after SIGTERM") from None
        self.process = None
        if getattr(self, "reader", None):
            self.reader.join(5)      # the last lines of the log
        if got != code:
            raise AssertionError(f"serve ended with {got}, wanted {code}")

    def restart(self):
        self.stop()
        self.start()

    def end(self):
        """What every test ends with: a clean exit, and no secret in the log."""
        try:
            self.stop()
        finally:
            if getattr(self, "reader", None):
                self.reader.join(5)
        self.check_log()

    def check_log(self):
        text = self.log_text()
        for s in self.secrets:
            if any(s.encode() in t for t in self.torn):
                raise AssertionError("a secret is in a cut line of the log")
            if s in text:
                line = next(x for x in self.log_lines if s in x)
                raise AssertionError(f"a secret is in the log: {line}")
        if SANITIZER_NOISE.search(text):
            raise AssertionError(f"a sanitizer spoke:\n{text[-4000:]}")
        for line in self.log_lines:
            if line and not isinstance(parse_line(line), dict):
                raise AssertionError(f"not a log line: {line!r}")

    def remove(self):
        shutil.rmtree(self.scratch, ignore_errors=True)

    # -- what can be seen --

    def log_text(self):
        return "\n".join(self.log_lines)

    def events(self, name=None, **fields):
        out = []
        for line in list(self.log_lines):
            e = parse_line(line)
            if isinstance(e, dict) and (name is None or e.get("event") == name) and all(
                    e.get(k) == v for k, v in fields.items()):
                out.append(e)
        return out

    def wait_event(self, name, seconds=10, count=1, **fields):
        return wait_for(f"{count} times the event {name} {fields or ''}", seconds,
                        lambda: (e := self.events(name, **fields))[count - 1:] and e)

    def captured(self):
        new, out = os.path.join(self.capture, "new"), []
        for n in sorted(os.listdir(new)) if os.path.isdir(new) else []:
            with open(os.path.join(new, n), "rb") as f:
                out.append(f.read())
        return out

    def wait_captured(self, n=1, seconds=15):
        wait_for(f"{n} messages in the Maildir (has {len(self.captured())})", seconds,
                 lambda: len(self.captured()) >= n)
        return self.captured()

    def find_captured(self, text, seconds=15):
        """The one captured message that contains text."""
        text = text.encode() if isinstance(text, str) else text
        return wait_for(f"a captured message with {text!r}", seconds,
                        lambda: next((m for m in self.captured() if text in m), None))

    def count(self):
        return self.ctl("queue", "count")

    def wait_empty(self, seconds=30):
        wait_for("an empty queue", seconds, lambda: self.count()["messages"] == 0, 0.1)

    # -- connections --

    def raw(self, door="tls", **more):
        return raw.Raw(self.port(door), implicit=door == "tls", **more)

    def login(self, door="tls", key=None, user="apikey", **more):
        """A connection that has authenticated."""
        c = self.raw(door, **more)
        c.ehlo()
        if door != "tls":
            c.starttls()
            c.ehlo()
        raw.check_reply(c.auth(key or self.key, user), "235 2.7.0 Authentication successful", "AUTH")
        return c

    def certificate(self, **more):
        return make_cert(self.scratch, **more)


def parse_line(line):
    try:
        return json.loads(line)
    except ValueError:
        return None


def decode_plain(blob):
    return base64.b64decode(blob).split(b"\0")

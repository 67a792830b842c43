"""The servers of our own: the ceiling and Signet. Each is started for one round, on one core, with
an empty queue, and has port, pid, tls, user, secret, sender, to."""
import json
import os
import shutil
import subprocess

from . import procs
from .tools import free_port, listening

from lab import peers as lab_peers
from lab import signet as lab_signet


class Server:
    """held: nothing is handed on; else to the sink at this port."""

    name = "?"
    tls, user, secret = "starttls", "apikey", "secret"
    sender, to = "bench@shop.example", "rcpt@sink.example"
    load_options = {}
    remark = None           # what is not alike for it
    process = None

    def __init__(self, dir, sink=None, sink_tls=False, cpus=procs.SERVER_CPU, cert=None):
        self.dir, self.sink, self.sink_tls, self.cpus = dir, sink, sink_tls, cpus
        self.port = free_port()
        os.makedirs(dir, exist_ok=True)
        self.cert = cert or lab_peers.make_cert(dir, "localhost", stem="server")

    @property
    def pid(self):
        return self.process.pid

    def __enter__(self):
        try:
            self.start()
            procs.wait_for(f"{self.name} listening on {self.port}", 30, self.up)
            self.ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process:
            self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def up(self):
        if self.process.poll() is not None:
            raise procs.Broken(f"{self.name} ended with {self.process.returncode}:\n{self.log()}")
        return listening(self.port)

    def ready(self):
        """What can only be done while it runs."""

    def stop(self):
        procs.stop(self.process)

    def log(self):
        try:
            with open(os.path.join(self.dir, "server.log"), encoding="utf-8", errors="replace") as f:
                return f.read()[-4000:]
        except OSError:
            return ""

    def log_file(self):
        return open(os.path.join(self.dir, "server.log"), "ab")


class Ceiling(Server):
    name = "ceiling"
    options = ()

    def start(self):
        # One file for all rounds: it must have been written before.
        self.process = procs.start(
            [procs.tool("ceiling"), "--port", self.port, "--cert", self.cert[0], "--key",
             self.cert[1], "--file", os.path.join(procs.WORK, "ceiling.file"), *self.options],
            self.cpus, stdout=subprocess.PIPE, stderr=self.log_file())

    def stop(self):
        procs.stop(self.process)
        lines = self.process.stdout.read().decode().strip().splitlines()
        self.figures = json.loads(lines[-1]) if lines else {}


class Signet(Server):
    """`signet serve` with the configuration that an operator would write; the account is made over
    its control socket like any other."""

    name = "signet"
    sender = "hello@shop.example"
    threads = 1
    binary = os.environ.get("SIGNET", os.path.join(procs.paths.BUILD, "release/src/signet"))

    def __init__(self, *args, threads=1, routes=None, limits=None, options=None, **more):
        super().__init__(*args, **more)
        self.threads, self.routes = threads, routes
        self.limits, self.options = limits or {}, options or {}
        self.data = os.path.join(self.dir, "data")
        self.conf = os.path.join(self.data, "signet.conf")
        self.env = {"PATH": os.environ["PATH"], "HOME": self.dir, "LC_ALL": "C.UTF-8"}

    def configuration(self):
        cert, key = self.cert
        # Nobody listens at a held queue's next hop: the site is left alone for a growing time.
        hop = {"type": "smarthost", "host": "127.0.0.1", "port": str(self.sink or free_port()),
               "tls": "must" if self.sink and self.sink_tls else "none"}
        return {
            "hostname": "signet.test", "data_dir": self.data,
            "control_socket": os.path.join(self.data, "control"), "threads": str(self.threads),
            "spool": {"path": os.path.join(self.data, "spool")},
            "tls": {"certificate": [cert], "key": [key]},
            "limits": self.limits,
            ("listener", "submission"): {"address": [f"127.0.0.1:{self.port}"], "tls": "starttls"},
            **(self.routes or {("route", "onward"): {"domains": ["*"], **hop}}),
            **self.options,
        }

    def start(self):
        if not os.path.exists(self.data):
            self.command("init", "--data", self.data, "--hostname", "signet.test")
        with open(self.conf, "w", encoding="utf-8") as f:
            f.write(lab_signet.conf_text(self.configuration()))
        self.process = procs.start([self.binary, "serve", "--config", self.conf], self.cpus,
                                   env=self.env, stderr=self.log_file())

    def ready(self):
        if self.secret != Server.secret:
            return
        self.ctl("account", "add", "shop")
        self.ctl("domain", "add", "shop.example", "--account", "shop", "--verified")
        self.secret = self.ctl("key", "create", "--account", "shop")["key"]

    def command(self, *args):
        p = subprocess.run([self.binary, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, env=self.env, check=False, timeout=60)
        if p.returncode:
            raise procs.Broken(f"signet {' '.join(args)}: {p.stderr.decode().strip()}")
        return p.stdout.decode()

    def ctl(self, *args):
        return json.loads(self.command(*args, "--json", "--config", self.conf) or "null")

    def count(self):
        return self.ctl("queue", "count")

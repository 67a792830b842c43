"""The two ends of a measurement: the generator and the sink, on the core that is not the server's."""
import json
import select
import signal
import socket
import subprocess
import time

from . import procs
from .procs import Broken

BUSY = 95.0        # per cent of its core: from here on a generator may be what limits


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def listening(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as s:
            return s.recv(4) == b"220 "
    except OSError:
        return False


def load_argv(server, options):
    options = {"to": server.to, **options, **server.load_options}
    argv = [procs.tool("load"), "--port", server.port, "--from", server.sender]
    argv += ["--tls", server.tls]
    if server.user:
        argv += ["--user", server.user, "--secret", server.secret]
    for name, value in options.items():
        argv.append("--" + name.replace("_", "-"))
        if value is not True:
            argv.append(value)
    return argv


def load(server, limit=100, **options):
    """Sends; returns the generator's figures with the server's CPU beside them. A reply that is not
    the hoped-for one makes the round void: what is measured must be the work."""
    before, began = procs.cpu_seconds(server.pid), time.monotonic()
    got = procs.run_json(load_argv(server, options), procs.CLIENT_CPU, limit)
    used = procs.cpu_seconds(server.pid) - before
    if got["errors"]:
        raise Broken(f"{server.name}: replies that should not be: {got['replies']}")
    if not got["messages"]:
        raise Broken(f"{server.name}: nothing was accepted")
    got["began"] = began
    got["server_us"] = used * 1e6 / got["messages"]
    got["server_percent"] = 100 * used / got["seconds"]
    return got


class Held:
    """Connections that have logged in and say nothing more."""

    def __init__(self, server, n, opening=100, seconds=120):
        self.process = procs.start(load_argv(server, {
            "hold": True, "connections": n, "opening": opening, "errors_max": 0}),
            procs.CLIENT_CPU, stdout=subprocess.PIPE)
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        line = self.process.stdout.readline() if ready else b""
        if f'"held":{n}}}'.encode() not in line:
            self.stop()
            raise Broken(f"{server.name}: {n} sessions are not to be had: {line.decode().strip()}")

    def stop(self):
        procs.stop(self.process)


class Sink:
    """Takes everything. port; stop() gives its figures."""

    def __init__(self, cert=None, port=None, cpus=procs.CLIENT_CPU, **options):
        self.port, self.cert = port or free_port(), cert
        argv = [procs.tool("sink"), "--port", self.port]
        if cert:
            argv += ["--cert", cert[0], "--key", cert[1]]
        for name, value in options.items():
            argv.append("--" + name)
            if value is not True:
                argv.append(value)
        self.process = procs.start(argv, cpus, stdout=subprocess.PIPE)
        if options.get("hang"):
            return
        procs.wait_for("the sink", 10, lambda: listening(self.port))

    def count(self):
        """messages so far, first_us and last_us of the clock that time.monotonic() reads."""
        return self.ask(signal.SIGUSR1)

    def way(self):
        """The same, and way_us: of the messages since this was last asked."""
        return self.ask(signal.SIGUSR2)

    def ask(self, sig):
        self.process.send_signal(sig)
        line = self.process.stdout.readline()
        if not line:
            raise Broken("the sink has ended")
        return json.loads(line)

    def wait(self, n, seconds, server=None):
        def there():
            got = self.count()
            if server and server.process.poll() is not None:
                raise Broken(f"{server.name} has ended:\n{server.log()}")
            return got if got["messages"] >= n else None
        return procs.wait_for(f"{n} messages at the sink", seconds, there, 0.05)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            out, _ = self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            return {}
        lines = out.decode().strip().splitlines()
        return json.loads(lines[-1]) if lines else {}

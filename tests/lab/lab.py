"""What a test function gets: servers and peers that end with the test, and a place for files."""
import os
import shutil
import struct
import subprocess
import tempfile

from . import clients, paths, peers, raw
from .peers import Unavailable
from .signet import Signet


class Skip(Exception):
    """The test cannot run here; the text says why and is shown."""


class Lab:
    def __init__(self, name):
        self.name = name
        os.makedirs(paths.SCRATCH, exist_ok=True)
        # Short, since Unix sockets live below it.
        self.dir = tempfile.mkdtemp(prefix="t", dir=paths.SCRATCH)
        os.chmod(self.dir, 0o755)
        self.enders, self.servers, self.raws, self.n = [], [], [], 0

    def make_dir(self, what):
        self.n += 1
        path = os.path.join(self.dir, f"{what}{self.n}")
        os.makedirs(path)
        return path

    def signet(self, options=None, **more):
        return Signet(self, options, **more)

    def peer(self, kind, *args, **more):
        """smarthost, scripted, postfix"""
        try:
            p = {"smarthost": lambda: peers.SmartHost(self.make_dir("smart"), *args, **more),
                 "scripted": lambda: peers.Scripted(*args, **more),
                 "postfix": lambda: peers.Postfix(*args, **more)}[kind]()
        except Unavailable as e:
            raise Skip(str(e)) from None
        self.enders.append(p.stop)
        return p

    def at_end(self, fn):
        self.enders.append(fn)

    def send(self, server, client="smtplib", door="tls", **more):
        return clients.send(client, server, door, **more)

    def build_shim(self, name):
        out = os.path.join(self.make_dir("shim"), f"{name}.so")
        subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", out,
                        f"{paths.TESTS}/lab/shim/{name}.c"], check=True)
        return out

    def clock(self, seconds=0):
        """The environment of a program whose wall clock is off by seconds, and what sets them anew."""
        path = os.path.join(self.make_dir("clock"), "shift")

        def shift(by):
            # In place: the program has the file mapped, and a moment at length 0 would be its end.
            with open(path, "r+b" if os.path.exists(path) else "wb") as f:
                f.write(struct.pack("=q", by))

        shift(seconds)
        return {"LD_PRELOAD": self.build_shim("clock"), "CLOCK_SHIFT_FILE": path}, shift

    def end(self):
        """Stops everything; the first complaint of any of them is the test's."""
        first = None
        for s in self.servers:
            try:
                s.end()
            except Exception as e:  # pylint: disable=broad-except  # reported below
                first = first or e
        for fn in reversed(self.enders):
            try:
                fn()
            except Exception as e:  # pylint: disable=broad-except  # reported below
                first = first or e
        return first

    def abandon(self):
        """The quick way out: no questions asked."""
        for s in self.servers:
            if s.process:
                try:
                    s.kill()
                except OSError:
                    pass
        self.end()

    def logs(self, lines=60):
        out = []
        for s in self.servers:
            out.append(f"  log of {s.scratch} (last {lines} lines):")
            out += [f"    {x[:600]}" for x in s.log_lines[-lines:]]
        return "\n".join(out)

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)


def small_disk(lab, mib=24):
    d = lab.make_dir("disk")
    p = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "none", d],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if p.returncode != 0:
        raise Skip(f"mounting a small file system is not permitted here: {p.stdout.decode().strip()}")
    lab.at_end(lambda: subprocess.run(["umount", d], check=False))
    return d


def check(cond, text="", *args):
    """assert with its values: check(a == b, 'a and b', a, b)"""
    if not cond:
        raise AssertionError(f"{text}" + "".join(f"\n      {a!r}" for a in args))


def equal(got, want, what=""):
    if got != want:
        raise AssertionError(f"{what}\n      wanted {want!r}\n      got    {got!r}")


def throws(kind, fn):
    try:
        fn()
    except kind as e:
        return e
    raise AssertionError(f"no {kind.__name__}")


reply = raw.check_reply

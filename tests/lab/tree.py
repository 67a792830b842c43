"""A tree to chroot into with a mail server of Debian's in it: unpacked, never installed."""
import os
import shutil
import subprocess

from . import paths

BASE_USERS = (("root", 0), ("nobody", 65534))


class Unavailable(Exception):
    """A peer cannot run here; the text says why. The test is skipped, visibly."""


def files(name, package, *paths_inside):
    """The directory build/peers/NAME with these files of a package in it."""
    base = os.path.join(paths.BUILD, "peers", name)
    p = subprocess.run([f"{paths.TESTS}/lab/fetch-files", base, package,
                        *(f"./{x}" for x in paths_inside)], check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if p.returncode:
        raise Unavailable(f"{name} could not be fetched: {p.stderr.decode()[-300:]}")
    return base


class Tree:
    """packages are unpacked under build/peers/NAME with the libraries they need. users: names and
    numbers beyond root and nobody; each has a group of the same name and number."""

    def __init__(self, name, packages, users=()):
        if os.geteuid() != 0:
            raise Unavailable(f"{name} needs root: chroot, and users of its own")
        base = os.path.join(paths.BUILD, "peers", name)
        p = subprocess.run([f"{paths.TESTS}/lab/fetch-tree", base, *packages], check=False,
                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if p.returncode:
            raise Unavailable(f"{name} could not be fetched: {p.stderr.decode()[-300:]}")
        self.root = os.path.join(base, "root")
        self.make_dev(name)
        self.make_etc([*BASE_USERS, *users])

    def make_dev(self, name):
        for d in ("dev", "etc", "proc", "run", "tmp", "var/log", "usr/lib/zoneinfo"):
            os.makedirs(f"{self.root}/{d}", exist_ok=True)
        try:
            for node, minor in (("null", 3), ("random", 8), ("urandom", 9)):
                path = f"{self.root}/dev/{node}"
                if not os.path.exists(path):
                    os.mknod(path, 0o666 | 0o020000, os.makedev(1, minor))
                    os.chmod(path, 0o666)
        except FileExistsError:
            pass                      # another scenario was quicker
        except PermissionError:
            raise Unavailable(f"{name} needs /dev/null in its chroot, and mknod is not permitted"
                              ) from None

    def make_etc(self, users):
        for file, text in (
                ("passwd", "".join(f"{u}:x:{n}:{n}::/:/bin/false\n" for u, n in users)),
                ("group", "".join(f"{u}:x:{n}:\n" for u, n in users)),
                ("hosts", "127.0.0.1 localhost\n"),
                ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
                ("resolv.conf", "")):
            self.put(f"{self.root}/etc/{file}", text)

    @staticmethod
    def put(path, text):
        """In one step: somebody else's program in the same tree may be reading it."""
        try:
            with open(path, encoding="utf-8") as f:
                if f.read() == text:
                    return
        except OSError:
            pass
        with open(f"{path}.{os.getpid()}", "w", encoding="utf-8") as f:
            f.write(text)
        os.rename(f"{path}.{os.getpid()}", path)

    def clone(self, name):
        """A tree of one instance's own, for programs whose paths cannot be configured: the same
        files by hard links, so what is written must be unlinked first (write() does)."""
        twin = object.__new__(Tree)
        twin.root = os.path.join(os.path.dirname(self.root), f"clone-{name}")
        shutil.rmtree(twin.root, ignore_errors=True)
        subprocess.run(["cp", "-al", self.root, twin.root], check=True)
        return twin

    def remove(self):
        """A clone's end."""
        shutil.rmtree(self.root, ignore_errors=True)

    def write(self, inside, text, mode=0o644, owner=None):
        path = self.path(inside)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.lexists(path):
            os.unlink(path)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, mode)
        if owner is not None:
            os.chown(path, owner, owner)

    def resolver(self, nameserver, trusted=None):
        """Whom the programs in it ask, and which certificates they trust."""
        self.write("/etc/resolv.conf", f"nameserver {nameserver}\n")
        self.write("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
        if trusted:
            with open(trusted, encoding="utf-8") as f:
                self.write("/etc/ssl/certs/ca-certificates.crt", f.read())

    def make_dir(self, inside, mode=0o755, owner=0):
        path = self.path(inside)
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)
        os.chmod(path, mode)
        os.chown(path, owner, owner)

    def path(self, inside):
        return self.root + inside

    def argv(self, *command):
        return ["chroot", self.root, *command]

    def run(self, *command, **more):
        return subprocess.run(self.argv(*command), check=True, stdout=subprocess.DEVNULL, **more)

    def run_out(self, *command, cwd="/"):
        """Runs a program in a directory of the tree; returns what it says."""
        def enter():
            os.chroot(self.root)
            os.chdir(cwd)

        p = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           preexec_fn=enter)
        if p.returncode:
            raise AssertionError(f"{command}: {p.stderr.decode()}{p.stdout.decode()}")
        return p.stdout.decode()

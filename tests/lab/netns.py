"""A network of this process's own: addresses of the public internet on its loopback device, routes
that lead nowhere. Nobody outside can see it, and nothing gets out."""
import ctypes
import os
import socket
import subprocess

from .lab import Skip

CLONE_NEWNET = 0x40000000


def ip(*args):
    p = subprocess.run(["ip", *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if p.returncode:
        raise Skip(f"ip {' '.join(args)}: {p.stdout.decode().strip()}")


def enter():
    """This thread, and what it starts from now on, is in a network namespace of its own, for good."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise Skip(f"a network namespace of one's own: {os.strerror(ctypes.get_errno())}")
    ip("link", "set", "lo", "up")
    if not os.path.exists("/proc/net/if_inet6"):
        raise Skip("no IPv6 in this kernel")


def address(*addresses):
    for a in addresses:
        ip("address", "add", a + ("/128" if ":" in a else "/32"), "dev", "lo",
           *(["nodad"] if ":" in a else []))


class Deaf:
    """A port whose queue of new connections is full: whoever knocks there hears nothing."""

    def __init__(self, host, port):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socks = [socket.socket(family) for _ in range(4)]
        self.socks[0].bind((host, port))
        self.socks[0].listen(0)
        for s in self.socks[1:]:
            s.setblocking(False)
            s.connect_ex((host, port))

    def stop(self):
        for s in self.socks:
            s.close()


def unreachable(*nets):
    for n in nets:
        ip(*(["-6"] if ":" in n else []), "route", "add", "unreachable", n)

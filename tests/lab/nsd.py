"""NSD with zones of a test's own: Debian's package in a tree, a private root, signed where it says so.

The root zone and every zone below it are on one server, which is what a resolver forwards to. The
root's key is the trust anchor that Signet is given; nobody else knows it."""
import os
import shutil
import signal
import socket
import struct
import subprocess

from . import paths
from .lab import Skip
from .raw import wait_for
from .tree import Tree, Unavailable

PACKAGES = ("nsd", "ldnsutils")
SOA = "@ IN SOA ns.nic.example. nobody.nic.example. 1 3600 600 86400 5"
NSD_CONF = """
server:
  ip-address: {address}@{port}
  {also}
  zonesdir: "{inst}"
  database: ""
  username: ""
  chroot: ""
  pidfile: "{inst}/pid"
  xfrdfile: "{inst}/xfrd"
  zonelistfile: "{inst}/zonelist"
  logfile: "{inst}/log"
  server-count: 1
  minimal-responses: no
remote-control:
  control-enable: no
"""


def fetch():
    """Unpacks what an Nsd needs: before a network of one's own, where nothing can be fetched."""
    try:
        Tree("nsd", PACKAGES)
    except Unavailable as e:
        raise Skip(str(e)) from None


class Zone:
    """records: lines of a zone file, relative to the origin ("." or "a.example.")."""

    def __init__(self, origin, records=(), signed=False, bogus=()):
        self.origin, self.records, self.signed = origin, list(records), signed
        self.bogus = list(bogus)        # (old, new) in the signed text: what a forger would change
        self.ds = []

    def text(self, ns):
        # A short TTL, negative answers included: a test may change its mind.
        lines = [f"$ORIGIN {self.origin}", "$TTL 5", SOA, f"@ IN NS {ns}", *self.records]
        return "\n".join(lines) + "\n"


class Nsd:
    """zones: children before parents, the root last; a signed child of a signed zone gets its DS
    there, an unsigned one is delegated without. It listens on port 53 as well, where the resolvers of
    other people's programs ask, unless only; and there at further addresses, too."""

    def __init__(self, address, port, zones, only=False, further=()):
        self.address, self.port, self.zones = address, port, zones
        self.tree = Tree("nsd", PACKAGES)
        self.inst = f"/inst/{os.getpid()}-{address}-{port}"
        self.dir = self.tree.path(self.inst)
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir)
        with open(f"{self.dir}/nsd.conf", "w", encoding="utf-8") as f:
            f.write(NSD_CONF.format(
                address=address, port=port, inst=self.inst,
                also="\n  ".join(f"ip-address: {a}@53" for a in (*([] if only else [address]), *further))))
            for z in zones:
                self.write(z)
                f.write(f'zone:\n  name: "{z.origin}"\n  zonefile: "{self.file(z)}"\n')
        self.log = open(f"{self.dir}/stderr", "wb")
        self.process = subprocess.Popen(
            self.tree.argv("/usr/sbin/nsd", "-d", "-c", f"{self.inst}/nsd.conf"),
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            preexec_fn=paths.die_with(signal.SIGTERM))
        try:
            wait_for("NSD's answer", 20, self.answers, 0.05)
        except AssertionError as e:
            self.stop()
            raise AssertionError(f"NSD does not start: {e}") from None

    def file(self, zone):
        return f"zone-{zone.origin.strip('.') or 'root'}"

    def parent(self, zone):
        above = [z for z in self.zones if z is not zone and zone.origin != "."
                 and (z.origin == "." or zone.origin.endswith("." + z.origin))]
        return max(above, key=lambda z: len(z.origin), default=None)

    def write(self, zone):
        path = f"{self.dir}/{self.file(zone)}"
        with open(path, "w", encoding="utf-8") as f:
            f.write(zone.text("ns.nic.example."))
        if zone.signed:
            self.sign(zone, path)
        up = self.parent(zone)
        if up:
            up.records += [f"{zone.origin} IN NS ns.nic.example.", *zone.ds]

    def sign(self, zone, path):
        kept = f"{self.dir}/{self.file(zone)}.key"
        out = self.tree.run_out("/usr/bin/ldns-keygen", "-a", "ECDSAP256SHA256", "-k", zone.origin,
                                cwd=self.inst)
        base = f"{self.inst}/{out.strip().splitlines()[-1]}"
        shutil.copy(self.tree.path(base) + ".key", kept)
        with open(self.tree.path(base) + ".ds", encoding="utf-8") as f:
            zone.ds = [x.strip() for x in f if x.strip()]
        self.tree.run_out("/usr/bin/ldns-signzone", "-f", f"{self.inst}/{self.file(zone)}",
                          f"{self.inst}/{self.file(zone)}", base)
        with open(path, encoding="utf-8") as f:
            text = f.read()
        for old, new in zone.bogus:
            assert old in text, f"{old!r} is not in the signed {zone.origin}"
            text = text.replace(old, new)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        if zone.origin == ".":
            self.trust_anchor = kept

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(self.said())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(0.5)
            try:
                s.connect((self.address, self.port))
                s.send(struct.pack(">6H", 7, 0, 1, 0, 0, 0) + b"\0" + struct.pack(">2H", 6, 1))
                return s.recv(4096)[:2] == b"\0\7"
            except OSError:
                return False

    def said(self):
        text = ""
        for n in ("log", "stderr"):
            try:
                with open(f"{self.dir}/{n}", encoding="utf-8", errors="replace") as f:
                    text += f.read()
            except OSError:
                pass
        return text

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)

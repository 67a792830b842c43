"""What the machine itself can do: a disk without a server, AES without a socket."""
import os
import re
import subprocess
import time

from . import procs
from .figures import Spread


def disk_mb(rounds=5, mb=64):
    """Megabytes a second into a new file, with a sync after each MiB."""
    path, block, out = os.path.join(procs.WORK, "disk"), os.urandom(1 << 20), []
    for _ in range(rounds):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            at = time.monotonic()
            for i in range(mb):
                os.pwrite(fd, block, i << 20)
                os.fdatasync(fd)
            out.append((mb << 20) / 1e6 / (time.monotonic() - at))
        finally:
            os.close(fd)
            os.unlink(path)
    return Spread(out)


def aes_mb(rounds=3):
    """Megabytes a second of the cipher that all agree upon, in records of TLS's size."""
    out = []
    for _ in range(rounds):
        text = subprocess.run(procs.on_cpu(procs.SERVER_CPU, [
            "openssl", "speed", "-elapsed", "-seconds", "1", "-bytes", "16384", "-evp",
            "aes-256-gcm"]), check=True, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL).stdout.decode()
        out.append(float(re.search(r"^AES-256-GCM\s+([\d.]+)k", text, re.M | re.I)[1]) / 1e3)
    return Spread(out)

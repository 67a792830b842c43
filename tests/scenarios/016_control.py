"""The control socket: strict HTTP from root and the service's own user, nothing from anybody else."""
import json
import os
import re
import socket
import time

from lab.lab import Skip, check, equal, reply
from lab.raw import wait_for

HOST = b"Host: x\r\n"


class Control:
    def __init__(self, s):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(15)
        self.sock.connect(s.options["control_socket"])

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def rest(self):
        """What comes until the server closes."""
        out = b""
        try:
            while more := self.sock.recv(65536):
                out += more
        except ConnectionResetError:
            pass
        return out


def parsed(answer):
    """(status, head, body) of the one reply that `answer` is; its length is the announced one."""
    head, _, body = answer.partition(b"\r\n\r\n")
    check(re.match(rb"HTTP/1\.1 \d\d\d [A-Z]", head), "a status line", answer)
    check(b"\n" not in head.replace(b"\r\n", b""), "no bare LF in the head", head)
    n = int(re.search(rb"(?mi)^Content-Length: (\d+)\r?$", head).group(1))
    equal(len(body), n, f"Content-Length of {answer!r}")
    return int(head[9:12]), head, body


def ask(s, data):
    with Control(s) as c:
        c.send(data)
        c.sock.shutdown(socket.SHUT_WR)
        return parsed(c.rest())


def setup(lab):
    return lab.signet()


def test_a_call(lab, s):
    code, head, body = ask(s, b"GET /control/status HTTP/1.1\r\n" + HOST + b"\r\n")
    equal(code, 200, head)
    equal(json.loads(body)["state"], "running", body)
    check(re.search(rb"(?mi)^Content-Type: application/json\r?$", head), "its type", head)


# Each is doubt about where a request ends or what it is: refused, closed, and what follows it is
# never taken for a request.
DOUBT = {
    "two_lengths": (400, b"POST /control/accounts HTTP/1.1\r\n" + HOST
                    + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    "length_and_encoding": (400, b"POST /control/accounts HTTP/1.1\r\n" + HOST
                            + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "bare_lf": (400, b"GET /control/status HTTP/1.1\nHost: x\n\n"),
    "obs_fold": (400, b"GET /control/status HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n"),
    "blank_before_colon": (400, b"GET /control/status HTTP/1.1\r\n" + HOST + b"X : a\r\n\r\n"),
    "no_host": (400, b"GET /control/status HTTP/1.1\r\n\r\n"),
    "nul": (400, b"GET /control/status\x00 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "huge_length": (413, b"POST /control/accounts HTTP/1.1\r\n" + HOST
                    + b"Content-Length: 99999999999\r\n\r\n"),
    "huge_head": (431, b"GET /control/status HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 20000 + b"\r\n\r\n"),
    "huge_chunk": (413, b"POST /control/accounts HTTP/1.1\r\n" + HOST
                   + b"Transfer-Encoding: chunked\r\n\r\n200000\r\n"),
    "smtp": (400, b"EHLO x\r\n"),
}


def doubt(s, want, data):
    smuggled = b"POST /control/accounts HTTP/1.1\r\n" + HOST + b"Content-Length: 19\r\n\r\n"
    with Control(s) as c:
        c.send(data + smuggled + b'{"name":"smuggled"}')
        code, head, _ = parsed(c.rest())
    equal(code, want, head)
    check(re.search(rb"(?mi)^Connection: close\r?$", head), "it says that it closes", head)
    names = [a["name"] for a in s.ctl("account", "list")["accounts"]]
    check("smuggled" not in names, "what followed was taken for a request", names)


def tests():
    for name, (want, data) in DOUBT.items():
        yield f"test_doubt_{name}", lambda lab, s, w=want, d=data: doubt(s, w, d)


def test_refusals_of_a_whole_request(lab, s):
    for want, line, body in ((404, b"GET /nowhere", b""), (404, b"GET /control/../control/status", b""),
                             (405, b"DELETE /control/status", b""), (400, b"POST /control/accounts", b"{"),
                             (400, b"POST /control/accounts", b'{"name":"a","name":"b"}'),
                             (400, b"POST /control/accounts", b"[" * 5000)):
        code, head, text = ask(s, line + b" HTTP/1.1\r\n" + HOST
                               + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        equal(code, want, f"{line} {body[:30]}: {head} {text}")
        check(json.loads(text)["error"]["message"], "a sentence", text)


def test_what_is_logged_of_a_call(lab, s):
    """Who acted, and no more of a hostile path than a line can bear."""
    ask(s, b"GET /control/%1b%5b31m%0a%0dx HTTP/1.1\r\n" + HOST + b"\r\n")
    lines = s.wait_event("control", status=404)
    check(all(re.fullmatch(r"uid:\d+ pid:\d+", e["actor"]) for e in lines), "who", lines)
    for line in list(s.log_lines):
        check(all(ord(ch) >= 0x20 for ch in line), "a control byte in the log", line)


def test_half_a_request_is_none(lab, s):
    """And who says nothing more holds nobody up."""
    held = [Control(s) for _ in range(50)]
    for c in held:
        c.send(b"POST /control/accounts HTTP/1.1\r\n" + HOST + b"Content-Length: 15\r\n\r\n{\"name\":")
    equal(s.ctl("status")["state"], "running", "another call")
    for c in held:
        c.sock.close()
    with s.login() as c:
        reply(c.cmd("NOOP"), "250 *")


def test_gone_before_the_answer(lab, s):
    for _ in range(100):
        with Control(s) as c:
            c.send(b"GET /control/accounts HTTP/1.1\r\n" + HOST + b"\r\n")
    equal(s.ctl("status")["state"], "running", "afterwards")


def test_others_are_told_nothing(lab):
    """By SO_PEERCRED, whatever the modes of file and directory say; and it is recorded."""
    if os.geteuid() != 0:
        raise Skip("needs root to become somebody else")
    s = lab.signet(bare=True)
    path = s.options["control_socket"]
    equal(os.stat(path).st_mode & 0o777, 0o600, "the socket's mode")
    listener = os.open(path, os.O_PATH)     # the way there is not what is tested
    os.chmod(path, 0o666)
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgid(65534)
            os.setgroups([])
            os.setuid(65534)
            c = socket.socket(socket.AF_UNIX)
            c.settimeout(10)
            c.connect(f"/proc/self/fd/{listener}")
            c.sendall(b"GET /control/accounts HTTP/1.1\r\n" + HOST + b"\r\n")
            out = b""
            try:
                while more := c.recv(65536):
                    out += more
            except ConnectionResetError:
                pass
            os.write(w, out)
        except BaseException as e:  # pylint: disable=broad-except  # shown by the parent
            os.write(w, repr(e).encode())
        os._exit(0)
    os.close(w)
    answer = b""
    while more := os.read(r, 65536):
        answer += more
    os.waitpid(pid, 0)
    os.close(listener)
    code, _, body = parsed(answer)
    equal(code, 403, answer)
    equal(json.loads(body)["error"]["kind"], "denied", body)
    said = wait_for("a line about it", 5, lambda: s.events("control", status=403))
    check(re.fullmatch(r"uid:65534 pid:\d+", said[0]["actor"]), "who it was", said)
    time.sleep(0.1)
    equal(s.ctl("account", "list")["accounts"], [], "root is served")

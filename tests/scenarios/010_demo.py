"""The first five minutes: signet init --demo, and the two commands that it prints."""
import os
import re
import subprocess

from lab import paths, raw
from lab.lab import check
from lab.raw import wait_for


def demo(lab):
    """./var as `./dev run` makes it, on ports of its own; (directory, what init printed)."""
    var = os.path.join(lab.make_dir("demo"), "var")
    p = subprocess.run([paths.SIGNET, "init", "--demo", "--data", var], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, check=False, stdin=subprocess.DEVNULL)
    out = p.stdout.decode()
    check(p.returncode == 0, "init --demo", out)
    return var, out


def shell_commands(out):
    """The ready-to-paste commands, with continued lines joined."""
    joined = re.sub(r"\|\n\s*", "| ", re.sub(r"\\\n\s*", " ", out))
    return [x.strip() for x in joined.splitlines() if re.match(r"\s*(swaks|curl|printf) ", x)]


def on_other_ports(lab, var, text):
    """The demo's ports may be taken on this machine: the same text with free ones."""
    from lab.peers import free_ports
    new = dict(zip(("2525", "5870", "4650"), map(str, free_ports(3))))
    sub = lambda t: re.sub(r"\b(2525|5870|4650)\b", lambda m: new[m.group(1)], t)
    conf = os.path.join(var, "signet.conf")
    with open(conf, encoding="utf-8") as f:
        changed = sub(f.read())
    with open(conf, "w", encoding="utf-8") as f:
        f.write(changed)
    return sub(text), {k: int(v) for k, v in new.items()}


def serve(lab, var, port):
    log = open(os.path.join(os.path.dirname(var), "log"), "ab")
    p = subprocess.Popen([paths.SIGNET, "serve", "--config", os.path.join(var, "signet.conf")],
                         stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                         preexec_fn=paths.die_with())

    def up():
        check(p.poll() is None, "serve ended", open(log.name, encoding="utf-8").read())
        try:
            raw.Raw(port, timeout=2).close()
            return True
        except (OSError, raw.Closed):
            return False

    def end():
        if p.poll() is None:
            p.terminate()
            p.wait(40)

    lab.at_end(end)
    wait_for("the demo relay", 20, up)
    return p, end, log.name


def captured(var):
    new = os.path.join(var, "capture", "new")
    return [open(os.path.join(new, n), "rb").read() for n in sorted(os.listdir(new))] \
        if os.path.isdir(new) else []


def test_init_prints_a_key_once_and_commands_that_work(lab):
    var, out = demo(lab)
    keys = set(re.findall(r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}", out))
    check(len(keys) == 1, "exactly one key is printed", out)
    out, ports = on_other_ports(lab, var, out)
    commands = shell_commands(out)
    check([("swaks" in c, "curl" in c) for c in commands] == [(True, False), (False, True)],
          "swaks and curl are shown", out)
    p, end, log = serve(lab, var, ports["5870"])
    for i, c in enumerate(commands, 1):
        check(not re.search(r"\s-[a-zA-Z]\b", re.sub(r"'[^']*'", "", c)), "long options only", c)
        r = subprocess.run(["sh", "-c", c], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           stdin=subprocess.DEVNULL, timeout=60, check=False, cwd=lab.dir)
        check(r.returncode == 0, c, r.stdout.decode())
        wait_for("the message in the Maildir", 10, lambda: len(captured(var)) >= i)
    text = open(log, encoding="utf-8").read()
    check(keys.pop() not in text, "the key is in the log")
    end()
    text = open(log, encoding="utf-8").read()
    for line in (r"authentication .* result=ok", r"message accepted .* from=hello@demo\.example",
                 r"outcome .* to=you@example\.com outcome=delivered"):
        n = len(re.findall(rf"^\d\d:\d\d:\d\d {line}", text, re.M))
        check(n == 2, "a line for people, for each message", line, n, text)
    check(p.returncode == 0, "exit code", p.returncode)


def test_second_start_keeps_state(lab):
    var, out = demo(lab)
    key = re.search(r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}", out).group(0)
    out, ports = on_other_ports(lab, var, out)
    for _ in range(2):
        _, end, _ = serve(lab, var, ports["5870"])
        with raw.Raw(ports["4650"], implicit=True) as c:
            c.ehlo()
            raw.check_reply(c.auth(key), "235 2.7.0 Authentication successful")
            c.cmd("QUIT")
        end()


def test_init_does_not_overwrite(lab):
    var, _ = demo(lab)
    before = open(os.path.join(var, "signet.conf"), "rb").read()
    p = subprocess.run([paths.SIGNET, "init", "--demo", "--data", var], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, check=False)
    check(p.returncode != 0, "a second init is refused", p.stdout.decode())
    check(before == open(os.path.join(var, "signet.conf"), "rb").read(), "the file is as it was")


def test_secret_files_are_private(lab):
    var, _ = demo(lab)
    for root, dirs, files in os.walk(var):
        for n in dirs + files:
            path = os.path.join(root, n)
            mode = os.lstat(path).st_mode & 0o777
            if re.search(r"master|key|\.db|spool|sqlite", n):
                check(mode & 0o077 == 0, f"{path} is {mode:o}")

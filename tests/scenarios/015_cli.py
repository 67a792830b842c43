"""The command line: tables for people, JSON for programs, exit codes, errors that say what to do."""
import email.header
import json
import os
import re
import subprocess

from lab.lab import check, equal, reply


def run(s, *args, stdin=b"", user=None, fd=None):
    p = subprocess.run([s.binary, *args], input=stdin, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, timeout=30, env=s.environment(), check=False,
                       user=user, group=user, extra_groups=[] if user else None,
                       pass_fds=[fd] if fd is not None else [])
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def setup(lab):
    return lab.signet()


def wants(s, code, *args, says=None, **more):
    got, out, err = run(s, *args, "--config", s.conf, **more)
    equal(got, code, f"{args}: exit code; {out}{err}")
    if says:
        check(re.search(says, out + err), f"{args} says {says}", out + err)
    if code:
        check(len(err.strip().splitlines()) == 1, f"{args}: one line", err)
        equal(out, "", f"{args}: nothing on standard output")
    return out


def test_exit_codes(lab, s):
    wants(s, 64, "frobnicate", says="signet help")
    wants(s, 64, "key", "create", "--frob", says="--frob")
    wants(s, 64, "account", "add", says="usage")
    wants(s, 66, "key", "show", "nosuchkey0123456789AB")
    wants(s, 66, "account", "suspend", "nobody", says="nobody")
    wants(s, 66, "key", "create", "--account", "nobody", says="nobody")
    wants(s, 66, "queue", "show", "AAAAAAAAAAAAAAAAAAAAAA")
    wants(s, 73, "account", "add", "shop", says="shop")
    wants(s, 73, "domain", "add", "shop.example", "--account", "shop", "--verified")
    wants(s, 65, "account", "add", "no such name!")
    wants(s, 65, "domain", "add", "not a domain", "--account", "shop", "--verified")
    wants(s, 65, "key", "create", "--account", "shop", "--scope", "mail.fly", says="mail.fly")
    wants(s, 65, "key", "create", "--account", "shop", "--import", stdin=b"hunter2\n")
    wants(s, 78, "config", "check", "/nonexistent/signet.conf")


def test_no_server(lab):
    s = lab.signet(start=False)
    got, out, err = run(s, "status", "--config", s.conf)
    equal(got, 69, err)
    check("is the server running?" in err, "it says what to do", err)


def test_help_names_every_command(lab, s):
    got, out, _ = run(s, "help")
    equal(got, 0, "help")
    for c in ("serve", "init", "account add", "account list", "account suspend", "account resume",
              "key create", "key list", "key show", "key revoke", "domain add", "domain list",
              "domain remove", "queue list", "queue show", "queue count", "queue damaged", "send",
              "status", "config check", "config dump", "spool salvage"):
        check(c in out, c, out)


def test_keys(lab, s):
    kid, key = s.new_key("shop", "--name", "check out")
    check(re.fullmatch(r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}", key), "the key's form")
    equal(key.split(".")[1], kid, "the id is in the key")
    table = wants(s, 0, "key", "list", "--account", "shop")
    check(kid in table and "check out" in table, "listed", table)
    check(key.split(".")[2] not in table, "the secret is shown once", table)
    shown = json.dumps(s.ctl("key", "show", kid))
    check(kid in shown and "mail.send" in shown and key.split(".")[2] not in shown, "show", shown)
    wants(s, 0, "key", "revoke", kid)
    equal(s.ctl("key", "show", kid)["state"], "revoked", "its state")


def test_import(lab, s):
    key = "SG." + "i" * 22 + "." + "J" * 43
    s.know_secret(key)
    s.ctl("key", "create", "--account", "shop", "--import", stdin=key + "\n")
    wants(s, 73, "key", "create", "--account", "shop", "--import", stdin=key.encode() + b"\n")


def test_labels_reach_no_terminal(lab, s):
    got, out, err = run(s, "key", "create", "--account", "shop", "--name", "\x1b[31mred", "--config",
                        s.conf)
    check("\x1b" not in out + err, "escape", out + err)
    text = wants(s, 0, "key", "list", "--account", "shop")
    check("\x1b" not in text, "escape", text)


def test_accounts_and_domains(lab, s):
    wants(s, 0, "account", "add", "second")
    check("second" in wants(s, 0, "account", "list"), "listed")
    wants(s, 0, "domain", "add", "second.example", "--account", "second", "--verified")
    wants(s, 73, "domain", "add", "second.example", "--account", "shop", "--verified")
    check("second.example" in wants(s, 0, "domain", "list", "--account", "second"), "listed")
    wants(s, 0, "domain", "remove", "second.example", "--account", "second")
    wants(s, 0, "domain", "add", "Second.Example", "--account", "shop", "--verified")
    wants(s, 66, "domain", "remove", "unknown.example", "--account", "shop")


def test_send(lab, s):
    path = os.path.join(s.scratch, "key")
    with open(path, "w", encoding="utf-8") as f:
        f.write(s.key + "\n")
    wants(s, 0, "send", "--from", s.sender, "--to", "you@example.com", "--subject", "by hand \u00fc",
          "--key-file", path, says="queued as")
    m = email.message_from_bytes(s.wait_captured(1)[0])
    equal(str(email.header.make_header(email.header.decode_header(m["Subject"]))), "by hand \u00fc",
          "the subject as a reader shows it")
    wants(s, 0, "send", "--from", s.sender, "--to", "you@example.com", "--key-file", "-",
          stdin=s.key.encode() + b"\n")
    got, out, err = run(s, "send", "--config", s.conf, "--from", "ceo@bank.example", "--to",
                        "you@example.com", "--key-file", path)
    check(got != 0 and "550 5.7.1" in err, "the refusal is shown", got, err)


def test_status_and_queue(lab, s):
    with s.login() as c:
        reply(c.message(s.sender, "you@example.com", f"From: {s.sender}\r\n\r\nhi\r\n"), "250 *")
        st = s.ctl("status")
        equal((st["state"], st["pid"], st["accepted"] >= 1), ("running", s.pid(), True), str(st))
    wants(s, 0, "status")
    s.wait_empty()
    equal(s.ctl("queue", "list")["messages"], [], "an empty list")
    wants(s, 0, "queue", "count")
    wants(s, 0, "queue", "damaged")


def test_waiting_message_is_shown(lab):
    s = lab.signet({("route", "capture"): None,
                    ("route", "nowhere"): {"domains": ["*"], "type": "smarthost",
                                           "host": "127.0.0.1", "port": 9, "tls": "none"}})
    with s.login() as c:
        r = c.message(s.sender, ["a@example.com", "b@example.net"],
                      f"From: {s.sender}\r\n\r\nhi\r\n")
        reply(r, "250 2.0.0 *")
    mid = r.split()[-1]
    check(mid in wants(s, 0, "queue", "list"), "listed")
    shown = wants(s, 0, "queue", "show", mid)
    for word in ("a@example.com", "b@example.net", s.sender):
        check(word in shown, word, shown)
    check(mid in wants(s, 0, "queue", "list", "--destination", "example.net"), "by destination")
    check(mid not in wants(s, 0, "queue", "list", "--destination", "example.org"), "by another")


def test_control_socket_is_for_the_owner(lab, s):
    """root and the service's own user only, by SO_PEERCRED, whatever the file's mode says."""
    if os.geteuid() != 0:
        from lab.lab import Skip
        raise Skip("needs root to become somebody else")
    path = s.options["control_socket"]
    check(os.stat(path).st_mode & 0o077 == 0, "mode", oct(os.stat(path).st_mode))
    os.chmod(path, 0o777)
    fd = os.open(path, os.O_PATH)       # whatever stands on the way there
    got, out, err = run(s, "account", "list", "--socket", f"/proc/self/fd/{fd}", user=65534, fd=fd)
    os.close(fd)
    equal(got, 77, "exit code: " + out + err)
    equal(out, "", "nothing is told")
    check("root and the service's user" in err, "it says why", err)
    refused = s.wait_event("control", status=403)
    check(re.fullmatch(r"uid:65534 pid:\d+", refused[0]["actor"]), "who it was", refused)
    os.chmod(path, 0o700)

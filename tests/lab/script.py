"""Text scripts: a bug report can be a test.

A file in tests/scripts, NNN_name.smtp, of lines:

    # comment
    on PLAIN | STARTTLS | TLS | AUTH    the state to begin in (default AUTH: logged in inside TLS)
    with OPTION VALUE                   a limit of this script's own server
    C: text                             a client line; CRLF is added
    C> text                             bytes with \\r \\n \\0 \\t \\xNN \\\\ escapes; nothing is added
    S: reply                            the next reply, one S: a line of it; * is any text
    tls                                 the handshake begins
    login                               AUTH PLAIN with the good key; wants 235
    closed                              the server closes here
    repeat N: C: text / repeat N: S: r  the line N times (the client's all in one write)

In text, {key} {user} {plain} {name} {from} {to} stand for the good key, its user name, its AUTH
PLAIN response, the server's host name, an allowed sender and a recipient; {N*X} for X N times.
"""
import re

from . import raw


class ScriptError(AssertionError):
    pass


def unescape(text):
    def one(m):
        c = m.group(1)
        if c[0] == "x":
            return chr(int(c[1:], 16))
        return {"r": "\r", "n": "\n", "0": "\0", "t": "\t", "\\": "\\"}[c]

    return re.sub(r"\\(x[0-9a-fA-F]{2}|[rn0t\\])", one, text)


def fill(text, words):
    text = re.sub(r"\{(\d+)\*([^{}]+)\}", lambda m: int(m.group(1)) * m.group(2), text)
    return re.sub(r"\{(key|user|plain|name|from|to)\}", lambda m: words[m.group(1)], text)


def parse(path):
    steps, options, begin = [], [], "AUTH"
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            line = line.rstrip("\n")
            if not line.strip() or line.startswith("#"):
                continue
            count = 1
            m = re.match(r"repeat (\d+): (.*)", line)
            if m:
                count, line = int(m.group(1)), m.group(2)
            if m := re.match(r"on (PLAIN|STARTTLS|TLS|AUTH)$", line):
                begin = m.group(1)
            elif m := re.match(r"with (\S+) (.+)$", line):
                options.append((m.group(1), m.group(2)))
            elif m := re.match(r"(C:|C>|S:) ?(.*)$", line):
                steps.append((number, m.group(1), m.group(2), count))
            elif line in ("tls", "login", "closed"):
                steps.append((number, line, "", 1))
            else:
                raise ScriptError(f"{path}:{number}: not a script line: {line}")
    return begin, options, steps


def connect(server, begin):
    """A connection in one of the states a script can begin in."""
    if begin == "PLAIN":
        return raw.Raw(server.ports["submission"], greet=False)
    if begin == "STARTTLS":
        c = raw.Raw(server.ports["submission"])
        c.ehlo()
        c.starttls()
        return c
    c = raw.Raw(server.ports["tls"], implicit=True)
    if begin == "AUTH":
        c.ehlo()
        raw.check_reply(c.auth(server.key), "235 2.7.0 Authentication successful", "AUTH")
    return c


def play(server, path):
    begin, _, steps = parse(path)
    words = {"key": server.key, "user": "apikey", "plain": raw.plain("apikey", server.key),
             "name": server.hostname, "from": server.sender, "to": "you@example.com"}
    c = connect(server, begin)
    pending = []

    def settle(at):
        """Compares the S: lines collected so far with replies."""
        want = list(pending)
        pending.clear()
        while want:
            try:
                got = c.reply()
            except raw.Closed as e:
                raise ScriptError(f"{path}:{at}: {e}, wanted {want[0]!r}\n{c.show()}") from e
            for line in got.lines:
                if not want:
                    raise ScriptError(f"{path}:{at}: one line too many: {line!r}\n{c.show()}")
                if not raw.matches(line, want.pop(0)):
                    raise ScriptError(f"{path}:{at}: got {line!r}\n{c.show()}")

    try:
        for at, what, text, count in steps:
            if what != "S:":
                settle(at)
            if what == "C:":
                c.send((fill(text, words) + "\r\n") * count)
            elif what == "C>":
                c.send(unescape(fill(text, words)).encode("latin-1") * count)
            elif what == "S:":
                pending.extend([fill(text, words)] * count)
            elif what == "tls":
                c.start_tls_now()
            elif what == "login":
                raw.check_reply(c.auth(server.key), "235 2.7.0 Authentication successful", "login")
            elif what == "closed":
                if not c.closed():
                    raise ScriptError(f"{path}:{at}: not closed\n{c.show()}")
        settle(at)
    finally:
        c.close()

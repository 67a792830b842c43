"""The order proof: reads `strace -f -yy -ttt` of a server, and says for every acknowledgement
whether its message was written and synced before.

What is known from outside: the client numbers its messages, one at a time on a connection, and
each message carries tags that are nowhere else, one in its head, one in its body. In the trace a message's bytes are seen where they
are written into a spool file (the body's bytes are stored as they came), and a reply is the first
write to the client's socket after the server has read the end of that message. So, for each
tag: a write that holds it ended, then a sync of that file began and ended well, and only then did
the next write to that socket begin. TLS hides the reply's text, not its moment.
Where the file was made during the trace, its directory must have been synced, too."""
import re

LINE = re.compile(r"^(\d+)\s+(\d+\.\d+) (.*)$")
CALL = re.compile(r"^(\w+)\((.*)\)\s+= (-?\d+|\?)(.*)$", re.S)


class Call:
    __slots__ = ("pid", "name", "args", "ret", "begin", "end")

    def __init__(self, pid, name, args, ret, begin, end):
        self.pid, self.name, self.args, self.ret = pid, name, args, ret
        self.begin, self.end = begin, end

    def __repr__(self):
        return f"{self.begin}..{self.end} [{self.pid}] {self.name}({self.args[:120]}) = {self.ret}"


def calls(path):
    """The finished calls, with the line numbers at which each began and ended: strace writes what
    it sees in one order, so line numbers are the order of events."""
    out, open_calls = [], {}
    with open(path, encoding="utf-8", errors="surrogateescape") as f:
        for number, line in enumerate(f):
            m = LINE.match(line.rstrip("\n"))
            if not m:
                continue
            pid, _, text = m.groups()
            begin = number
            if text.endswith("<unfinished ...>"):
                open_calls[pid] = (number, text[: -len("<unfinished ...>")].rstrip())
                continue
            if m2 := re.match(r"<\.\.\. \w+ resumed>(.*)$", text, re.S):
                if pid not in open_calls:
                    continue
                begin, head = open_calls.pop(pid)
                text = head + m2.group(1)
            m3 = CALL.match(text)
            if m3 and m3.group(3) != "?":
                out.append(Call(pid, m3.group(1), m3.group(2), int(m3.group(3)), begin, number))
    return out


def target(args):
    """The file or socket behind the first descriptor: strace -yy writes 5<...>."""
    m = re.match(r"\d+<(.*?)>(?:\(deleted\))?(?=[,)]|$)", args)
    return m.group(1) if m else None


WRITES = {"write", "writev", "pwrite64", "pwritev", "pwritev2", "sendto", "sendmsg", "send"}
READS = {"read", "recvfrom", "recvmsg", "readv"}
SYNCS = {"fsync", "fdatasync"}


class Proof:
    def __init__(self, path, spool):
        self.calls = calls(path)
        self.spool = spool
        self.synced_files = {}      # descriptor target -> O_DSYNC seen at open
        self.made = []              # (call, path) of spool files created during the trace
        for c in self.calls:
            if c.name in ("open", "openat") and c.ret >= 0:
                m = re.search(r'"([^"]*)"', c.args)
                dir_ = re.match(r"\S*?<(.*?)>, ", c.args)
                if not m:
                    continue
                full = m.group(1) if m.group(1).startswith("/") else \
                    f"{dir_.group(1) if dir_ else ''}/{m.group(1)}"
                if "O_DSYNC" in c.args or re.search(r"\bO_SYNC", c.args):
                    self.synced_files[full] = True
                if "O_CREAT" in c.args and full.startswith(spool):
                    self.made.append((c, full))
            elif c.name in ("renameat", "renameat2", "rename", "linkat", "link") and c.ret == 0:
                names = re.findall(r'"([^"]*)"', c.args)
                dirs = re.findall(r"<(/[^>]*)>", c.args)
                if names:
                    new = names[-1]
                    full = new if new.startswith("/") else f"{dirs[-1] if dirs else ''}/{new}"
                    if full.startswith(spool):
                        self.made.append((c, full))

    def synced_between(self, file, after, before):
        """A sync of file that began after line `after` and ended well before line `before`."""
        return any(c.name in SYNCS and c.ret == 0 and c.begin > after and c.end < before
                   and same_file(target(c.args), file) for c in self.calls)

    def message(self, tag, answer):
        """Complaint about the bytes with this tag, or None. answer: the call that began the reply."""
        if answer is None:
            return f"{tag}: its reply is not in the trace"
        writes = [c for c in self.calls if c.name in WRITES and tag in c.args and c.ret > 0
                  and c.end < answer.begin and in_spool(target(c.args), self.spool)]
        if not writes:
            return f"{tag}: not in the spool when its reply began: {answer}"
        last = {}                   # of each file: a sync covers what came before it
        for c in writes:
            last[target(c.args)] = c
        for file, c in last.items():
            if file not in self.synced_files and not self.synced_between(file, c.end, answer.begin):
                return f"{tag}: {file} not synced between {c} and {answer}"
        for c, path in self.made:
            ours = path in last or (c.name.startswith("link")
                                    and writes[0].begin < c.begin < answer.begin)
            parent = path.rsplit("/", 1)[0]
            if ours and c.end < answer.begin and not self.synced_between(
                    parent, c.end, answer.begin) and not self.synced_before(parent, c.end, writes[0]):
                return f"{tag}: {path} was made, its directory not synced before {answer}"
        return None

    def synced_before(self, parent, after, write):
        """The directory was synced between the making of a file and its first write of ours."""
        return self.synced_between(parent, after, write.begin)


def same_file(a, b):
    return a is not None and a == b


def in_spool(t, spool):
    return t is not None and t.startswith(spool)


def client_sockets(all_calls):
    """Calls on TCP sockets by connection, as strace -yy names it: (local->remote)."""
    out = {}
    for c in all_calls:
        t = target(c.args)
        if t and t.startswith("TCP") and c.name in WRITES | READS:
            out.setdefault(t, []).append(c)
    return out

"""The page cache survives kill -9, so the order of system calls is proved, too: for each 250 the
message is written and synced before the reply begins. See lab/trace.py."""
import concurrent.futures
import os
import re

from lab import paths
from lab.lab import check, reply
from lab.trace import Proof, client_sockets

TIMEOUT = 200
CALLS = ("open,openat,rename,renameat,renameat2,link,linkat,read,readv,recvfrom,recvmsg,write,"
         "writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fsync,fdatasync,sync_file_range")


def traced(lab, show=2000, **more):
    trace = os.path.join(lab.make_dir("trace"), "calls")
    s = lab.signet(wrap=["strace", "-f", "-qq", "-yy", "-ttt", "-s", str(show), "-o", trace,
                         "-e", f"trace={CALLS}"], **more)
    return s, trace


def send_all(s, plan):
    """plan: groups of (tag, lines), each group on one connection. Returns [(tag, local port)]."""
    sent = []
    for group in plan:
        with s.login() as c:
            port = c.sock.getsockname()[1]
            for tag, lines in group:
                # The head and the body may go to different files: each has its tag, and a large
                # body is made of nothing else.
                data = (f"From: {s.sender}\r\nTo: you@example.com\r\nSubject: head-{tag}\r\n\r\n"
                        + f"body-{tag}\r\n" * lines).encode()
                reply(c.message(s.sender, "you@example.com", data), "250 2.0.0 Ok: queued as *")
                sent.append((tag, port))
            c.cmd("QUIT")
    return sent


def tags(n, lines=1, run="t"):
    return [(f"{run}{i:04d}-{os.urandom(6).hex()}", lines) for i in range(n)]


def replies(trace_calls, port):
    """The writes to one client's socket."""
    out = []
    for name, calls in client_sockets(trace_calls).items():
        if re.search(rf":{port}\b", name):
            out += calls
    return sorted(out, key=lambda c: c.begin)


def complaints(s, trace, sent):
    proof = Proof(trace, os.path.join(s.data, "spool"))
    bad = []
    by_port = {}
    for tag, port in sent:
        by_port.setdefault(port, []).append(tag)
    for port, tags_ in by_port.items():
        talk = replies(proof.calls, port)
        # The client waits for each reply: the replies after the handshake and AUTH come in
        # groups MAIL, RCPT, DATA, end of data. Count back from QUIT: the last write but those
        # of QUIT and close_notify is the last message's reply, and so on, four a message.
        writes = merge_runs(talk)
        wanted = writes[-1 - 4 * len(tags_):-1]
        for i, tag in enumerate(tags_):
            answer = wanted[4 * i + 3] if 4 * i + 3 < len(wanted) else None
            bad += [c for part in ("head", "body") if (c := proof.message(f"{part}-{tag}", answer))]
    return bad


def merge_runs(talk):
    """One write for each reply: the first after data was read."""
    out, read_since = [], True
    for c in talk:
        if c.name in ("read", "recvfrom", "recvmsg", "readv"):
            if c.ret > 0:
                read_since = True
        elif read_since:
            out.append(c)
            read_since = False
    return out


def test_every_250_is_synced_before(lab):
    s, trace = traced(lab)
    sent = send_all(s, [tags(40), tags(20, 40, "u"), tags(1)])
    s.stop()
    bad = complaints(s, trace, sent)
    check(not bad, f"{len(bad)} of {len(sent)}: " + "\n      ".join(bad[:5]))


def test_group_commit(lab):
    """Eight connections at once: whoever shares a batch shares its sync, and nobody is early."""
    s, trace = traced(lab, show=65536)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        sent = [x for part in pool.map(lambda i: send_all(s, [tags(12, 1, f"g{i}-")]), range(8))
                for x in part]
    s.stop()
    bad = complaints(s, trace, sent)
    check(not bad, f"{len(bad)} of {len(sent)}: " + "\n      ".join(bad[:5]))


def test_large_bodies_are_synced_before(lab):
    """Beyond body_memory the body is a file of its own: file and directory."""
    s, trace = traced(lab)
    sent = send_all(s, [tags(4, 150000)])
    s.stop()
    bad = complaints(s, trace, sent)
    check(not bad, f"{len(bad)} of {len(sent)}: " + "\n      ".join(bad[:5]))


def red(lab, fault):
    s, trace = traced(lab, binary=paths.SIGNET_FAULTS, env={"SIGNET_FAULT": fault})
    sent = send_all(s, [tags(20)])
    s.stop()
    bad = complaints(s, trace, sent)
    check(bad, f"with the fault {fault} the proof still holds: it cannot fail")


def test_seen_red_answer_before_commit(lab):
    red(lab, "answer_before_commit")


def test_seen_red_no_sync(lab):
    red(lab, "spool_no_sync")

"""A full disk: 452 4.3.1 begins while the reserve is left, deliveries go on and are recorded."""
import os
import time

from lab.lab import check, equal, reply, small_disk
from lab.raw import wait_for


def server(lab, disk, port):
    spool = os.path.join(disk, "spool")
    return lab.signet({"spool": {"path": spool, "reserve": "8M", "segment": "1M"},
                       ("route", "capture"): None,
                       ("route", "onward"): {"domains": ["*"], "type": "smarthost",
                                             "host": "127.0.0.1", "port": port, "tls": "none"},
                       "retry": {"first": "200ms", "max": "500ms"}})


def fill(s, limit=80):
    """Sends 512 KiB messages until one is refused; (accepted, the refusal)."""
    body = ("x" * 70 + "\r\n") * 7300
    n = 0
    with s.login() as c:
        while n < limit:
            r = c.message(s.sender, f"r{n}@example.com", f"From: {s.sender}\r\n\r\n{body}")
            if r.code != 250:
                return n, r
            n += 1
    raise AssertionError(f"{n} messages of 512 KiB fit on a disk of 24 MiB")


def test_reserve_answers_452_and_deliveries_go_on(lab):
    disk = small_disk(lab)
    h = lab.peer("smarthost", replies={"DATA": lambda e: "451 4.3.0 later" if h.closed else None})
    h.closed = True
    s = server(lab, disk, h.port)
    n, r = fill(s)
    reply(r, "452 4.3.1 *", "the refusal")
    check(n >= 10, "messages before it", n)
    free = os.statvfs(disk)
    check(free.f_bavail * free.f_bsize > 4 << 20, "the reserve is not eaten up",
          free.f_bavail * free.f_bsize)
    with s.login() as c:
        reply(c.message(s.sender, "small@example.com", f"From: {s.sender}\r\n\r\nsmall\r\n"),
              "452 4.3.1 *", "a small one, too")
    h.closed = False
    wait_for("deliveries", 60, lambda: len(h.messages) >= n, 0.2)
    s.wait_empty(30)
    equal(len(h.messages), n, "each once")

    def accepted():
        with s.login() as c:
            return c.message(s.sender, "after@example.com",
                             f"From: {s.sender}\r\n\r\nafter\r\n").code == 250

    wait_for("mail to be taken again", 20, accepted, 0.3)
    s.restart()
    time.sleep(0.5)
    s.wait_empty(10)
    equal(len(h.messages), n + len([m for m in h.messages if b"after" in m.data]), "nothing twice")


def test_restart_on_a_full_disk(lab):
    disk = small_disk(lab)
    h = lab.peer("smarthost", replies={"DATA": lambda e: "451 4.3.0 later" if h.closed else None})
    h.closed = True
    s = server(lab, disk, h.port)
    n, _ = fill(s)
    with open(os.path.join(disk, "filler"), "wb") as f:
        try:
            while True:
                f.write(b"\0" * 65536)
                f.flush()
        except OSError:
            pass
    s.kill()
    s.start()
    equal(s.count()["messages"], n, "all are there")
    os.unlink(os.path.join(disk, "filler"))
    h.closed = False
    s.wait_empty(60)
    equal(len({m.rcpts[0] for m in h.messages}), n, "all arrive")

"""kill -9 under load, again and again: nothing that was acknowledged is lost."""
import collections
import re
import time

from lab import paths
from lab.lab import check
from lab.load import Load

TIMEOUT = 300
CYCLES = 25
ACKS = 200


def seen_ids(s, have):
    """Counts the Message-IDs of the captured messages; files already read are not read again."""
    import os
    new = os.path.join(s.capture, "new")
    for n in os.listdir(new) if os.path.isdir(new) else []:
        if n in have:
            continue
        with open(os.path.join(new, n), "rb") as f:
            head = f.read(4096)
        m = re.search(rb"(?mi)^Message-ID: <([^>]+)>", head)
        have[n] = m.group(1).decode() if m else None
    return collections.Counter(have.values())


def cycles(lab, s, n, acks):
    """n times: load, kill -9 while it goes on, start again. (acked, sent but unanswered)"""
    acked, unsure = [], set()
    for i in range(n):
        load = Load(s, n=4, run=f"c{i}", size=1500)
        try:
            load.until(acks, 40)
            # Between two acknowledgements: the load has not stopped, and one more has come since.
            at = len(load.acked)
            load.until(at + 1 + i % 7, 10)
            s.kill()
            load.finish(10)
        finally:
            load.stop()
        acked += load.acked
        unsure |= load.sent - set(load.acked)
        s.start()
    return acked, unsure


def account(s, acked, unsure, n):
    """Everything acknowledged has arrived; what arrived twice was in flight at a kill."""
    s.wait_empty(120)
    have = {}
    counts = seen_ids(s, have)
    lost = [a for a in acked if a not in counts]
    check(not lost, f"{len(lost)} of {len(acked)} acknowledged messages are lost", lost[:5])
    strange = [i for i in counts if i not in unsure and i not in set(acked)]
    check(not strange, "messages that nobody sent", strange[:5])
    twice = sum(c - 1 for c in counts.values())
    print(f"note: {n} kills, {len(acked)} acknowledged, 0 lost, {twice} delivered twice, "
          f"{sum(1 for u in unsure if u in counts)} of {len(unsure)} unanswered ones delivered", flush=True)
    return twice


def test_nothing_acknowledged_is_lost(lab):
    s = lab.signet()
    acked, unsure = cycles(lab, s, CYCLES, ACKS)
    check(len(acked) >= CYCLES * ACKS, "enough acknowledgements", len(acked))
    twice = account(s, acked, unsure, CYCLES)
    # What is in flight at a kill: at most the connections to one Maildir and one batch of outcomes.
    check(twice <= CYCLES * 64, "more duplicates than deliveries can be in flight", twice)


def test_second_recovery_equals_the_first(lab):
    """Killed right after a start that recovered: the next start finds the same."""
    s = lab.signet({("route", "capture"): None,
                    ("route", "nowhere"): {"domains": ["*"], "type": "smarthost",
                                           "host": "127.0.0.1", "port": 9, "tls": "none"}})
    load = Load(s, n=4, run="again", size=1500)
    try:
        load.until(300, 40)
        s.kill()
        load.finish(10)
    finally:
        load.stop()
    s.start()
    first = s.count()["messages"]
    check(first >= len(load.acked), "all that was acknowledged waits", first, len(load.acked))
    for _ in range(3):
        s.kill()
        s.start()
        check(s.count()["messages"] == first, "the count", s.count(), first)


def test_seen_red_answer_before_commit(lab):
    """The same test with a server that answers first: it must find losses."""
    s = lab.signet(binary=paths.SIGNET_FAULTS, env={"SIGNET_FAULT": "answer_before_commit"})
    end = time.monotonic() + 100
    lost = []
    while not lost:
        check(time.monotonic() < end, "a server that answers before the commit lost nothing: the "
                                      "kill test cannot fail")
        acked, _ = cycles(lab, s, 1, ACKS)
        s.wait_empty(60)
        counts = seen_ids(s, {})
        lost = [a for a in acked if a not in counts]

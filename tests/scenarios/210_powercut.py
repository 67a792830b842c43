"""The power goes at a hundred moments. Thousands of them: ./dev torture powercut."""
from lab import paths
from lab.lab import check
from torture import powercut

TIMEOUT = 300


def images(n, seed, **more):
    said = []
    count, bad = powercut.go(n, seed, say=said.append, messages=800, **more)
    return count, bad, said[-1]


def test_acknowledged_messages_survive(lab):
    count, bad, text = images(100, 21)
    print(f"note: {text}", flush=True)
    check(count == 100, "images", count)
    check(not bad, f"{len(bad)} findings", *bad[:5])


def test_seen_red_no_sync(lab):
    _, bad, _ = images(20, 22, binary=paths.SIGNET_FAULTS, env={"SIGNET_FAULT": "spool_no_sync"})
    check(bad, "a server that does not sync loses nothing: the test cannot fail")
